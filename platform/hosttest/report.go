package hosttest

import (
	"fmt"
	"strings"
)

// Report is the last run for people.
func (s *Scene) Report() string {
	var b strings.Builder
	h := &s.Host
	fmt.Fprintf(&b, "%v, labelled %v, grace %v, poll %v, lossy %v, %+v\n", s.Mode, s.Labelled, h.Grace, h.Poll, h.Lossy, s.World.Options)
	if c := h.cfg; c.Beats != nil || c.Restart != 0 {
		fmt.Fprintf(&b, "beats %+v, hang signal %v, command %t, wait %v, grace at most %v, restart %d, %d times\n",
			c.Beats, c.HangSignal, c.HangCommand, c.HangWait, c.GraceMax, c.Restart, c.MaxRestarts)
	}
	b.WriteString(s.World.Trace.String())
	fmt.Fprintf(&b, "survivors %d:", h.survivors)
	for _, p := range h.left {
		fmt.Fprintf(&b, " %v", p)
	}
	b.WriteString("\nstill there:")
	for _, p := range s.World.live {
		fmt.Fprintf(&b, " %v", p)
	}
	b.WriteByte('\n')
	return b.String()
}

func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs (%d without a worker to guard), %d forced, %d with survivors; %d calls, %d signals logged, %d PIDs reused\n",
		s.Runs, s.Trivial, s.Forced, s.Survived, s.Calls, s.Sent, s.Reused)
	for m, n := range s.Modes {
		fmt.Fprintf(&b, "  %-30s %d\n", Mode(m), n)
	}
	fmt.Fprintf(&b, "escaped where nobody could know: %d; moved during the last count: %d; killed unasked: %d; signals to a watchdog that nobody could know of: %d",
		s.Unknown, s.Raced, s.Unasked, s.UnknownLeash)
	fmt.Fprintf(&b, "\ncondemned: %v; next workers: %d", s.Condemned, s.Restarts)
	fmt.Fprintf(&b, "\nkilled by another: %d watchdogs, %d sentinels", s.WatchdogKilled, s.SentinelKilled)
	return b.String()
}

// Kind is a failure without what differs from run to run.
func Kind(failure string) string {
	text, _, _ := strings.Cut(failure, ": ")
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '.' {
			return -1
		}
		return r
	}, text)
}
