package darwin

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/platform/posix"
)

// Listen leaves alone what a program's own faults raise and what the Go runtime
// needs (URG, PROF). CHLD and PIPE are asked for so that they are not ignored.
func (processes) Listen(tell func(proc.Signal)) error {
	c := make(chan os.Signal, 64)
	for s := unix.Signal(1); s < 32; s++ {
		switch s {
		case unix.SIGILL, unix.SIGTRAP, unix.SIGEMT, unix.SIGFPE, unix.SIGBUS, unix.SIGSEGV,
			unix.SIGKILL, unix.SIGSTOP, unix.SIGURG, unix.SIGPROF:
		default:
			signal.Notify(c, s)
		}
	}
	if hasTerminal() {
		signal.Ignore(terminals...)
	}
	go func() {
		for s := range c {
			tell(posix.SignalOf(int(s.(syscall.Signal))))
		}
	}()
	return nil
}

func (processes) StopSelf() { unix.Kill(os.Getpid(), unix.SIGSTOP) }

// hasTerminal reports whether our session has a controlling terminal (tty(4)), or
// may have one.
func hasTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err != unix.ENXIO
}

// terminals are the signals to a process that reads or writes in the background. One
// that catches them writes the same again and again (stty tostop); one that ignores
// them may write (termios(4)): our log comes out.
var terminals = []os.Signal{unix.SIGTTIN, unix.SIGTTOU}
