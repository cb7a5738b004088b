//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/platform/posix"
)

// System implements system.System on Linux.
type System struct {
	*Kernel
	backend string // event or poll
	start   time.Time

	watched map[int]*handle // by token: the handles in the wait loop
	waiting map[any]int     // by owner: how many of them
	// ready is called when a descriptor of this token can be read.
	ready    map[int]func()
	children map[int]*handle // by PID, ours or our sentinels', not reaped yet
	// sole: all our children belong to workers' trees. drawn: sole has been determined.
	sole, drawn bool

	hooks []*handle // the running ones
	pool  *pool     // nil: no workers share a sentinel

	wakes, spare []system.Wake
	onToken      func(int)
	// attend holds the sockets that are paused, or have descriptors to close or events to
	// report.
	attend      []*notifier
	wakeUpToken int
	terminal    bool // our session has a controlling terminal: see defy
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
	switch {
	case backend == "auto" && !HasEpoll():
		backend = "poll"
	case backend == "auto" && k.PIDFDs:
		backend = "event"
	case backend == "auto":
		backend = "poll"
	case backend == "event" && !k.PIDFDs:
		return nil, errors.New("--backend event: the system refuses pidfds (Linux 5.3, or a seccomp filter); use auto or poll")
	}
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	if l.set != nil && backend == "event" {
		return nil, fmt.Errorf("--backend event: %w; use auto or poll", ErrEpoll)
	}
	s := &System{Kernel: k, backend: backend, start: time.Now(), watched: make(map[int]*handle),
		waiting: make(map[any]int), ready: make(map[int]func()), children: make(map[int]*handle)}
	k.loop, k.forget = l, s.unwatch
	s.onToken = s.token
	return s, nil
}

// Backend is how exits are noticed: event or poll.
func (s *System) Backend() string { return s.backend }

// Means names the mechanism that reports exits with the backend event.
func (s *System) Means() string { return "pidfd" }

// Now is the time since New. It stands still while the machine sleeps (CLOCK_MONOTONIC).
func (s *System) Now() time.Duration { return time.Since(s.start) }

// Ancestors are this process and its ancestors.
func (s *System) Ancestors() []proc.Info { return s.ancestors() }

// Self is the identity of this process.
func (s *System) Self() (proc.ID, error) {
	h, err := s.open(os.Getpid())
	if err != nil {
		return proc.ID{}, err
	}
	defer h.Close()
	info, err := h.Info()
	return info.ID, err
}

// Here names this boot (random(4)) and our PID namespace (pid_namespaces(7)).
func (s *System) Here() (boot string, namespace uint64, err error) { return s.here() }

// Created is when a process started, to the clock tick.
func (s *System) Created(id proc.ID) time.Time {
	age := int64(s.Tick()) - int64(id.Start)
	return time.Now().Add(-time.Duration(age) * (time.Second / userHZ)).Truncate(time.Second / userHZ)
}

// OpenParent opens a parent: when it exits, the worker is ended.
func (s *System) OpenParent(pid int) (stop.Handle, error) { return s.Open(pid) }

// OpenWorker opens a process that is to be guarded. It fails with proc.ErrDenied if we may not
// signal it.
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
	if info, err := h.Info(); err == nil && !info.Dead() {
		h.settled()
	}
	return h, nil
}

// Watch has Wait report the exit of a process.
func (s *System) Watch(sh stop.Handle, owner any) error {
	h := sh.(*handle)
	h.owner = owner
	if s.backend != "event" || h.token != 0 || h.fd < 0 || h.ended {
		return nil
	}
	if h.dir { // a child that has no pidfd
		return errors.ErrUnsupported
	}
	token := s.loop.token()
	if err := s.loop.add(h.fd, token); err != nil {
		return err
	}
	h.token = token
	s.watched[token] = h
	s.waiting[owner]++
	return nil
}

// Waiting is the number of an owner's watched processes that have not ended.
func (s *System) Waiting(owner any) int { return s.waiting[owner] }

func (s *System) unwatch(h *handle) {
	if s.watched[h.token] != h {
		return
	}
	delete(s.watched, h.token)
	s.loop.remove(h.fd)
	h.token = 0
	if s.waiting[h.owner]--; s.waiting[h.owner] == 0 {
		delete(s.waiting, h.owner)
	}
}

// WatchFD has Wait report the end-of-file of a descriptor. The descriptor is not read: the
// kernel reports when the last writer has closed it.
func (s *System) WatchFD(fd int, owner any) (open bool, err error) {
	token := s.loop.token()
	err = s.loop.addEvents(fd, token, unix.EPOLLRDHUP)
	if errors.Is(err, unix.EPERM) { // a file or device that is always ready
		return s.drain(fd)
	}
	if err != nil {
		return false, err
	}
	s.ready[token] = func() {
		s.loop.remove(fd)
		delete(s.ready, token)
		s.wake(system.Wake{Kind: system.FDEnded, Owner: owner})
	}
	return true, nil
}

// FDEnded reports whether a descriptor is at end-of-file.
func (s *System) FDEnded(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, _ := unix.Poll(p, 0)
	return n > 0 && p[0].Revents != 0
}

const drainBound = 1 << 20

// drain reads to the end of a file that is always ready, such as /dev/null.
func (s *System) drain(fd int) (open bool, err error) {
	var b [4096]byte
	for range drainBound / len(b) {
		if n, err := unix.Read(fd, b[:]); n <= 0 && err != unix.EINTR {
			return false, nil
		}
	}
	return false, errors.New("it never ends and cannot be waited on: give it a pipe or a socket")
}

func (s *System) wake(w system.Wake) { s.wakes = append(s.wakes, w) }

// Wait blocks until something has happened or, if timed, until the deadline.
func (s *System) Wait(deadline time.Duration, timed bool) ([]system.Wake, error) {
	s.release()                             // the events of the last Wait have been handled
	if s.listenAgain(); len(s.wakes) == 0 { // events since the last Wait are returned at once
		if at, paused := s.untilBeats(); paused && (!timed || at < deadline) {
			deadline, timed = at, true
		}
		if err := s.loop.wait(deadline-s.Now(), timed, s.onToken); err != nil {
			return nil, err
		}
		s.listenAgain()
	}
	told := s.wakes
	s.wakes = s.spare[:0]
	s.spare = told
	return told, nil
}

func (s *System) token(token int) {
	if h := s.watched[token]; h != nil {
		owner := h.owner
		s.unwatch(h)
		h.ended = true
		s.wake(system.Wake{Kind: system.Ended, Owner: owner, Handle: h})
		return
	}
	if ready := s.ready[token]; ready != nil {
		ready()
	}
}

// Close does nothing: the system holds nothing that outlives the process.
func (s *System) Close() {}

// child registers a process that we, or our sentinel, have started.
func (s *System) child(h *handle, owner any) {
	h.child, h.owner = true, owner
	s.children[h.pid] = h
}

// reap collects every child that has ended: ours, and orphans that we adopted as their
// subreaper or as PID 1. It reports whether we have no child at all.
func (s *System) reap() (none bool) {
	for {
		s.endHooks()
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return err == unix.ECHILD
		}
		if h := s.children[pid]; h != nil {
			s.reaped(h, ws)
		}
	}
}

// reaped records how a child ended. From now on its PID may be another process's.
func (s *System) reaped(h *handle, ws unix.WaitStatus) {
	delete(s.children, h.pid)
	h.reaped, h.exit = true, posix.ExitOf(ws)
	if h.onReaped != nil {
		h.onReaped()
		return
	}
	if h.token == 0 { // nothing else reports it
		s.wake(system.Wake{Kind: system.Ended, Owner: h.owner, Handle: h})
	}
}

// hasOtherChildren reports whether we have children other than these, or may have.
func (s *System) hasOtherChildren(but ...int) bool {
	all, err := s.Children(os.Getpid(), nil)
	if err != nil {
		return true
	}
next:
	for _, pid := range all {
		for _, b := range but {
			if pid == b {
				continue next
			}
		}
		return true
	}
	return false
}

// forkExec gives a hook a clean start: nothing is blocked, and ignored is only what would
// stop it when it writes to our terminal. fd is its pidfd, or -1.
func (s *System) forkExec(path string, args []string, attr *syscall.ProcAttr) (pid, fd int, err error) {
	fd = -1
	if s.PIDFDs {
		attr.Sys.PidFD = &fd
	}
	unignore()
	s.defy() // it writes where we do, from a group of its own
	pid, err = forkUnmasked(path, args, attr)
	return pid, fd, err
}

// ancestors are this process and its ancestors, which are never signalled.
func (k *Kernel) ancestors() []proc.Info {
	var all []proc.Info
	for pid := os.Getpid(); pid > 0; {
		info, err := k.statOf(pid)
		if err != nil {
			break
		}
		all = append(all, info)
		pid = info.PPID
	}
	return all
}

func (k *Kernel) statOf(pid int) (proc.Info, error) {
	b, err := k.readRecord(unix.AT_FDCWD, pathIn(pid, "stat"))
	if err != nil {
		return proc.Info{}, err
	}
	return ParseStat(b)
}
