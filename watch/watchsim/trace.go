package watchsim

import (
	"fmt"
	"strings"
	"time"

	"leash/watch"
)

// Trace records the events of one run. It is cheap to write, since only that of a failed run
// is ever printed.
type Trace struct{ entries []entry }

type entry struct {
	at      time.Duration
	what    string
	p, q    *Proc
	n       int
	extra   string
	event   watch.Event
	record  *watch.Record
	isEvent bool
}

func (t *Trace) reset() { t.entries = t.entries[:0] }

func (t *Trace) add(at time.Duration, what string, p, q *Proc, n int) {
	t.entries = append(t.entries, entry{at: at, what: what, p: p, q: q, n: n})
}

func (t *Trace) said(at time.Duration, what, extra string, p *Proc) {
	t.entries = append(t.entries, entry{at: at, what: what, extra: extra, p: p})
}

func (t *Trace) happened(at time.Duration, e watch.Event) {
	t.entries = append(t.entries, entry{at: at, what: "event", event: e, isEvent: true})
}

func (t *Trace) logged(at time.Duration, r *watch.Record) {
	t.entries = append(t.entries, entry{at: at, what: "log", record: r})
}

// String formats the trace: actions of the watchdog are at the margin, those of other
// processes indented.
func (t *Trace) String() string {
	var b strings.Builder
	for _, e := range t.entries {
		fmt.Fprintf(&b, "%12s  ", e.at.Round(time.Microsecond))
		switch {
		case e.isEvent:
			fmt.Fprintf(&b, "◄ %s %+v", strings.TrimPrefix(fmt.Sprintf("%T", e.event), "watch."), e.event)
		case e.record != nil:
			fmt.Fprintf(&b, "► log %s", e.record)
		case e.p != nil && worldly[e.what]:
			fmt.Fprintf(&b, "        · %s %s", e.what, e.p)
			if e.q != nil {
				fmt.Fprintf(&b, " → %s", e.q)
			}
			if e.what == "exit" {
				fmt.Fprintf(&b, " (%d), its parent is %s", e.n, e.p.parent)
			}
		default:
			fmt.Fprintf(&b, "%s %s", e.what, e.extra)
			if e.p != nil {
				fmt.Fprintf(&b, " %s", e.p)
			}
			if e.n != 0 {
				fmt.Fprintf(&b, " %d", e.n)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var worldly = map[string]bool{
	"fork": true, "exit": true, "reap": true, "setsid": true, "setpgid": true, "state D": true,
	"exec watchdog": true, "continued by another": true, "stopped by another": true,
}
