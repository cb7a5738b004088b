package darwin

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// System is macOS, as the watchdog needs it.
type System struct {
	*Kernel
	launcher launcher
	program  executable // started anew as a sentinel or a gate
	backend  string     // event or poll
	start    time.Time
	pause    func(time.Duration)

	loop    *loop
	exits   *exits
	waiting map[any]int // for how many processes of an owner Watch waits still
	// unwatched are sentinels of which no event will tell the end: Wait checks them.
	unwatched []*handle
	lifelines map[int]*lifeline // by descriptor

	wakes, spare []system.Wake

	listens bool
	mu      sync.Mutex
	inbox   []proc.Signal // that came in and were not reported yet
}

var _ system.System = (*System)(nil)

const wakeIdent = 1

// newSystem returns the system over a kqueue. The backend is auto, event or poll.
func newSystem(k *Kernel, l launcher, q queue, backend string) (*System, error) {
	if backend == "auto" {
		backend = "event"
	}
	s := &System{Kernel: k, launcher: l, backend: backend, start: time.Now(), pause: time.Sleep,
		loop: &loop{q: q}, waiting: make(map[any]int), lifelines: make(map[int]*lifeline)}
	s.exits = newExits(s.loop)
	// Signals wake the queue by this.
	if err := s.loop.change(kevent{Ident: wakeIdent, Filter: filterUser, Flags: evAdd | evClear}); err != nil {
		return nil, fmt.Errorf("kevent: %w", err)
	}
	k.forget = s.unwatch
	return s, nil
}

// Backend says how ends are noticed: event or poll.
func (s *System) Backend() string { return s.backend }

// Means names what reports an end with the backend event.
func (s *System) Means() string { return "kqueue" }

// Now stands still while the machine sleeps (mach_absolute_time).
func (s *System) Now() time.Duration { return time.Since(s.start) }

// Ancestors are this process and those above it.
func (s *System) Ancestors() []proc.Info { return s.ancestors() }

// Self is the identity of this process.
func (s *System) Self() (proc.ID, error) {
	h, err := s.open(s.sys.Self())
	if err != nil {
		return proc.ID{}, err
	}
	return h.id(), nil
}

// Here names this boot. macOS has no PID namespaces.
func (s *System) Here() (boot string, namespace uint64, err error) {
	boot, err = s.here()
	return boot, 0, err
}

// Created is when a process began, as the clock was then.
func (s *System) Created(id proc.ID) time.Time { return time.UnixMicro(int64(id.Start)) }

// OpenParent opens a process that ends a worker by its death.
func (s *System) OpenParent(pid int) (stop.Handle, error) { return s.Open(pid) }

// OpenWorker opens a process that is to be guarded.
func (s *System) OpenWorker(pid int) (system.Handle, error) {
	h, err := s.open(pid)
	if err != nil {
		return nil, err
	}
	h.worker = true
	if errors.Is(h.Signal(proc.Signal{}), proc.ErrDenied) {
		h.Close()
		return nil, fmt.Errorf("process %d belongs to another user (%w): run the watchdog as that user or as root", pid, proc.ErrDenied)
	}
	return h, nil
}

// Watch makes Wait report the end of a process.
func (s *System) Watch(sh stop.Handle, owner any) error {
	h := sh.(*handle)
	if s.backend != "event" || h.watched || h.ended || h.closed {
		return nil
	}
	if err := s.exits.add(h); err != nil {
		return err
	}
	h.owner, h.waited = owner, true
	s.waiting[owner]++
	return nil
}

// Waiting is for how many processes of an owner Watch waits still.
func (s *System) Waiting(owner any) int { return s.waiting[owner] }

// waitedFor notes that the end of a process need not be waited for any more.
func (s *System) waitedFor(h *handle) {
	if !h.waited {
		return
	}
	h.waited = false
	if s.waiting[h.owner]--; s.waiting[h.owner] == 0 {
		delete(s.waiting, h.owner)
	}
}

func (s *System) unwatch(h *handle) {
	s.exits.drop(h)
	s.waitedFor(h)
	s.unwatched = slices.DeleteFunc(s.unwatched, func(other *handle) bool { return other == h })
}

// whenEnded makes Wait call f once a process has ended.
func (s *System) whenEnded(h *handle, owner any, f func()) {
	h.owner, h.onEnd = owner, f
	if s.backend != "event" || s.exits.add(h) != nil {
		s.lost(h)
	}
}

// lost is called when no event will tell the end of a process after all. From then on its
// owner checks its processes now and then, and Wait checks the sentinels.
func (s *System) lost(h *handle) {
	s.waitedFor(h)
	if h.onEnd != nil {
		s.unwatched = append(s.unwatched, h)
	}
	s.wake(system.Wake{Kind: system.Unwatched, Owner: h.owner, Handle: h})
}

func (s *System) wake(w system.Wake) { s.wakes = append(s.wakes, w) }

// Wait blocks until something happened or, if timed, until the deadline.
func (s *System) Wait(deadline time.Duration, timed bool) ([]system.Wake, error) {
	if s.tellKnown(); len(s.wakes) == 0 {
		if err := s.loop.wait(deadline-s.Now(), timed, s.happened); err != nil {
			return nil, err
		}
		s.checkSentinels()
		s.tellKnown()
	}
	told := s.wakes
	s.wakes, s.spare = s.spare[:0], told
	return told, nil
}

// tellKnown reports what is known without the queue.
func (s *System) tellKnown() {
	for _, h := range s.exits.take() {
		s.ended(h)
	}
	s.tellSignals()
}

func (s *System) happened(e kevent) {
	switch e.Filter {
	case filterRead:
		s.readable(e)
	case filterProc:
		ended, lost := s.exits.event(e, s.sys.WaitStatus)
		for _, h := range lost {
			s.lost(h)
		}
		for _, h := range ended {
			s.ended(h)
		}
	}
}

// ended is called when a process has certainly ended.
func (s *System) ended(h *handle) {
	s.waitedFor(h)
	if h.onEnd != nil {
		h.onEnd()
		return
	}
	s.wake(system.Wake{Kind: system.Ended, Owner: h.owner, Handle: h})
}

func (s *System) checkSentinels() {
	for _, h := range slices.Clone(s.unwatched) { // another may take its place
		if h.gone() {
			h.ended = true
			s.ended(h)
		}
	}
}

// Close closes what belongs to no worker.
func (s *System) Close() { s.loop.q.Close() }

// startChild starts a process. Until it is reaped its PID is not another's.
func (s *System) startChild(what start) (*handle, error) {
	pid, err := s.launcher.Start(what)
	if err != nil {
		return nil, err
	}
	h, err := s.open(pid)
	if err != nil {
		s.sys.Kill(pid, proc.KILL.Num)
		s.launcher.Reap(pid, true)
		return nil, err
	}
	h.launcher = s.launcher
	return h, nil
}

// errBeats: a datagram does not say which process sent it (see the package comment).
var errBeats = errors.New("heartbeats are not supported on macOS, which does not say which process sent one: leave --heartbeat off, " +
	"and have the worker end itself when it hangs (Python: faulthandler.dump_traceback_later(SECONDS, exit=True))")

// ListenForBeats fails.
func (s *System) ListenForBeats(system.Beats) (system.Ears, error) { return nil, errBeats }
