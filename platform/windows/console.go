//go:build windows

package windows

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
)

// sendEvent sends a stop signal as a console event, to as few other processes as can be.
func (k *Kernel) sendEvent(h *handle, sig proc.Signal) error {
	with := &k.companions
	if h.hold != nil {
		with = &h.hold.companions
	}
	s := eventSender{consoles: realConsoles{}, self: os.Getpid(), reached: &with.reached,
		mine: func(pid int) bool { return pid == h.pid || with.mine != nil && with.mine(pid) }}
	if with.oneByOne {
		s.groupOf = k.groupOfPID
	}
	return s.deliver(target{h.pid, h.console(), h.deafToCtrlC}, sig)
}

// groupOfPID is the console process group of the process that has the number now.
func (k *Kernel) groupOfPID(pid int) int {
	h, err := k.openWith(pid, wanted[:1]) // others could not be read
	if err != nil {
		return 0
	}
	defer h.Close()
	return h.console()
}

// companions are processes that an event to one of them may reach too.
type companions struct {
	reached reached
	mine    func(pid int) bool // it is one; nil: none is
	// oneByOne: nothing is signalled for being of another's group.
	oneByOne bool
}

// realConsoles are those of this system.
type realConsoles struct{}

func (realConsoles) own() bool       { return hasConsole() }
func (realConsoles) attached() []int { return attached() }

func (realConsoles) free() {
	freeConsole.Call()
	outlive()
	setConsoleCtrlHandler.Call(0, 0) // see attach
}

func (realConsoles) send(event uint32, group int) error {
	return win.GenerateConsoleCtrlEvent(event, uint32(group))
}

func (realConsoles) attach(pid int) error {
	freeConsole.Call() // where a shell without a window counts as one (Wine)
	// What others send to that console reaches us from our first moment there. That
	// CTRL_C is ignored is no handler, and is not taken away.
	setConsoleCtrlHandler.Call(0, 1)
	ok, _, err := attachConsole.Call(uintptr(pid))
	if ok != 0 {
		outlive()
		return nil
	}
	setConsoleCtrlHandler.Call(0, 0)
	if errors.Is(err, win.ERROR_INVALID_HANDLE) { // as the page says
		return errNoConsole
	}
	return err
}

// outlive has us survive the event that we send to all of a console, to which we
// are attached for a moment: it comes to us too, and perhaps when we have left. To
// attach and to leave takes away every handler, that of the Go runtime too
// ("Console Control Handlers"; Wine leaves them).
func outlive() {
	h := handler()
	setConsoleCtrlHandler.Call(h, 0) // else there would be more and more, where they stay
	setConsoleCtrlHandler.Call(h, 1)
}

var handler = sync.OnceValue(func() uintptr { return syscall.NewCallback(outlived) })

// outlived is 1 for what is passed over ("HandlerRoutine callback function").
func outlived(event uintptr) uintptr {
	if event == ctrlC || event == ctrlBreak {
		return 1
	}
	return 0
}

// hasConsole reports whether we have one ourselves.
func hasConsole() bool {
	cp, err := win.GetConsoleCP()
	return err == nil && cp != 0
}

// attached lists the processes that are attached to our console.
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

// isConsoleHost reports whether a program is the system's conhost.exe, which is
// started for each console in the name of its first process.
func isConsoleHost(exe string) bool {
	dir, err := win.GetSystemDirectory()
	return err == nil && sameFold(exe, dir+`\conhost.exe`)
}
