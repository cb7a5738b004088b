//go:build linux

package linux

import (
	"bytes"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A handler of our own, a few instructions, notes each signal and rings a bell that
// the loop hears. Package os/signal would do, at the price of two threads and some
// 40 kB. A signalfd would need signals blocked in every thread: the Go runtime keeps
// some unblocked (runtime, blockableSig), and a child would inherit the others.
var (
	handled uint64                     // bit n: signal n is ours; bit 0: signal 64
	caught  atomic.Uint64              // the same: it came in
	bell    int32         = -1         // eventfd; never closed, because handlers stay
	strike                = [8]byte{1} // what is written to it
)

func bit(s syscall.Signal) uint64 { return 1 << (s % 64) }

// Listen has the signals to the watchdog come in by Wait. Which of them are meant
// for the worker is seen then.
func (h *Host) Listen(bool) error {
	if err := h.waitForBell(); err != nil {
		return err
	}
	for s := syscall.Signal(1); s <= 64; s++ {
		if heard(s) {
			catch(s)
		}
	}
	h.terminal = h.hasTerminal()
	h.defy()
	return nil
}

// hasTerminal reports whether our session has a controlling terminal (tty_nr,
// proc_pid_stat(5)), or may have one.
func (h *Host) hasTerminal() bool {
	b, err := h.Kernel.readFile(unix.AT_FDCWD, pathOf("/proc/self/stat"))
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	return err != nil || len(fields) < 5 || string(fields[4]) != "0"
}

// defy ignores what would stop or end us for nothing. With stty tostop who ignores
// what the terminal sends may write in the background, and who catches it would
// write the same again and again (termios(3)). 32 and 34 no C library takes here.
func (h *Host) defy() {
	if h.terminal {
		ignore(unix.SIGTTIN, unix.SIGTTOU)
	}
	if !handlerIsOurs {
		ignore(32, 34)
	}
}

// waitForChildren tells of the ends of children: the worker, and those that came
// to us as their subreaper or as PID 1. It is called when there is a new one.
func (h *Host) waitForChildren() error {
	if err := h.waitForBell(); err != nil {
		return err
	}
	catch(unix.SIGCHLD)
	note(unix.SIGCHLD) // it may have ended already
	return nil
}

// hearBell opens it.
func hearBell() error {
	if bell >= 0 {
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	bell = int32(fd)
	return nil
}

func (h *Host) waitForBell() error {
	if err := hearBell(); err != nil || h.bellToken != 0 {
		return err
	}
	h.bellToken = h.loop.token()
	return h.loop.add(int(bell), h.bellToken)
}

// catch has a signal noted from now on.
func catch(s syscall.Signal) {
	if handled&bit(s) == 0 {
		handled |= bit(s)
		install(s)
	}
}

// note is as if this signal had come in.
func note(s syscall.Signal) {
	caught.Or(bit(s))
	unix.Write(int(bell), strike[:])
}

// readCaught silences the bell first: who rings later is heard later.
func (h *Host) readCaught() {
	var b [8]byte
	unix.Read(int(bell), b[:])
	came := caught.Swap(0)
	if came&bit(unix.SIGCONT) != 0 { // it takes back what would stop us (signal(7))
		came &^= bit(unix.SIGTSTP) | bit(unix.SIGTTIN) | bit(unix.SIGTTOU)
	}
	if came&bit(unix.SIGCHLD) != 0 { // first: who has ended needs no ending
		h.childrenEnded()
		came &^= bit(unix.SIGCHLD)
	}
	for s := syscall.Signal(1); s <= 64; s++ {
		if came&bit(s) != 0 {
			h.signalled(s)
		}
	}
}
