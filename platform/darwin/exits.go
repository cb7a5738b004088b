package darwin

import (
	"errors"
	"syscall"
	"time"

	"leash/internal/proc"
)

// loop waits on a kqueue.
type loop struct {
	q     queue
	ready [16]kevent
}

// change makes one change without taking events from the queue (EV_RECEIPT).
func (l *loop) change(c kevent) error {
	c.Flags |= evReceipt
	for {
		var out [1]kevent
		n, err := l.q.Kevent([]kevent{c}, out[:], 0)
		switch {
		case err == syscall.EINTR: // again: what was added is added once
		case err != nil:
			return err
		case n == 1 && out[0].Flags&evError != 0 && out[0].Data != 0:
			return syscall.Errno(out[0].Data)
		default:
			return nil
		}
	}
}

// wait blocks until something happens or, if timed, for d, and calls on with
// what did. It may return without either (EINTR).
func (l *loop) wait(d time.Duration, timed bool, on func(kevent)) error {
	timeout := time.Duration(-1)
	if timed {
		timeout = max(d, 0)
	}
	n, err := l.q.Kevent(nil, l.ready[:], timeout)
	if err == syscall.EINTR {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range l.ready[:n] {
		on(e)
	}
	return nil
}

// exits tells of the ends of processes.
//
// The queue knows numbers, and one registration for each. Registered is whoever
// has the number at that moment, so the identity is checked afterwards: if it is
// that of the handle, the registration is for it, for a process keeps its number
// until it is reaped. And an event may be that of an earlier owner, which was not
// fetched when the next one was registered; so of each event it is asked whether
// the process is really over, and if not, it is registered anew.
type exits struct {
	loop   *loop
	waited map[int][]*handle // by PID
	// told are those who were found dead without an event.
	told []*handle
}

func newExits(l *loop) *exits { return &exits{loop: l, waited: make(map[int][]*handle)} }

// add has the end of a process told, also if it has ended already. An error says
// that nobody will tell.
func (x *exits) add(h *handle) error {
	if h.watched || h.ended || h.closed {
		return nil
	}
	err := x.register(h.pid)
	over := h.over()
	switch {
	case err == nil && !over, err != nil && !over && len(x.waited[h.pid]) > 0:
		// In the second case the number was registered before, and holds.
		h.watched = true
		x.waited[h.pid] = append(x.waited[h.pid], h)
		return nil
	case over: // also ESRCH, which zombies give
		x.unregister(h.pid)
		h.ended = true
		x.told = append(x.told, h)
		return nil
	}
	return err // ESRCH too, if it looks alive: unknown is not dead
}

// register asks for the exit status, which is told of those whom we may signal,
// on older systems only of children.
func (x *exits) register(pid int) error {
	e := kevent{Ident: uint64(pid), Filter: filterProc, Flags: evAdd, Fflags: noteExit | noteExitStatus}
	err := x.loop.change(e)
	if err == syscall.EACCES {
		e.Fflags = noteExit
		err = x.loop.change(e)
	}
	return err
}

func (x *exits) unregister(pid int) {
	if len(x.waited[pid]) == 0 {
		x.loop.change(kevent{Ident: uint64(pid), Filter: filterProc, Flags: evDelete})
	}
}

// over reports whether its end is certain: what cannot be read may be alive.
func (h *handle) over() bool {
	e, err := h.entry()
	return errors.Is(err, proc.ErrGone) || err == nil && e.over()
}

// drop forgets one that need not be told of any more.
func (x *exits) drop(h *handle) {
	for i, other := range x.told {
		if other == h {
			x.told = append(x.told[:i], x.told[i+1:]...)
			break
		}
	}
	if !h.watched {
		return
	}
	h.watched = false
	list := x.waited[h.pid]
	for i, other := range list {
		if other == h {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if x.waited[h.pid] = list; len(list) == 0 {
		delete(x.waited, h.pid)
		x.unregister(h.pid)
	}
}

// event takes one of the queue. What it returns has ended; lost may have, and
// nobody will tell.
func (x *exits) event(e kevent, status func(int) proc.Exit) (ended, lost []*handle) {
	list := x.waited[int(e.Ident)]
	if len(list) == 0 {
		return nil, nil
	}
	delete(x.waited, int(e.Ident))
	for _, h := range list {
		if h.watched = false; !h.over() {
			if x.add(h) != nil {
				lost = append(lost, h)
			}
			continue
		}
		h.ended = true
		ended = append(ended, h)
		// Of two with the same number, one is long dead: whose status is it?
		if e.Flags&evError == 0 && e.Fflags&noteExit != 0 && e.Fflags&noteExitStatus != 0 && sameProcess(list) {
			h.exit = status(int(e.Data & exitStatusMask))
		}
	}
	// Else the next owner of the number could not be registered.
	x.unregister(int(e.Ident))
	return ended, lost
}

func sameProcess(list []*handle) bool {
	for _, h := range list {
		if h.start != list[0].start {
			return false
		}
	}
	return true
}

// take returns those who were found dead without an event.
func (x *exits) take() []*handle {
	told := x.told
	x.told = nil
	return told
}

// empty reports whether nobody's end is waited for but those of the kept.
func (x *exits) empty(kept func(*handle) bool) bool {
	for _, list := range x.waited {
		for _, h := range list {
			if !kept(h) {
				return false
			}
		}
	}
	return true
}
