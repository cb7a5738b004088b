package watchsim

import (
	"errors"
	"strconv"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// System is a world as a system.System: the fake operating system under a real watch.Worker.
type System struct {
	Kernel
	// Poll: the backend is poll, so no end of a process is reported.
	Poll bool
	// Lossy: what is told comes late, or never. But a first cause to end a worker is
	// told at last: without it there is nothing to test.
	Lossy bool
	// Blind: the end of some processes cannot be reported.
	Blind bool

	wakes, spare []system.Wake
	pending      []notice
	watched      []*handle
	hooks        []*handle
	ears         []*ears
	lifelines    []lifeline

	sole, drawn bool // all children of the watchdog are in the workers' trees; drawn: sole was drawn
	dead        bool // the watchdog was killed
	stats       *Stats
	ends        int   // signals that end, reported so far
	continuedAt int   // the call at which SIGCONT was reported
	host        *Host // the one that is being prepared
}

// notice is something that will be reported to the watchdog.
type notice struct {
	at   time.Duration
	kind noticeKind
	h    *handle
	c    *containment
	line lifeline
	sig  proc.Signal
}

type noticeKind uint8

const (
	noticeEnd      noticeKind = iota // of the process of h
	noticeUnwatch                    // it will not be reported
	noticeChild                      // a child of the watchdog has ended
	noticeSentinel                   // it has sent a message, or ended
	noticeSignal
	noticeLifeline
)

// lifeline is a descriptor with an end-of-file when a process ends.
type lifeline struct {
	fd    int
	p     *Proc
	owner any
}

// firstFD is the first descriptor of a lifeline.
const firstFD = 100

// longest is far longer than any run takes.
const longest = 30 * time.Minute

var (
	errHang        = errors.New("nothing will ever happen again, and the watchdog waits")
	errUnwatchable = errors.New("no more can be watched")
	errNoHook      = errors.New("the command cannot be started")
)

var _ system.System = (*System)(nil)

// reset makes it the system of this world.
func (s *System) reset(w *World, stats *Stats) {
	*s = System{Kernel: Kernel{w}, stats: stats, wakes: s.wakes[:0], spare: s.spare[:0], pending: s.pending[:0],
		watched: s.watched[:0], hooks: s.hooks[:0], ears: s.ears[:0], lifelines: s.lifelines[:0]}
	w.System = s
}

// Now stands still while the machine sleeps.
func (s *System) Now() time.Duration { return s.W.now }

// Backend is event or poll.
func (s *System) Backend() string {
	if s.Poll {
		return "poll"
	}
	return "event"
}

// Means is the mechanism that reports ends.
func (s *System) Means() string { return "pidfd" }

// OpenParent opens a parent.
func (s *System) OpenParent(pid int) (stop.Handle, error) { return s.Open(pid) }

// OpenWorker opens a process that is to be guarded.
func (s *System) OpenWorker(pid int) (system.Handle, error) {
	h, err := s.Open(pid)
	if err != nil {
		return nil, err
	}
	return h.(*handle), nil
}

// Ancestors are the watchdog and its ancestors, read without a handle.
func (s *System) Ancestors() []proc.Info { return s.above(s.W.Self) }

func (s *System) above(p *Proc) (all []proc.Info) {
	for ; p != nil; p = p.parent {
		i := p.info()
		i.Inode = 0
		all = append(all, i)
	}
	return all
}

// Self is the watchdog.
func (s *System) Self() (proc.ID, error) { return s.W.Self.info().ID, nil }

// Here is always the same.
func (s *System) Here() (boot string, namespace uint64, err error) { return "b00t", 1, nil }

// Created is when a process was started.
func (s *System) Created(id proc.ID) time.Time {
	return time.Unix(0, 0).Add(time.Duration(id.Start) * tickLength)
}

// Listen makes Wait report signals.
func (s *System) Listen(bool) error { return nil }

// Close does nothing.
func (s *System) Close() {}

// Watch makes Wait report the end of a process.
func (s *System) Watch(sh stop.Handle, owner any) error {
	h := sh.(*handle)
	h.use()
	h.owner = owner
	if s.Poll || h.watched || h.told {
		return nil
	}
	if s.Blind && s.W.Chance(20) {
		return errUnwatchable
	}
	h.watched = true
	s.watched = append(s.watched, h)
	if s.Blind && s.W.Chance(10) {
		s.pending = append(s.pending, notice{at: s.W.now + s.W.Between(0, 100*time.Millisecond), kind: noticeUnwatch, h: h})
	}
	if h.p.phase != alive {
		s.notify(notice{kind: noticeEnd, h: h})
	}
	return nil
}

// Waiting is how many watched processes of an owner have not been reported yet.
func (s *System) Waiting(owner any) (n int) {
	for _, h := range s.watched {
		if h.owner == owner {
			n++
		}
	}
	return n
}

func (s *System) unwatch(h *handle) {
	h.watched = false
	for i, x := range s.watched {
		if x == h {
			s.watched[i] = s.watched[len(s.watched)-1]
			s.watched = s.watched[:len(s.watched)-1]
			return
		}
	}
}

// addLifeline makes a descriptor with an end-of-file when this process ends.
func (s *System) addLifeline(p *Proc) (fd int) {
	fd = firstFD + len(s.lifelines)
	s.lifelines = append(s.lifelines, lifeline{fd: fd, p: p})
	return fd
}

// WatchFD makes Wait report the end-of-file of a lifeline.
func (s *System) WatchFD(fd int, owner any) (open bool, err error) {
	s.W.step()
	l := &s.lifelines[fd-firstFD]
	if l.p.phase != alive {
		return false, nil
	}
	l.owner = owner
	return true, nil
}

// FDEnded reports whether it has come.
func (s *System) FDEnded(fd int) bool {
	s.W.step()
	return s.lifelines[fd-firstFD].p.phase != alive
}

// ended is called by the world when a process has ended.
func (s *System) ended(p *Proc) {
	if s.dead {
		return
	}
	for _, l := range s.lifelines {
		if l.p == p && l.owner != nil {
			s.notify(notice{kind: noticeLifeline, line: l})
		}
	}
	if p.sentinel != nil && p.sentinel.c != nil {
		s.notify(notice{kind: noticeSentinel, c: p.sentinel.c})
	}
	if s.Poll {
		return
	}
	if p.parent == s.W.Self {
		s.notify(notice{kind: noticeChild, h: p.child})
	}
	for _, h := range s.watched {
		if h.p == p {
			s.notify(notice{kind: noticeEnd, h: h})
		}
	}
}

func (s *System) notify(n notice) {
	n.at = s.W.now
	if s.Lossy {
		switch c := s.W.N(100); {
		case c < 15:
			n.at += s.W.Between(0, 300*time.Millisecond)
		case c < 25: // a signal that is ignored
			n.at += s.W.Between(0, time.Second)
			if h := s.hostOf(n.h); h != nil {
				s.pending = append(s.pending, notice{at: s.W.now, kind: noticeChild, h: n.h})
			}
		case c < 40 && s.mayLose(n):
			s.W.Trace.said(s.W.now, "notice lost", "", n.h.p)
			return
		}
	}
	s.pending = append(s.pending, n)
}

// mayLose reports whether the end of a process may be lost: a tree that is being ended is
// counted at intervals anyway.
func (s *System) mayLose(n notice) bool {
	h := s.hostOf(n.h)
	return h != nil && h.ending && !n.h.p.parentOf
}

// hostOf is the host of a watched process; nil if it is a parent.
func (s *System) hostOf(h *handle) *Host {
	if h == nil {
		return nil
	}
	for _, host := range s.W.Hosts {
		if h.owner == any(host.Worker) || h.p.Tree == host {
			return host
		}
	}
	return nil
}

func (s *System) wake(w system.Wake) { s.wakes = append(s.wakes, w) }

// Wait lets time pass until something has happened.
func (s *System) Wait(deadline time.Duration, timed bool) ([]system.Wake, error) {
	w := s.W
	s.mishaps()
	for _, h := range w.Hosts {
		h.waits()
	}
	for {
		s.take()
		s.listen()
		if len(s.wakes) > 0 || timed && w.now >= deadline {
			break
		}
		next := w.nextTimer
		if timed {
			next = min(next, deadline)
		}
		for _, n := range s.pending {
			next = min(next, n.at)
		}
		for _, e := range s.ears {
			if len(e.said) > 0 {
				next = min(next, e.deafUntil)
			}
		}
		if next == noTimer || w.now > longest {
			return nil, errHang
		}
		w.pass(next)
	}
	for _, h := range w.Hosts {
		h.judgeOverdue()
	}
	told := s.wakes
	s.wakes, s.spare = s.spare[:0], told
	return told, nil
}

// take turns notices that are due into reports.
func (s *System) take() {
	for i := 0; i < len(s.pending); i++ {
		n := s.pending[i]
		if n.at > s.W.now {
			continue
		}
		s.pending = append(s.pending[:i], s.pending[i+1:]...)
		i--
		switch n.kind {
		case noticeSignal:
			s.W.Trace.said(s.W.now, "signal to the watchdog:", n.sig.Name, nil)
			if n.sig == proc.TERM || n.sig == proc.INT {
				s.ends++
			}
			if n.sig == contSignal {
				s.continuedAt = s.W.calls
			}
			s.wake(system.Wake{Kind: system.Signalled, Signal: n.sig})
		case noticeLifeline:
			s.wake(system.Wake{Kind: system.FDEnded, Owner: n.line.owner})
		case noticeSentinel:
			n.c.hear()
		case noticeChild:
			s.reap()
		case noticeUnwatch:
			if n.h.watched && n.h.p.phase == alive {
				s.unwatch(n.h)
				s.wake(system.Wake{Kind: system.Unwatched, Owner: n.h.owner, Handle: n.h})
			}
		case noticeEnd:
			if n.h.watched {
				s.unwatch(n.h)
				n.h.told = true
				if host := s.hostOf(n.h); host != nil && host.ending && n.h.owner == any(host.Worker) && s.Waiting(n.h.owner) == 0 {
					host.quietAt = s.W.calls
				}
				s.wake(system.Wake{Kind: system.Ended, Owner: n.h.owner, Handle: n.h})
			}
		}
	}
}

// reap reaps the children of the watchdog that have ended. It reports whether it has
// no child at all.
func (s *System) reap() (none bool) {
	w := s.W
	w.step()
	w.askedBelow = w.calls
	none = true
	for i := 0; i < len(w.live); i++ {
		p := w.live[i]
		if p.parent != w.Self {
			continue
		}
		if p.phase != zombie {
			none = false
			continue
		}
		if !w.GroupByHandle {
			s.endHook(p)
		}
		w.reap(p)
		s.reaped(p)
		i = -1 // begin again, since the list may have changed
	}
	return none
}

// reaped notes how a child has ended.
func (s *System) reaped(p *Proc) {
	if p.sentinel != nil && p.sentinel.c != nil {
		p.sentinel.c.sentinelDied()
	}
	h := p.child
	if h == nil || h.reaped {
		return
	}
	h.reaped, h.exit = true, p.Exit
	switch {
	case p.is != nil: // while there was a sentinel it was not a child of the watchdog
		p.is.hold.sentinelDied()
		p.is.hold.tell()
	case !h.watched && !h.closed:
		s.wake(system.Wake{Kind: system.Ended, Owner: h.owner, Handle: h})
	}
}

// signal sends the watchdog a signal.
func (s *System) signal(in time.Duration, sig proc.Signal) {
	s.pending = append(s.pending, notice{at: s.W.now + in, kind: noticeSignal, sig: sig})
}

// mishaps: the machine sleeps, or the watchdog is kept from running.
func (s *System) mishaps() {
	w := s.W
	switch n := w.N(400); {
	case n < 2:
		w.Sleep(time.Hour)
		w.Trace.said(w.now, "the machine slept for an hour", "", nil)
	case n < 4:
		d := w.Between(0, 2*time.Second)
		w.Trace.said(w.now, "the watchdog was stopped for", d.String(), nil)
		s.stall(d)
		w.pass(w.now + d)
	}
	if len(s.ears) == 0 {
		return
	}
	switch n := w.N(300); {
	case n < 2:
		d := w.Between(0, 2*time.Second)
		w.Trace.said(w.now, "the watchdog was stopped, then continued after", d.String(), nil)
		s.stall(d)
		w.pass(w.now + d)
		s.signal(0, contSignal)
	case n < 4 && w.OpenFails == 0 && w.LookFails == 0: // a sequence that gives up after one scan must be able to read all
		d := w.Between(0, 20*time.Second)
		continued := w.Chance(50)
		if !continued { // then it must be long to be noticed
			d += 20 * time.Second
		}
		w.Trace.said(w.now, "all stood still for", d.String(), nil)
		s.stall(d)
		w.freeze(d)
		for i := range s.pending {
			s.pending[i].at += d
		}
		if continued {
			s.signal(0, contSignal)
		}
	}
}

// stall notes that the watchdog did not run for so long.
func (s *System) stall(d time.Duration) {
	for _, h := range s.W.Hosts {
		h.stalled += d
		h.heart.stalled(d)
	}
}

// freeze lets time pass in which no process acts.
func (w *World) freeze(d time.Duration) {
	w.now += d
	for i := range w.timers {
		w.timers[i].at += d
	}
	if w.nextTimer != noTimer {
		w.nextTimer += d
	}
}

// Suspend stops the watchdog for a while.
func (s *System) Suspend(unless func() bool) {
	w := s.W
	began := w.calls
	if unless() {
		return
	}
	for _, h := range w.Hosts {
		for _, p := range h.parents {
			if p.phase != alive && p.ended < began && w.LookFails == 0 {
				w.fail("the watchdog is stopped, but a parent has exited", p)
			}
		}
	}
	d := w.Between(0, time.Second)
	s.stall(d)
	well := make([]bool, len(w.Hosts))
	for i, h := range w.Hosts {
		well[i] = !h.heart.sick
	}
	w.pass(w.now + d)
	for i, h := range w.Hosts {
		if well[i] && !h.heart.hangs { // it cannot beat while it is stopped
			h.heart.sick = false
		}
	}
	s.signal(0, contSignal)
}

// StartHook starts a command, as a child of the watchdog.
func (s *System) StartHook(system.Command) (system.Handle, error) {
	w := s.W
	w.step()
	var p *Proc
	if !w.Chance(15) {
		p = w.Fork(w.Self)
	}
	if p == nil {
		return nil, errNoHook
	}
	w.Setpgid(p, p)
	p.Name, p.UID, p.temper, p.ofHook = "hook", ownUID, temper{}, true
	h := w.open(p)
	p.child = h
	s.hooks = append(s.hooks, h)
	return h, nil
}

func (s *System) isHook(h *handle) bool {
	for _, hook := range s.hooks {
		if hook == h {
			return true
		}
	}
	return false
}

// endHook kills the group of a hook that is about to be reaped: its group is not found
// afterwards.
func (s *System) endHook(p *Proc) {
	for _, h := range s.hooks {
		if h.p == p {
			s.W.killGroup(p)
		}
	}
}

// killGroup kills what is left of the group of a hook.
func (w *World) killGroup(leader *Proc) {
	for i := len(w.live) - 1; i >= 0; i-- {
		if i < len(w.live) && w.live[i].group == leader {
			w.kill(w.live[i])
		}
	}
}

// Exit is the exit status of a process, if it is known, and whether it has ended.
func (h *handle) Exit() (exit proc.Exit, ended bool) {
	h.use()
	w := h.w
	if h.p.child == h {
		if !h.reaped {
			if host := h.p.is; host != nil {
				host.hold.reap()
			} else {
				w.System.reap()
			}
		}
		return h.exit, h.reaped
	}
	info, err := h.Info()
	switch {
	case errors.Is(err, proc.ErrGone):
	case err != nil || !info.Dead():
		return proc.Exit{}, false
	}
	if h.p.phase == reaped && h.p.n%2 == 0 {
		exit = h.p.Exit
	}
	return exit, true
}

// Names are the worker's labels in its environment.
func (h *handle) Names() (run, worker string) { return h.Labels() }

// Catches reports whether the process handles a signal itself.
func (h *handle) Catches(proc.Signal) bool {
	h.use()
	h.w.step()
	return h.p.n%3 == 0
}

func (h *handle) String() string { return "handle on " + strconv.Itoa(h.p.PID) }
