//go:build windows

package windows

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// System is Windows, as the watchdog needs it.
type System struct {
	*Kernel
	backend string  // event or poll
	self    *handle // this process
	start   uint64

	waits    waits
	happened chan happening
	waiting  map[any]int // how many of an owner

	poked chan struct{}
	all   *job // of all workers of a pool; nil: there is none

	hooks       []*handle // that run
	pipes       []*notifier
	wakes, last []system.Wake
}

var _ system.System = (*System)(nil)

// New returns the system. The backend is auto, event or poll.
func New(backend string) (*System, error) {
	k, err := NewKernel()
	if err != nil {
		return nil, err
	}
	return newSystem(k, backend)
}

func newSystem(k *Kernel, backend string) (*System, error) {
	if backend == "auto" { // every process handle can be waited for
		backend = "event"
	}
	self, err := k.open(os.Getpid())
	if err != nil {
		return nil, err
	}
	s := &System{Kernel: k, backend: backend, self: self, start: unbiased(),
		happened: make(chan happening, 64), waiting: make(map[any]int), poked: make(chan struct{}, 1)}
	s.waits.out = s.happened
	k.forget, k.endHook = s.unwatch, s.dropHook
	return s, nil
}

// Backend says how ends are noticed: event or poll.
func (s *System) Backend() string { return s.backend }

// Means names what reports an end with the backend event.
func (s *System) Means() string { return "handle" }

// Now stands still while the machine sleeps ("QueryUnbiasedInterruptTime function").
func (s *System) Now() time.Duration { return time.Duration(unbiased()-s.start) * 100 }

// Ancestors are this process and those above it.
func (s *System) Ancestors() []proc.Info { return s.ancestors() }

// Self is the identity of this process.
func (s *System) Self() (proc.ID, error) { return s.self.id(), nil }

// Here is the same at each boot: a creation time is a time of day.
func (s *System) Here() (boot string, namespace uint64, err error) { return everyBoot, 0, nil }

// Created is when a process began.
func (s *System) Created(id proc.ID) time.Time {
	return time.Unix(0, (int64(id.Start)-epoch)*100)
}

// epoch is the start of 1970 ("FILETIME structure": counted from 1601).
const epoch = 116444736000000000

// OpenParent opens a process that ends a worker by its death. The number of our own parent
// stays with us when it has ended, and another process may have it by now: but not one
// that was there when we were created.
func (s *System) OpenParent(pid int) (stop.Handle, error) {
	h, err := s.open(pid)
	if err != nil {
		return nil, err
	}
	if pid == s.self.ppid && younger(h.start, s.self.start, s.latest()) {
		h.Close()
		return nil, proc.ErrGone
	}
	return h, nil
}

// OpenWorker opens a process that is to be guarded.
func (s *System) OpenWorker(pid int) (system.Handle, error) {
	if pid == systemPID {
		return nil, fmt.Errorf("process %d is the system itself and is never signalled", pid)
	}
	h, err := s.open(pid)
	if err != nil {
		return nil, refused(pid, err)
	}
	h.worker = true
	if err := h.Signal(proc.Signal{}); err != nil {
		h.Close()
		return nil, refused(pid, err)
	}
	return h, nil
}

// Contain prepares to hold one worker's process tree.
func (s *System) Contain(o system.Options) system.Containment {
	c := &containment{s: s, shared: o.Shared}
	c.mine = c.has
	return c
}

// Watch makes Wait report the end of a process.
func (s *System) Watch(sh stop.Handle, owner any) error {
	h := sh.(*handle)
	if s.backend != "event" || h.closed() || h.entry != nil || h.told {
		return nil
	}
	e, err := s.waits.add(h)
	if err != nil { // for want of that right, say
		return err
	}
	h.entry, h.owner = e, owner
	s.waiting[owner]++
	return nil
}

// Waiting is for how many processes of an owner Watch waits still.
func (s *System) Waiting(owner any) int { return s.waiting[owner] }

func (s *System) unwatch(h *handle) {
	s.waits.remove(h.entry)
	s.noLonger(h)
}

func (s *System) noLonger(h *handle) {
	h.entry = nil
	if s.waiting[h.owner]--; s.waiting[h.owner] == 0 {
		delete(s.waiting, h.owner)
	}
}

func (s *System) wake(w system.Wake) { s.wakes = append(s.wakes, w) }

// Listen makes Wait report console events. Package os/signal makes SIGINT of CTRL_C and
// CTRL_BREAK, and SIGTERM of close, log-off and shutdown, for which the system waits
// some seconds ("HandlerRoutine callback function").
func (s *System) Listen(bool) error {
	c := make(chan os.Signal, 8)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		for sig := range c {
			s.happened <- happening{signal: sig}
		}
	}()
	return nil
}

func (s *System) signalled(sig os.Signal) {
	got := proc.TERM
	if sig == os.Interrupt {
		// Without a console nothing can send it but this process itself, to the console of
		// a worker.
		if !hasConsole() {
			return
		}
		got = proc.INT
	}
	s.wake(system.Wake{Kind: system.Signalled, Signal: got})
}

// Wait blocks until something happened or, if timed, until the deadline.
func (s *System) Wait(deadline time.Duration, timed bool) ([]system.Wake, error) {
	if len(s.wakes) == 0 { // all messages were reported, and handled
		for _, n := range s.pipes {
			n.release()
		}
	}
	if s.listenAgain(); len(s.wakes) == 0 { // what became known meanwhile is reported at once
		if at, paused := s.untilBeats(); paused && (!timed || at < deadline) {
			deadline, timed = at, true
		}
		s.sleep(deadline, timed)
		s.listenAgain()
	}
	told := s.wakes
	s.wakes, s.last = s.last[:0], told
	return told, nil
}

// slice bounds one round of reading messages, in which nothing else is handled.
const slice = 20 * time.Millisecond

// sleep blocks until something happened or, if timed, until that moment.
func (s *System) sleep(until time.Duration, timed bool) {
	var alarm <-chan time.Time
	if timed {
		t := time.NewTimer(max(until-s.Now(), 0))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case it := <-s.happened:
		s.handle(it)
	case <-s.poked:
	case <-alarm:
	}
	for began := s.Now(); s.Now()-began < slice; {
		select {
		case it := <-s.happened:
			s.handle(it)
		default:
			return
		}
	}
}

func (s *System) handle(it happening) {
	switch {
	case it.pipe.op != nil:
		it.pipe.op.c.n.finished(it.pipe)
	case it.ended != nil:
		if h := it.ended.h; h.entry == it.ended {
			h.told = true
			s.noLonger(h)
			s.wake(system.Wake{Kind: system.Ended, Owner: h.owner, Handle: h})
		}
	case it.lifeline != nil:
		s.wake(system.Wake{Kind: system.FDEnded, Owner: it.lifeline.owner})
	case it.signal != nil:
		s.signalled(it.signal)
	}
}

// Suspend returns at once: there is no job control.
func (s *System) Suspend(func() bool) {}

// Close has nothing to do: all handles are those of workers, parents and hooks.
func (s *System) Close() {}
