//go:build windows

package windows

import (
	"errors"
	"os"
	"slices"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
)

// asked is who heard the last event of a console.
type asked struct {
	pids   []int
	groups []int
}

// Nobody can be asked but by an event of a console that we are attached to, and
// we can be attached to one at a time ("AttachConsole function").
var (
	errOtherConsole  = errors.New("its console is not the watchdog's: it cannot be asked to end")
	errNoConsole     = errors.New("it has no console: it cannot be asked to end")
	errNoGroup       = errors.New("it leads no process group in the console that it shares: it cannot be asked alone")
	errSharedConsole = errors.New("others share its console, and it leads no process group there: it cannot be asked alone")
	errAskedBefore   = errors.New("its console was asked before it came")
)

// hasConsole reports whether we have one ourselves.
func hasConsole() bool {
	cp, err := win.GetConsoleCP()
	return err == nil && cp != 0
}

// attached lists who is attached to our console.
func attached() []int {
	b := make([]uint32, 256)
	for {
		n, _, _ := getConsoleProcessList.Call(uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if int(n) > len(b) {
			b = make([]uint32, 2*n)
			continue
		}
		var pids []int
		for _, pid := range b[:n] {
			pids = append(pids, int(pid))
		}
		return pids
	}
}

// ask sends a console event to a process, and to as few others as can be.
func (k *Kernel) ask(h *handle, sig proc.Signal) error {
	group := h.console()
	switch {
	case slices.Contains(k.asked.pids, h.pid), group != 0 && slices.Contains(k.asked.groups, group):
		return nil // with another
	case hasConsole():
		return k.askShared(h, group)
	}
	return k.askOwn(h, group, sig)
}

// askShared: the console is ours too. An event can be sent to a group of it. A
// group that was made with CREATE_NEW_PROCESS_GROUP does not hear CTRL_C
// ("Process Creation Flags"), and CTRL_C cannot be sent to one group alone
// ("GenerateConsoleCtrlEvent function"). So it is CTRL_BREAK whatever is asked. A
// number that is no group's would reach everybody.
func (k *Kernel) askShared(h *handle, group int) error {
	if !slices.Contains(attached(), h.pid) {
		return errOtherConsole
	}
	if group != h.pid {
		return errNoGroup
	}
	if err := win.GenerateConsoleCtrlEvent(ctrlBreak, uint32(h.pid)); err != nil {
		return err
	}
	k.asked.groups = append(k.asked.groups, group)
	return nil
}

// askOwn: we have no console, so we attach to that of the process for a moment.
// If nobody but the worker's tree is there, all of them hear the event. So do
// we, a moment later, and would end if nobody listened; but who has no console is
// sent no event by anybody else, so it is passed over (see Listen).
func (k *Kernel) askOwn(h *handle, group int, sig proc.Signal) error {
	freeConsole.Call() // where a shell without a window counts as one (Wine)
	if ok, _, err := attachConsole.Call(uintptr(h.pid)); ok == 0 {
		if errors.Is(err, win.ERROR_INVALID_HANDLE) { // as the page says
			return errNoConsole
		}
		return err
	}
	defer freeConsole.Call()
	there := attached()
	if slices.ContainsFunc(there, func(pid int) bool { return slices.Contains(k.asked.pids, pid) }) {
		return errAskedBefore
	}
	strange := func(pid int) bool {
		return pid != os.Getpid() && pid != h.pid && (k.mine == nil || !k.mine(pid))
	}
	if len(there) == 0 || slices.ContainsFunc(there, strange) {
		if group != h.pid {
			return errSharedConsole
		}
		k.asked.groups = append(k.asked.groups, group)
		return win.GenerateConsoleCtrlEvent(ctrlBreak, uint32(h.pid))
	}
	if err := win.GenerateConsoleCtrlEvent(eventOf(sig, h.deafToCtrlC()), 0); err != nil {
		return err
	}
	k.asked.pids = append(k.asked.pids, there...)
	return nil
}

// isConsoleHost reports whether a program is the system's conhost.exe, which is
// started for each console in the name of its first process.
func isConsoleHost(exe string) bool {
	dir, err := win.GetSystemDirectory()
	return err == nil && sameFold(exe, dir+`\conhost.exe`)
}
