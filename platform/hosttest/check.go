package hosttest

import (
	"errors"
	"fmt"
	"time"

	"leash/internal/event"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Stats count over many runs what a check cannot assert.
type Stats struct {
	Runs, Trivial int
	// Modes are runs by mode.
	Modes [modes]int
	// Forced runs needed SIGKILL, Survived ended with survivors.
	Forced, Survived int
	// Unknown processes escaped where no watchdog could know of them; Raced
	// moved during the very last count.
	Unknown, Raced int
	// UnknownLeash signals reached a watchdog nobody could know was there.
	UnknownLeash int
	// Unasked were killed without having been asked, newcomers mostly.
	Unasked int
	// Forked processes, after the first SIGKILL that is: what was not stopped first.
	Forked int
	// Condemned workers by reason, and Restarts.
	Condemned map[string]int
	Restarts  int
	// WatchdogKilled and SentinelKilled are runs in which that befell it.
	WatchdogKilled, SentinelKilled int
	// Reused PIDs, of the tree or not; Calls to the kernel; Sent signals.
	Reused, Calls, Sent int
}

// searchAll names candidates as the real host does, and some wrong ones: a
// table may be stale.
func (h *Host) searchAll() ([]int, error) {
	t, w := &h.Tree, h.W
	w.lists++ // what this names was not just listed
	root := t.Worker()
	labels, session := t.RunID != "" && t.WorkerID != "", root.SID == root.PID
	if !labels && !session && !(t.Leads() && !errors.Is(t.Root.SignalGroup(proc.Signal{}), proc.ErrGone)) {
		return nil, nil
	}
	if w.SearchFails > 0 && w.Chance(w.SearchFails) {
		w.Trace.said(w.now, "search", errTooMany.Error(), nil)
		return nil, errTooMany
	}
	w.step()
	var pids []int
	for _, p := range w.live {
		if p.phase == alive && (t.Leads() && p.group.PID == root.PID || session && p.session.PID == root.PID ||
			labels && p.Run == t.RunID && p.Label == t.WorkerID && w.may(p)) {
			pids = append(pids, p.PID)
		}
	}
	if w.Chance(20) {
		pids = append(pids, w.N(len(w.byPID)), w.N(len(w.byPID)))
	}
	w.step()
	return pids, nil
}

// judgeForce: no SIGKILL before the grace is over, unless everything that is
// known to be left refuses signals.
func (h *Host) judgeForce() {
	w := h.W
	if h.noGrace {
		return
	}
	if w.now >= h.graceUntil && h.asked {
		h.judgeRest()
		h.judgeAsked()
		return
	}
	for _, p := range w.live {
		if p.Tree && !p.Leash && p.open > 0 && p.phase == alive && w.may(p) && p.born < h.countAt {
			w.fail(fmt.Sprintf("SIGKILL before its time (asked: %v, grace left: %v)", h.asked, h.graceUntil-w.now), p)
			return
		}
	}
}

// judgeAsked: when the grace is over, all that were known for some time have
// heard of the end, or the worker alone where it comes first and lives. A process that changed its group meanwhile may have been missed.
func (h *Host) judgeAsked() {
	w := h.W
	for _, p := range w.live {
		if !p.Tree || p.Leash || p.never || p.open == 0 || p.phase != alive || !w.may(p) || w.LookFails > 0 || w.ListFails > 0 || w.SearchFails > 0 {
			continue
		}
		if !h.askedAll && p != w.Worker { // at most it had a second signal, which is passed on as it came
			continue
		}
		if p.termAt == 0 && p.held < h.knownAt && p.joined < p.held {
			w.fail("known for long, and never asked to end", p)
		}
		if p.pendTerm && p.stopped && p.stopAt < p.termAt && p.held < h.knownAt && (h.askedAll || p == w.Worker) {
			w.fail("asked to end while stopped, and never continued", p)
		}
	}
}

// slack is for the recount that may just have been missed, and for the time
// that looking takes.
const slack = 3 * time.Second

// judgeEnd compares the end with the truth.
func (s *Scene) judgeEnd(status int, err error) {
	h, w := &s.Host, &s.World
	if err != nil {
		w.fail(err.Error(), nil)
		return
	}
	if late := w.now - (h.causeAt + h.stalled + max(h.Grace, h.cfg.GraceMax) + stop.ForceBound + slack); late > 0 {
		w.fail(fmt.Sprintf("the end came %v too late", late), nil)
	}
	last, living := s.judgeLeft()
	faulty := w.faulty() // what cannot be looked at counts as living
	if h.survivors == 0 && !faulty && w.now > max(last, h.causeAt)+h.stalled+slack {
		w.fail(fmt.Sprintf("all had ended %v before that was noticed", w.now-max(last, h.causeAt)), nil)
	}
	if h.survivors > 0 && living == 0 && s.lastEnd() < h.countAt && !faulty {
		w.fail(fmt.Sprintf("%d survivors were reported, and nothing lives", h.survivors), nil)
	}
	s.judgeStatus(status)
	s.judgeLog()
}

// faulty: not every call of the kernel can be relied on.
func (w *World) faulty() bool {
	return w.OpenFails > 0 || w.LookFails > 0 || w.ListFails > 0 || w.SearchFails > 0
}

func (s *Scene) lastEnd() (call int) {
	for i := range s.World.used {
		if p := &s.World.slab[i]; p.Tree { // a watchdog is no member any more
			call = max(call, p.ended, p.leashAt)
		}
	}
	return call
}

// judgeLeft: nothing of the tree lives but what was named as a survivor.
func (s *Scene) judgeLeft() (lastEnd time.Duration, living int) {
	h, w := &s.Host, &s.World
	for i := range w.used {
		p := &w.slab[i]
		if !p.Tree || p.Leash || p.never {
			continue
		}
		lastEnd = max(lastEnd, p.endedAt)
		if p.killAt > 0 && p.termAt == 0 {
			h.Stats.Unasked++
		}
		if p.phase != alive {
			continue
		}
		living++
		if h.survivors > 0 && named(h.left, p) {
			continue
		}
		s.judgeEscape(p)
	}
	return lastEnd, living
}

func named(left []*Proc, p *Proc) bool {
	for _, q := range left {
		if q == p {
			return true
		}
	}
	return false
}

// judgeEscape tells what could not be known from what should have been.
func (s *Scene) judgeEscape(p *Proc) {
	h, w := &s.Host, &s.World
	since := h.countAt
	if h.survivors > 0 { // it gave up, on one count: those who are left may go on forking
		since = min(since, h.forceAt)
	}
	if p.below { // and the second count may have missed it in a torn list
		since = min(since, h.knownAt)
	}
	raced := max(p.born, p.joined, p.moved) >= since
	t := &h.Tree
	why := ""
	switch {
	case p.open > 0:
		why = "a handle was held on it"
	case h.survivors > 0 && (w.ListFails > 0 || w.SearchFails > 0): // it was said that not all is known
		h.Stats.Unknown++
		return
	case p.missed && h.survivors == 0 && t.Parent == 0:
		why = "it was not known whether there were children, and that was not said"
	case h.survivors > 0 && w.OpenFails > 0 && named(h.left, p.parent): // who could not be opened, to look below
		h.Stats.Raced++
		return
	// Without the subreaper nobody can tell, nor where a watchdog or reaper in
	// the tree goes on starting processes.
	case raced && (t.Parent == 0 || h.survivors > 0 || p.below):
		h.Stats.Raced++
		return
	case t.Parent != 0:
		why = "the subreaper can find everybody"
	case s.Labelled && p.Run == w.Run && p.Label == w.Label && p.UID == w.Worker.UID && w.may(p):
		why = "it has the worker's labels"
	case p.group == w.Worker && t.Leads() && (w.Worker.phase != reaped || w.GroupByHandle):
		why = "it is in the worker's group"
	case (p.group == w.Worker && t.Leads() || p.session == w.Worker) && (w.Worker.phase != reaped || p.start < w.rootSeenTick):
		why = "it is in the worker's session or group, which is certain"
	case p.parent.phase == alive && p.parent.open > 0 && (p.parent.Tree || p.parent.Leash):
		why = "its parent was known"
	default:
		h.Stats.Unknown++
		return
	}
	w.fail(fmt.Sprintf("lives after the end, not named as a survivor (of %d), although %s", h.survivors, why), p)
}

func (s *Scene) judgeStatus(status int) {
	h, w := &s.Host, &s.World
	want := 0
	switch {
	case h.heart.resting && !h.parentTold && !h.endsTold:
		want = h.heart.startStatus
	case h.heart.outcome == watch.NoSentinel:
		want = 125
	case h.Child && w.Worker.phase == reaped && h.heart.condemned:
		want = 124
	case h.Child && w.Worker.phase == reaped:
		want = w.Worker.Exit.Status()
	case h.Child:
		want = 125
	case h.survivors > 0:
		want = 1
	}
	if status != want {
		w.fail(fmt.Sprintf("the exit status is %d, want %d (survivors: %d)", status, want, h.survivors), nil)
	}
}

func (s *Scene) judgeLog() {
	h, w := &s.Host, &s.World
	var terminated, cleaned, stopped int
	records := h.records[h.firstLog:]
	for i, r := range records {
		switch r.Event {
		case event.ProcessTerminated:
			terminated++
		case event.CleanupCompleted:
			cleaned++
		case event.WatchdogStopped:
			if stopped++; i != len(records)-1 {
				w.fail("watchdog.stopped is not the last record", nil)
			}
		case event.SignalSent:
			h.Stats.Sent++
		}
	}
	if s.root == nil { // the last start failed
		cleaned++
	}
	if cleaned != 1 || stopped != 1 {
		w.fail(fmt.Sprintf("cleanup_completed logged %d times, watchdog.stopped %d times", cleaned, stopped), nil)
	}
	ended := w.Worker.phase != alive && w.Worker.ended < h.countAt
	if terminated > 1 || ended && terminated == 0 {
		w.fail(fmt.Sprintf("process.terminated logged %d times", terminated), nil)
	}
}

// judgeHandles: all were closed.
func (s *Scene) judgeHandles() {
	for i := range s.World.used {
		if p := &s.World.slab[i]; p.open != 0 {
			s.World.fail(fmt.Sprintf("%d handles were left open", p.open), p)
		}
		if p := &s.World.slab[i]; p == s.Host.heart.hook && p.phase == alive && !p.pendKill && !p.Tree {
			s.World.fail("the command of last words was left", p)
		}
	}
}
