package watchsim

import (
	"fmt"
	"time"

	"leash/internal/event"
	"leash/internal/stop"
	"leash/watch"
)

// Stats counts over many runs what no check can assert.
type Stats struct {
	Runs, Trivial, Several int
	// Modes counts runs by mode.
	Modes [modes]int
	// Forced runs needed SIGKILL; Survived ended with survivors.
	Forced, Survived int
	// Unknown processes escaped where no watchdog could find them; Raced moved during the
	// last count.
	Unknown, Raced int
	// UnknownLeash signals reached a watchdog that could not be recognized.
	UnknownLeash int
	// Unsignalled were killed without a stop signal, mostly new processes.
	Unsignalled int
	// Forked processes were started after the first SIGKILL, by processes that were not
	// stopped first.
	Forked int
	// TimedOut counts workers by reason.
	TimedOut map[string]int
	Restarts int
	// WatchdogKilled and SentinelKilled are runs in which the watchdog or the sentinel was
	// killed.
	WatchdogKilled, SentinelKilled int
	// Reused PIDs, of the tree or not; Calls to the kernel; Sent signals.
	Reused, Calls, Sent int
}

// judgeForce checks that there is no SIGKILL before the end of the grace period, unless every
// known process that is left cannot be signalled.
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
		if p.Tree == h && !p.Leash && p.open > 0 && p.phase == alive && w.may(p) && p.born < h.countAt {
			w.fail(fmt.Sprintf("SIGKILL before its time (signalled: %v, grace left: %v)", h.asked, h.graceUntil-w.now), p)
			return
		}
	}
}

// judgeAsked checks at the end of the grace period that all processes that were known for
// some time have had the stop signal, or the worker alone where it comes first and lives. A
// process that changed its group meanwhile may have been missed.
func (h *Host) judgeAsked() {
	w := h.W
	for _, p := range w.live {
		if p.Tree != h || p.Leash || p.never || p.open == 0 || p.phase != alive || !w.may(p) || w.LookFails > 0 || w.ListFails > 0 || w.SearchFails > 0 {
			continue
		}
		if !h.askedAll && p != h.root { // at most a second signal was passed on to it
			continue
		}
		if p.termAt == 0 && p.held < h.knownAt && p.joined < p.held {
			w.fail("known for long, but never signalled", p)
		}
		if p.pendTerm && p.stopped && p.stopAt < p.termAt && p.held < h.knownAt && (h.askedAll || p == h.root) {
			w.fail("signalled while stopped, but never continued", p)
		}
	}
}

// slack allows for a recount that was just missed, and for the time that scans take.
const slack = 3 * time.Second

// judgeEnd compares the end of the watch with the simulator's state.
func (s *Scene) judgeEnd(h *Host, status int, err error) {
	w := &s.World
	if err != nil {
		w.fail(err.Error(), nil)
		return
	}
	if late := w.now - (h.causeAt + h.stalled + max(h.Grace, h.cfg.GraceMax) + stop.KillBound + slack); late > 0 {
		w.fail(fmt.Sprintf("the end came %v too late", late), nil)
	}
	last, living := s.judgeLeft(h)
	faulty := w.faulty() // processes that cannot be read count as living
	if h.survivors == 0 && !faulty && w.now > max(last, h.causeAt)+h.stalled+slack {
		w.fail(fmt.Sprintf("all had ended %v before that was noticed", w.now-max(last, h.causeAt)), nil)
	}
	if h.survivors > 0 && living == 0 && s.lastEnd(h) < h.countAt && !faulty {
		w.fail(fmt.Sprintf("%d survivors were reported, and nothing lives", h.survivors), nil)
	}
	s.judgeStatus(h, status)
	s.judgeLog(h)
}

// faulty reports whether kernel calls may fail.
func (w *World) faulty() bool {
	return w.OpenFails > 0 || w.LookFails > 0 || w.ListFails > 0 || w.SearchFails > 0
}

func (s *Scene) lastEnd(h *Host) (call int) {
	for i := range s.World.used {
		if p := &s.World.slab[i]; p.Tree == h { // a process that executed a watchdog is not in the tree any more
			call = max(call, p.ended, p.leashAt)
		}
	}
	return call
}

// judgeLeft checks that no process of the tree lives except those reported as survivors.
func (s *Scene) judgeLeft(h *Host) (lastEnd time.Duration, living int) {
	w := &s.World
	for i := range w.used {
		p := &w.slab[i]
		if p.Tree != h || p.Leash || p.never {
			continue
		}
		lastEnd = max(lastEnd, p.endedAt)
		if p.killAt > 0 && p.termAt == 0 {
			h.Stats.Unsignalled++
		}
		if p.phase != alive {
			continue
		}
		if living++; h.failed { // it was killed, but not waited for
			continue
		}
		if h.survivors > 0 && named(h.left, p) {
			continue
		}
		s.judgeEscape(h, p)
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

// judgeEscape fails if a process that escaped should have been found.
func (s *Scene) judgeEscape(h *Host, p *Proc) {
	w := &s.World
	since := h.countAt
	if h.survivors > 0 { // it gave up after one count: the survivors may go on forking
		since = min(since, h.forceAt)
	}
	if p.below { // the second count may have missed it in an inconsistent list
		since = min(since, h.knownAt)
	}
	raced := max(p.born, p.joined, p.moved) >= since
	parent, leads := h.hold.Hold().Parent, h.Leads()
	why := ""
	switch {
	case p.open > 0:
		why = "a handle was held on it"
	case w.LookFails > 0 && h.numberOfParent(p): // the parent could not be read
		h.Stats.Unknown++
		return
	case h.survivors > 0 && (w.ListFails > 0 || w.SearchFails > 0): // it was reported that some may be missing
		h.Stats.Unknown++
		return
	case p.missed && h.survivors == 0 && parent == 0:
		why = "its parent's children could not be listed, and that was not reported"
	case h.survivors > 0 && w.OpenFails > 0 && named(h.left, p.parent): // the parent could not be opened
		h.Stats.Raced++
		return
	// Such a process cannot be found without the subreaper, nor if a watchdog or reaper
	// in the tree goes on starting processes.
	case raced && (parent == 0 || h.survivors > 0 || p.below):
		h.Stats.Raced++
		return
	case h.mode == RunCgroupSearch && p.cgroup == h.hold && h.hold.cgroup:
		why = "it is in the worker's cgroup"
	case parent != 0:
		why = "below a subreaper every process can be found"
	// A process with the PID of a parent has started it, or that could not be read.
	case h.labelled && (h.likeNext(p) || w.OpenFails > 0 || w.LookFails > 0):
		h.Stats.Unknown++
		return
	case h.labelled && p.Run == h.run && p.Label == h.label && p.UID == h.root.UID && w.may(p):
		why = "it has the worker's labels"
	case p.group == h.root && leads && (h.root.phase != reaped || w.GroupByHandle):
		why = "it is in the worker's group"
	case (p.group == h.root && leads || p.session == h.root) && (h.root.phase != reaped || p.start < h.rootSeenTick):
		why = "it is in the worker's session or group, which is certain"
	case p.parent.phase == alive && p.parent.open > 0 && (p.parent.Tree == h || p.parent.Leash):
		why = "its parent was known"
	default:
		h.Stats.Unknown++
		return
	}
	w.fail(fmt.Sprintf("lives after the end, not named as a survivor (of %d), although %s", h.survivors, why), p)
}

func (h *Host) numberOfParent(p *Proc) bool {
	for _, q := range h.parents {
		if p.PID == q.PID {
			return true
		}
	}
	return false
}

// likeNext reports whether a process cannot be told from the next worker with the same ID,
// which is a child of a parent: its own parent has the PID of a parent that has ended.
func (h *Host) likeNext(p *Proc) bool {
	for ; p.parent != nil; p = p.parent {
		for _, q := range h.parents {
			if p.parent != q && p.parent.PID == q.PID {
				return true
			}
		}
	}
	return false
}

func (s *Scene) judgeStatus(h *Host, status int) {
	w := &s.World
	want := 0
	switch {
	case h.heart.resting && !h.parentTold && !h.endsTold:
		want = h.heart.startStatus
	case h.heart.outcome == watch.NoSentinel:
		want = 125
	case h.Child && h.root.phase == reaped && h.heart.timedOut:
		want = 124
	case h.Child && h.root.phase == reaped:
		want = h.root.Exit.Status()
	case h.Child:
		want = 125
	case h.survivors > 0:
		want = 1
	}
	if status != want {
		w.fail(fmt.Sprintf("the exit status is %d, want %d (survivors: %d)", status, want, h.survivors), nil)
	}
}

func (s *Scene) judgeLog(h *Host) {
	w := &s.World
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
	if h.failed { // the last start failed
		cleaned++
	}
	if cleaned != 1 || stopped != 1 {
		w.fail(fmt.Sprintf("cleanup_completed logged %d times, watchdog.stopped %d times", cleaned, stopped), nil)
	}
	ended := h.root.phase != alive && h.root.ended < h.countAt
	if terminated > 1 || ended && terminated == 0 {
		w.fail(fmt.Sprintf("process.terminated logged %d times", terminated), nil)
	}
}

// judgeHandles checks that all handles were closed.
func (s *Scene) judgeHandles() {
	for i := range s.World.used {
		if p := &s.World.slab[i]; p.open != 0 {
			s.World.fail(fmt.Sprintf("%d handles were left open", p.open), p)
		}
		for _, h := range s.World.Hosts {
			if p := &s.World.slab[i]; p == h.heart.hook && p.phase == alive && !p.pendKill && p.Tree == nil {
				s.World.fail("the hook was left", p)
			}
		}
	}
}
