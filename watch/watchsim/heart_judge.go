package watchsim

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"leash/internal/event"
	"leash/internal/heartbeat"
	"leash/watch"
)

// hearts notes the machine's events, by which its outcome is checked.
func (h *Host) hearts(e watch.Event) {
	o, now := &h.heart, h.W.now
	switch e := e.(type) {
	case watch.Heard:
		h.heard(e.Message)
	case watch.Overflowed:
		o.last = max(o.last, now)
		o.startBy = max(o.startBy, now+time.Second)
		o.loose += time.Second
	case watch.Resumed:
		// Beats that were due until now do not count as missed.
		o.loose += o.patience + max(0, o.startBy-o.bornAt)
	case watch.HookEnded:
		o.hookDone = true
	}
}

func (h *Host) heard(m heartbeat.Message) {
	o, now := &h.heart, h.W.now
	if h.caused && !o.timedOut && m.Extend > 0 && now < max(h.graceUntil, h.graceAsked) {
		h.graceAsked = max(h.graceAsked, min(now+m.Extend, h.causeAt+h.cfg.GraceMax))
	}
	o.counting = o.counting || m.Ready || m.Beat == heartbeat.Alive
	o.ready = o.ready || m.Ready || !h.Child && m.Beat == heartbeat.Alive // READY=1 may have been sent before
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

// moment is how long the actions after a decision may take.
const moment = 100 * time.Millisecond

// overdue allows for one or two late wake-ups, and for a scan.
const overdue = time.Second

// judgeOverdue checks that a hung worker times out in time, if the watchdog ran.
func (h *Host) judgeOverdue() {
	o, now := &h.heart, h.W.now
	if !o.on || h.done || h.deaf() || o.resting || o.exempt || o.timedOut || h.caused {
		return
	}
	if o.counting && !o.off && now > o.last+2*o.patience+o.loose+overdue {
		h.W.fail(fmt.Sprintf("no message for %v, and no timeout", now-o.last), h.root)
		o.exempt = true
	}
	if h.cfg.Beats.Startup > 0 && !o.ready && now > o.startBy+o.loose+overdue {
		h.W.fail("the worker is not ready in time, and there was no timeout", h.root)
		o.exempt = true
	}
}

// logged checks the watchdog's records about timeouts and restarts.
func (h *Host) logged(r watch.Record) {
	switch r.Event {
	case event.BeatTimeout:
		h.timedOut(r)
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

// timedOut checks that no worker times out that beat in time.
func (h *Host) timedOut(r watch.Record) {
	o, w := &h.heart, h.W
	reason := attr(r, event.Reason).String()
	outcome, just := watch.Hung, false
	switch reason {
	case watch.Hung:
		just = o.counting && !o.off && w.now >= o.last+o.patience && (o.sick || o.hangs || h.root.phase != alive)
	case watch.NotReady:
		outcome = watch.NotReady
		just = h.cfg.Beats.Startup > 0 && !o.ready && w.now >= o.startBy
	case "trigger":
		just = o.triggered
	}
	if !just || o.exempt || h.deaf() || o.timedOut || h.caused || o.resting {
		w.fail("a healthy worker timed out ("+reason+")", h.root)
	}
	h.Stats.TimedOut[reason]++
	o.timedOut, o.timedOutAt, o.outcome = true, w.now, outcome
}

// begun notes that the worker is being ended.
func (h *Host) begun() {
	if h.ending {
		return
	}
	h.ending, h.endingAt = true, h.W.now
	if h.caused {
		return
	}
	if h.heart.timedOut {
		h.judgeWords()
	} else {
		h.W.fail("the worker is ended without a cause", h.root)
	}
	h.cause(h.heart.outcome)
	h.graceUntil -= moment // the decision came a little earlier
}

// judgeWords checks that the hook and the hang signal had their time, and no more.
func (h *Host) judgeWords() {
	o, w := &h.heart, h.W
	since, wait := o.timedOutAt, h.cfg.HangWait
	switch {
	case h.cfg.HangSignal.Num != 0 && o.shockAt == 0, h.cfg.HangCommand && o.hookAt == 0:
		w.fail("the hook or the hang signal was left out", h.root)
	case h.cfg.HangSignal.Num != 0:
		if since = o.shockAt; w.now < since+wait-moment {
			w.fail("there was no time after the hang signal", h.root)
		}
	case h.cfg.HangCommand && !o.hookDone && w.now < since+wait-moment:
		w.fail("the command had no time", h.root)
	}
	if w.now > o.timedOutAt+2*wait+h.stalled+overdue {
		w.fail("hook and hang signal took too long", h.root)
	}
}

const minute = time.Minute

// rests checks that another worker may follow.
func (h *Host) rests(r watch.Record) {
	o, w := &h.heart, h.W
	attempt := int(attr(r, event.Attempt).Int64())
	switch want := o.row + 1; {
	case !o.resting && h.wasWell() && attempt == 1:
	case attempt != want, !o.resting && h.surelyWell() && attempt != 1:
		w.fail(fmt.Sprintf("restart %d is logged as %d", want, attempt), nil)
	}
	if !o.resting && (!h.follows() || h.survivors > 0) || attempt > h.cfg.MaxRestarts {
		w.fail("another worker follows, but none should", h.root)
	}
	o.row, o.resting, o.restFrom, o.restStalled = attempt, true, w.now, 0
}

// wasWell reports whether the worker was perhaps healthy for so long that the count of
// failures in a row begins again. A hung worker was not healthy all its life.
func (h *Host) wasWell() bool { return h.causeAt-h.heart.bornAt > minute-time.Second }

func (h *Host) surelyWell() bool {
	return h.causeAt-h.heart.bornAt > minute+time.Second && !h.heart.timedOut
}

// follows reports whether the settings say that another worker follows.
func (h *Host) follows() bool {
	switch h.cfg.Restart {
	case watch.RestartAlways:
		return true
	case watch.RestartOnFailure:
		return h.heart.timedOut || h.root.phase != reaped || h.root.Exit.Status() != 0
	}
	return false
}

// Restart implements watch.Host.
func (h *Host) Restart() (status int, err error) {
	o, w := &h.heart, h.W
	h.begin("► restart", "")
	left := h.root
	if h.parentTold || h.endsTold || !o.resting {
		w.fail("a worker is started, but its parent has exited", nil)
	}
	rest := min(500*time.Millisecond<<(o.row-1), 30*time.Second)
	if rested := w.now - o.restFrom; rested < rest || rested > rest*5/4+o.restStalled+overdue {
		w.fail(fmt.Sprintf("after %v the next start, want %v", rested, rest), nil)
	}
	if h.cfg.MaxRestarts < o.row {
		w.fail("too many restarts in a row", nil)
	}
	h.Stats.Restarts++
	if !h.failed {
		h.scene.judgeLeft(h)
	}
	if err := h.follow(); err != nil {
		if h.failed = true; h.root != left {
			h.judgeUnstarted()
			h.root = left // the exit status is that of this worker
		}
		o.startStatus, h.causeAt = 125+w.N(3), w.now
		return o.startStatus, err
	}
	return 0, nil
}

// judgeUnstarted checks that a worker whose identity could not be read was killed.
func (h *Host) judgeUnstarted() {
	if p := h.root; p != nil && !p.bound() {
		h.W.fail("the worker could not be read, and was not killed", p)
	}
}

func (h *Host) deaf() bool { return h.ears != nil && h.ears.deaf }

// judgeOutcome checks that the outcome that is logged is what happened.
func (h *Host) judgeOutcome(got string) {
	o, w := &h.heart, h.W
	want := o.outcome
	if want == watch.NoSentinel { // which an event of its own tells
		want = watch.WorkerEnded
	}
	switch {
	case !o.resting:
		more := o.row < h.cfg.MaxRestarts || h.surelyWell() && h.cfg.MaxRestarts > 0
		if h.follows() && more && o.outcome != watch.NoSentinel && h.survivors == 0 && !h.parentTold && !h.endsTold {
			w.fail("another worker should follow", h.root)
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

// PassOn implements watch.Host.
func (h *Host) PassOn(text string) {
	for line := range strings.Lines(text) {
		switch line {
		case "READY=1\n":
		case "STOPPING=1\n":
			if h.cfg.Restart != watch.RestartNever && !h.parentTold && !h.endsTold && h.heart.outcome != watch.NoSentinel {
				h.W.fail("the service manager gets STOPPING=1 of a worker that is restarted", nil)
			}
		default:
			h.W.fail("the service manager gets "+line, nil)
		}
	}
}
