package darwin

import (
	"syscall"

	"leash/internal/proc"
)

// exits reports the ends of processes.
//
// The queue knows PIDs, and one registration for each. Registered is the process that
// has the PID at that moment, so the identity is checked afterwards: if it is that of
// the handle, the registration is for it, because a process keeps its PID until it is
// reaped. And an event may be that of an earlier process of the PID, which was not
// fetched when the next one was registered; so after each event the process is
// read, and if it has not ended, it is registered anew.
type exits struct {
	loop   *loop
	waited map[int][]*handle // by PID
	// told holds those that were found dead without an event.
	told []*handle
}

func newExits(l *loop) *exits { return &exits{loop: l, waited: make(map[int][]*handle)} }

// add makes the end of a process reported, also if it has ended already. After an error it
// will not be reported.
func (x *exits) add(h *handle) error {
	if h.watched || h.ended || h.closed {
		return nil
	}
	err := x.register(h.pid)
	over := h.over()
	switch {
	case err == nil && !over, err != nil && !over && len(x.waited[h.pid]) > 0:
		// In the second case the PID was registered before, and holds.
		h.watched = true
		x.waited[h.pid] = append(x.waited[h.pid], h)
		return nil
	case over: // also ESRCH, which zombies give
		x.unregister(h.pid)
		h.ended = true
		x.told = append(x.told, h)
		return nil
	}
	return err // ESRCH too, if it is read as alive: unknown is not dead
}

// register asks for the exit status too. The kernel gives that of processes that we may
// signal; older systems, only that of children.
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

// drop forgets a process that need not be reported any more.
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

// event takes one event of the queue. The processes in ended have ended; those in lost may
// have, and no event will say so.
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
		// Of two with the same PID, one is long dead, and the status may be its.
		if e.Flags&evError == 0 && e.Fflags&noteExit != 0 && e.Fflags&noteExitStatus != 0 && sameProcess(list) {
			h.exit = status(int(e.Data & exitStatusMask))
		}
	}
	// Else the next process of the PID could not be registered.
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

// take returns those that were found dead without an event.
func (x *exits) take() []*handle {
	told := x.told
	x.told = nil
	return told
}
