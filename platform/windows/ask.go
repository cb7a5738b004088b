package windows

import (
	"errors"
	"slices"

	"leash/internal/proc"
)

// consoles is what asking needs of the system, as seen by this process.
type consoles interface {
	// own reports whether we have a console ourselves.
	own() bool
	// attach lets us have that of a process, if we have none; free lets go of it.
	attach(pid int) error
	free()
	// attached lists who has the console that we have.
	attached() []int
	// send has an event come to a process group of that console, or to everybody
	// there if group is 0.
	send(event uint32, group int) error
}

// asked is who heard of the end.
type asked struct {
	pids   []int         // everybody of a console
	groups map[int][]int // those of a group who are among these
}

// Nobody can be asked but by an event of a console that we are attached to, and
// we can be attached to one at a time ("AttachConsole function").
var (
	errOtherConsole  = errors.New("its console is not the watchdog's: it cannot be asked to end")
	errNoConsole     = errors.New("it has no console: it cannot be asked to end")
	errNoGroup       = errors.New("it leads no process group in the console that it shares: it cannot be asked alone")
	errSharedConsole = errors.New("others share its console, and it leads no process group there: it cannot be asked alone")
	errSharedGroup   = errors.New("others are of the process group that it leads: it cannot be asked alone")
	errAskedBefore   = errors.New("its console was asked before it came")
)

// asker asks processes to end.
type asker struct {
	consoles
	self int
	*asked
	mine func(pid int) bool // of the tree that is asked
	// groupOf is the console process group of a process, 0 if not known. nil: who
	// is of a group is asked with it.
	groupOf func(pid int) int
}

// asking is one who is to be asked.
type asking struct {
	pid, group int         // the console process group, 0 if not known
	deaf       func() bool // to CTRL_C
}

// ask sends a console event to a process, and to as few others as can be.
func (a *asker) ask(who asking, sig proc.Signal) error {
	switch {
	case slices.Contains(a.pids, who.pid), who.group != 0 && slices.Contains(a.groups[who.group], who.pid):
		return nil // with another
	case a.own():
		return a.askShared(who)
	}
	return a.askOwn(who, sig)
}

// askShared: the console is ours too. An event can be sent to a group of it. A
// group that was made with CREATE_NEW_PROCESS_GROUP does not hear CTRL_C
// ("Process Creation Flags"), and CTRL_C cannot be sent to one group alone
// ("GenerateConsoleCtrlEvent function"). So it is CTRL_BREAK whatever is asked. A
// number that is no group's would reach everybody.
func (a *asker) askShared(who asking) error {
	there := a.attached()
	if !slices.Contains(there, who.pid) {
		return errOtherConsole
	}
	if who.group != who.pid {
		return errNoGroup
	}
	return a.breakGroup(who.pid, there)
}

// breakGroup asks those of a group who have this console: one who was born into
// the group may have another by now.
func (a *asker) breakGroup(group int, there []int) error {
	spared := func(pid int) bool {
		return pid != group && (pid == a.self || a.strange(pid)) && a.groupOf(pid) == group
	}
	if a.groupOf != nil && slices.ContainsFunc(there, spared) {
		return errSharedGroup
	}
	if err := a.send(ctrlBreak, group); err != nil {
		return err
	}
	if a.groups == nil {
		a.groups = make(map[int][]int)
	}
	a.groups[group] = there
	return nil
}

// askOwn: we have no console, so we attach to that of the process for a moment.
// If nobody but the worker's tree is there, all of them hear the event. So do
// we, a moment later, and would end if nobody listened; but who has no console is
// sent no event by anybody else, so it is passed over (see Listen).
func (a *asker) askOwn(who asking, sig proc.Signal) error {
	if err := a.attach(who.pid); err != nil {
		return err
	}
	defer a.free()
	there := a.attached()
	if slices.ContainsFunc(there, func(pid int) bool { return slices.Contains(a.pids, pid) }) {
		return errAskedBefore
	}
	if !slices.Contains(there, who.pid) || slices.ContainsFunc(there, a.strange) {
		if who.group != who.pid || !slices.Contains(there, who.pid) {
			return errSharedConsole
		}
		return a.breakGroup(who.pid, there)
	}
	if err := a.send(eventOf(sig, who.deaf()), 0); err != nil {
		return err
	}
	a.pids = append(a.pids, there...)
	return nil
}

func (a *asker) strange(pid int) bool {
	return pid != a.self && (a.mine == nil || !a.mine(pid))
}
