package windows

import (
	"errors"
	"slices"

	"leash/internal/proc"
)

// consoles is what sending a stop signal needs of the system, as this process sees it.
type consoles interface {
	// own reports whether we have a console ourselves.
	own() bool
	// attach lets us have that of a process, if we have none; free lets go of it.
	attach(pid int) error
	free()
	// attached lists the processes that have the console that we have.
	attached() []int
	// send has an event come to a process group of that console, or to all that have it
	// if group is 0.
	send(event uint32, group int) error
}

// reached are the processes to which an event was sent.
type reached struct {
	pids   []int         // all of a console
	groups map[int][]int // those of a group that are among these
}

// A stop signal can be sent to nothing but by an event of a console that we are attached
// to, and we can be attached to one at a time ("AttachConsole function").
var (
	errOtherConsole  = errors.New("its console is not the watchdog's: it cannot be sent a stop signal")
	errNoConsole     = errors.New("it has no console: it cannot be sent a stop signal")
	errNoGroup       = errors.New("it leads no process group in the console that it shares: it alone cannot be sent a stop signal")
	errSharedConsole = errors.New("others share its console, and it leads no process group there: it alone cannot be sent a stop signal")
	errSharedGroup   = errors.New("others are of the process group that it leads: it alone cannot be sent a stop signal")
	errTooLate       = errors.New("its console was sent the stop signal before it came")
)

// eventSender sends stop signals as console events.
type eventSender struct {
	consoles
	self int
	*reached
	mine func(pid int) bool // of the tree that is to end
	// groupOf is the console process group of a process, 0 if not known. nil: what is of
	// a group is signalled with it.
	groupOf func(pid int) int
}

// target is a process that is to be sent a stop signal.
type target struct {
	pid, group int         // the console process group, 0 if not known
	deaf       func() bool // to CTRL_C
}

// deliver sends a console event to a process, and to as few others as can be.
func (s *eventSender) deliver(to target, sig proc.Signal) error {
	switch {
	case slices.Contains(s.pids, to.pid), to.group != 0 && slices.Contains(s.groups[to.group], to.pid):
		return nil // with another
	case s.own():
		return s.deliverShared(to)
	}
	return s.deliverOwn(to, sig)
}

// deliverShared: the console is ours too. An event can be sent to a group of it. A group
// that was made with CREATE_NEW_PROCESS_GROUP does not receive CTRL_C ("Process
// Creation Flags"), and CTRL_C cannot be sent to one group alone ("GenerateConsoleCtrlEvent
// function"). So it is CTRL_BREAK whatever the signal is. A number that is no group's
// would reach all.
func (s *eventSender) deliverShared(to target) error {
	there := s.attached()
	if !slices.Contains(there, to.pid) {
		return errOtherConsole
	}
	if to.group != to.pid {
		return errNoGroup
	}
	return s.breakGroup(to.pid, there)
}

// breakGroup reaches those of a group that have this console: a process that was born
// into the group may have another by now.
func (s *eventSender) breakGroup(group int, there []int) error {
	spared := func(pid int) bool {
		return pid != group && (pid == s.self || s.strange(pid)) && s.groupOf(pid) == group
	}
	if s.groupOf != nil && slices.ContainsFunc(there, spared) {
		return errSharedGroup
	}
	if err := s.send(ctrlBreak, group); err != nil {
		return err
	}
	if s.groups == nil {
		s.groups = make(map[int][]int)
	}
	s.groups[group] = there
	return nil
}

// deliverOwn: we have no console, so we attach to that of the process for a moment. If
// nothing but the worker's tree is there, all of it receives the event. So do we, a
// moment later, and would end without a handler; but no other process can send an event to
// one without a console, so it is passed over (see System.Listen).
func (s *eventSender) deliverOwn(to target, sig proc.Signal) error {
	if err := s.attach(to.pid); err != nil {
		return err
	}
	defer s.free()
	there := s.attached()
	if slices.ContainsFunc(there, func(pid int) bool { return slices.Contains(s.pids, pid) }) {
		return errTooLate
	}
	if !slices.Contains(there, to.pid) || slices.ContainsFunc(there, s.strange) {
		if to.group != to.pid || !slices.Contains(there, to.pid) {
			return errSharedConsole
		}
		return s.breakGroup(to.pid, there)
	}
	if err := s.send(eventOf(sig, to.deaf()), 0); err != nil {
		return err
	}
	s.pids = append(s.pids, there...)
	return nil
}

func (s *eventSender) strange(pid int) bool {
	return pid != s.self && (s.mine == nil || !s.mine(pid))
}
