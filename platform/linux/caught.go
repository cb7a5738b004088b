//go:build linux

package linux

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Each signal has a channel of its own with one slot, because package os/signal drops signals
// when a channel is full, and a flood of one signal (SIGCHLD) must not displace another. One
// goroutine, not one for each signal at 2 kB each, empties the channels of a group and writes
// to the wake-up descriptor, on which the loop waits. Signals that the Go runtime lets a program
// block need none of that (see hold).
var (
	channels [65]chan os.Signal // by number; nil: not caught
	caught   atomic.Uint64      // bit n: signal n came in; bit 0: signal 64
	wakeUp   = -1               // eventfd; never closed, because signals go on coming in
)

type signalGroup [8]chan os.Signal

func bit(s syscall.Signal) uint64 { return 1 << (s % 64) }

// Listen has Wait report signals to the watchdog. forward: also those that are meant for the
// worker alone.
func (s *System) Listen(forward bool) error {
	if err := s.waitForWakeUp(); err != nil {
		return err
	}
	var held signalSet
	if forward {
		held = s.hold()
	}
	catchAll(forward, held)
	s.terminal = s.hasTerminal()
	s.defy()
	return nil
}

// hasTerminal reports whether our session has a controlling terminal (tty_nr,
// proc_pid_stat(5)), or may have one.
func (s *System) hasTerminal() bool {
	b, err := s.readRecord(unix.AT_FDCWD, pathOf("/proc/self/stat"))
	return err != nil || hasTerminal(b)
}

// defy ignores the signals by which a terminal stops background processes, and those that
// cannot be caught here. With stty tostop a process that ignores SIGTTOU may write in the
// background, and one that catches it would repeat the write for ever (termios(3)).
func (s *System) defy() {
	if s.terminal {
		ignore(unix.SIGTTIN, unix.SIGTTOU)
	}
	ignore(uncatchable...)
}

// waitForChildren has Wait report exits of children: the worker, and orphans that we adopted
// as their subreaper or as PID 1. It is called for each new child.
func (s *System) waitForChildren() error {
	if err := s.waitForWakeUp(); err != nil {
		return err
	}
	catch(unix.SIGCHLD)
	note(unix.SIGCHLD) // it may have ended already
	return nil
}

// openWakeUp opens the wake-up descriptor.
func openWakeUp() error {
	if wakeUp >= 0 {
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	wakeUp = fd
	return nil
}

func (s *System) waitForWakeUp() error {
	if err := openWakeUp(); err != nil || s.wakeUpToken != 0 {
		return err
	}
	s.wakeUpToken = s.loop.token()
	s.ready[s.wakeUpToken] = s.readCaught
	return s.loop.add(wakeUp, s.wakeUpToken)
}

// catch has signals recorded from now on.
func catch(signals ...syscall.Signal) {
	var g signalGroup
	n := 0
	for _, s := range signals {
		if channels[s] != nil {
			continue
		}
		c := make(chan os.Signal, 1)
		channels[s], g[n] = c, c
		signal.Notify(c, s)
		if n++; n == len(g) {
			go g.note()
			g, n = signalGroup{}, 0
		}
	}
	if n > 0 {
		go g.note()
	}
}

// note records the signals of a group as they arrive. A nil channel is never ready.
func (g signalGroup) note() {
	for {
		var s os.Signal
		select {
		case s = <-g[0]:
		case s = <-g[1]:
		case s = <-g[2]:
		case s = <-g[3]:
		case s = <-g[4]:
		case s = <-g[5]:
		case s = <-g[6]:
		case s = <-g[7]:
		}
		note(s.(syscall.Signal))
	}
}

var one = []byte{1, 0, 0, 0, 0, 0, 0, 0} // not 0 in either byte order

// note acts as if this signal had arrived.
func note(s syscall.Signal) {
	caught.Or(bit(s))
	unix.Write(wakeUp, one)
}

// takeCaught empties the wake-up descriptor first: a signal that is recorded later wakes the
// loop again.
func takeCaught() uint64 {
	var b [8]byte
	unix.Read(wakeUp, b[:])
	return caught.Swap(0)
}

func (s *System) readCaught() {
	came := takeCaught()
	if came&bit(unix.SIGCONT) != 0 { // it discards pending stop signals (signal(7))
		came &^= bit(unix.SIGTSTP) | bit(unix.SIGTTIN) | bit(unix.SIGTTOU)
	}
	if came&bit(unix.SIGCHLD) != 0 { // first, so that no process that has ended is signalled
		s.reap()
		came &^= bit(unix.SIGCHLD)
	}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if came&bit(sig) != 0 {
			s.signalled(sig)
		}
	}
}
