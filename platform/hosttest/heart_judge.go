package hosttest

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"leash/internal/event"
	"leash/internal/heartbeat"
	"leash/watch"
)

// hearts notes what the machine is told, by which its verdicts are judged.
func (h *Host) hearts(e watch.Event) {
	o, now := &h.heart, h.W.now
	switch e := e.(type) {
	case watch.Heard:
		h.heard(e.Message)
	case watch.Drowned:
		o.last = max(o.last, now)
		o.startBy = max(o.startBy, now+time.Second)
		o.loose += time.Second
	case watch.Resumed:
		// What the worker owed until now is forgiven.
		o.loose += o.patience + max(0, o.startBy-o.bornAt)
	case watch.HookEnded:
		o.hookDone = true
	}
}

func (h *Host) heard(m heartbeat.Message) {
	o, now := &h.heart, h.W.now
	if h.caused && !o.condemned && m.Extend > 0 && now < max(h.graceUntil, h.graceAsked) {
		h.graceAsked = max(h.graceAsked, min(now+m.Extend, h.causeAt+h.cfg.GraceMax))
	}
	o.counting = o.counting || m.Ready || m.Beat == heartbeat.Alive
	o.ready = o.ready || m.Ready || !h.Child && m.Beat == heartbeat.Alive // which may have been said before
	o.exempt = o.exempt || m.Stopping
	o.triggered = o.triggered || m.Beat == heartbeat.Trigger
	if m.Rewatch {
		if o.off = m.Within == 0; !o.off {
			o.patience = m.Within
		}
	}
	if m.Ready || m.Rewatch || m.Beat == heartbeat.Alive || m.Extend > 0 {
		o.last = max(o.last, now+m.Extend)
	}
	if m.Extend > 0 {
		o.startBy = max(o.startBy, now+m.Extend)
	}
}

// moment is what may lie between a decision and what is done about it.
const moment = 100 * time.Millisecond

// overdue is for a wake-up or two that come late, and for looking at the tree.
const overdue = time.Second

// judgeOverdue: who hangs is condemned in time, if the watchdog ran.
func (h *Host) judgeOverdue() {
	o, now := &h.heart, h.W.now
	if o.deaf || o.resting || o.exempt || o.condemned || h.caused {
		return
	}
	if o.counting && !o.off && now > o.last+2*o.patience+o.loose+overdue {
		h.W.fail(fmt.Sprintf("nothing was heard for %v, and nobody minds", now-o.last), h.W.Worker)
		o.exempt = true
	}
	if h.cfg.Beats.Startup > 0 && !o.ready && now > o.startBy+o.loose+overdue {
		h.W.fail("he is not ready in time, and nobody minds", h.W.Worker)
		o.exempt = true
	}
}

// logged follows what the watchdog tells of its verdicts.
func (h *Host) logged(r watch.Record) {
	switch r.Event {
	case event.BeatTimeout:
		h.condemned(r)
	case event.ProcessRestarting:
		h.rests(r)
	case event.WatchdogStopped:
		h.judgeOutcome(attr(r, event.Outcome).String())
	}
}

func attr(r watch.Record, key string) slog.Value {
	for _, a := range r.Attrs {
		if a.Key == key {
			return a.Value
		}
	}
	return slog.Value{}
}

// condemned: nobody is who beat in time.
func (h *Host) condemned(r watch.Record) {
	o, w := &h.heart, h.W
	reason := attr(r, event.Reason).String()
	outcome, just := watch.Hung, false
	switch reason {
	case watch.Hung:
		just = o.counting && !o.off && w.now >= o.last+o.patience && (o.sick || o.hangs || w.Worker.phase != alive)
	case watch.NotReady:
		outcome = watch.NotReady
		just = h.cfg.Beats.Startup > 0 && !o.ready && w.now >= o.startBy
	case "trigger":
		just = o.triggered
	}
	if !just || o.exempt || o.deaf || o.condemned || h.caused || o.resting {
		w.fail("a worker was condemned who is well ("+reason+")", w.Worker)
	}
	h.Stats.Condemned[reason]++
	o.condemned, o.condemnedAt, o.outcome = true, w.now, outcome
}

// begun: the worker is being ended from now on.
func (h *Host) begun() {
	if h.ending {
		return
	}
	h.ending = true
	if h.caused {
		return
	}
	if h.heart.condemned {
		h.judgeWords()
	} else {
		h.W.fail("the worker is ended for nothing", h.W.Worker)
	}
	h.cause(h.heart.outcome)
	h.graceUntil -= moment // it was decided before
}

// judgeWords: there was time for last words, and no more than that.
func (h *Host) judgeWords() {
	o, w := &h.heart, h.W
	since, wait := o.condemnedAt, h.cfg.HangWait
	switch {
	case h.cfg.HangSignal.Num != 0 && o.shockAt == 0, h.cfg.HangCommand && o.hookAt == 0:
		w.fail("nobody asked for last words", w.Worker)
	case h.cfg.HangSignal.Num != 0:
		if since = o.shockAt; w.now < since+wait-moment {
			w.fail("there was no time for last words after the signal", w.Worker)
		}
	case h.cfg.HangCommand && !o.hookDone && w.now < since+wait-moment:
		w.fail("the command had no time", w.Worker)
	}
	if w.now > o.condemnedAt+2*wait+h.stalled+overdue {
		w.fail("last words took too long", w.Worker)
	}
}

const minute = time.Minute

// rests: another worker is to follow, rightly.
func (h *Host) rests(r watch.Record) {
	o, w := &h.heart, h.W
	attempt := int(attr(r, event.Attempt).Int64())
	switch want := o.row + 1; {
	case !o.resting && h.wasWell() && attempt == 1:
	case attempt != want, !o.resting && h.surelyWell() && attempt != 1:
		w.fail(fmt.Sprintf("restart %d is told as %d", want, attempt), nil)
	}
	if !o.resting && (!h.follows() || h.survivors > 0) || attempt > h.cfg.MaxRestarts {
		w.fail("a worker follows whom none is to follow", w.Worker)
	}
	o.row, o.resting, o.restFrom, o.restStalled = attempt, true, w.now, 0
}

// wasWell: perhaps he lived in good health for so long that failures are no
// more in a row. Who was condemned was not well all his life.
func (h *Host) wasWell() bool { return h.causeAt-h.heart.bornAt > minute-time.Second }

func (h *Host) surelyWell() bool {
	return h.causeAt-h.heart.bornAt > minute+time.Second && !h.heart.condemned
}

// follows: so it was asked for.
func (h *Host) follows() bool {
	switch h.cfg.Restart {
	case watch.RestartAlways:
		return true
	case watch.RestartOnFailure:
		return h.heart.condemned || h.W.Worker.phase != reaped || h.W.Worker.Exit.Status() != 0
	}
	return false
}

var errNoStart = errors.New("it could not be started")

// Restart is watch.Host's.
func (h *Host) Restart() (status int, err error) {
	o, w := &h.heart, h.W
	h.begin("► restart", "")
	if h.parentTold || h.endsTold || !o.resting {
		w.fail("a worker is started for whom nobody is there", nil)
	}
	rest := min(500*time.Millisecond<<(o.row-1), 30*time.Second)
	if rested := w.now - o.restFrom; rested < rest || rested > rest*5/4+o.restStalled+overdue {
		w.fail(fmt.Sprintf("after %v the next start, want %v", rested, rest), nil)
	}
	if h.cfg.MaxRestarts < o.row {
		w.fail("too many restarts in a row", nil)
	}
	h.Stats.Restarts++
	if w.Chance(15) || !h.scene.follow() {
		o.startStatus, h.causeAt = 125+w.N(3), w.now
		return o.startStatus, errNoStart
	}
	return 0, nil
}

// judgeOutcome: what is told in the end is what happened.
func (h *Host) judgeOutcome(got string) {
	o, w := &h.heart, h.W
	want := o.outcome
	switch {
	case !o.resting:
		more := o.row < h.cfg.MaxRestarts || h.surelyWell() && h.cfg.MaxRestarts > 0
		if h.follows() && more && o.outcome != watch.NoSentinel && h.survivors == 0 && !h.parentTold && !h.endsTold {
			w.fail("another worker was to follow", w.Worker)
		}
	case h.parentTold && got == watch.ParentEnded, h.endsTold && got == watch.WasAsked:
		want = got
	case o.startStatus > 0 && o.row == h.cfg.MaxRestarts:
		want = watch.WorkerEnded
	default:
		want = "a worker that follows"
	}
	if got != want {
		w.fail(fmt.Sprintf("the outcome is %s, want %s", got, want), nil)
	}
}

// PassOn is watch.Host's.
func (h *Host) PassOn(text string) {
	for line := range strings.Lines(text) {
		switch line {
		case "READY=1\n":
		case "STOPPING=1\n":
			if h.cfg.Restart != watch.RestartNever && !h.parentTold && !h.endsTold && h.heart.outcome != watch.NoSentinel {
				h.W.fail("the manager hears of the end of a worker that is followed by another", nil)
			}
		default:
			h.W.fail("the manager hears "+line, nil)
		}
	}
}
