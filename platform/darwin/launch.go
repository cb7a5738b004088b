//go:build darwin

package darwin

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/platform/posix"
)

// NewHost prepares to wait; nothing is watched yet.
func NewHost(k *Kernel, backend string, interval time.Duration) (*Host, error) {
	q, err := newKqueue()
	if err != nil {
		return nil, err
	}
	h, err := newHost(k, processes{}, q, backend, interval)
	if err != nil {
		q.Close()
		return nil, err
	}
	h.inner = thisProgram()
	return h, nil
}

// TakeRole does not return if this process was started as a part of a watchdog.
func TakeRole() { takeRole(kernelCalls{}) }

// StateDir opens the directory of the ledger.
func (h *Host) StateDir() (*os.File, error) { return posix.StateDir() }

// processes is launcher.
type processes struct{}

// Start gives the child a clean start. The runtime resets in it what Listen has
// it handle, which is all that may have been ignored, and gives it the mask of
// the thread that forks.
func (processes) Start(s start) (int, error) {
	attr := &syscall.ProcAttr{Dir: s.Dir, Env: s.Env, Files: s.Files,
		Sys: &syscall.SysProcAttr{Setsid: s.Session, Setpgid: !s.Session}}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer setMask(setMask(0))
	if hasTerminal() {
		// The runtime resets in a child what it handles, and Reset leaves these ignored.
		signal.Notify(make(chan os.Signal, 1), terminals...)
		defer signal.Ignore(terminals...)
	}
	return syscall.ForkExec(s.Path, s.Args, attr)
}

// hasTerminal reports whether our session has a controlling terminal (tty(4)), or
// may have one.
func hasTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err != unix.ENXIO
}

// terminals are the signals to who reads or writes in the background. Who catches
// them writes the same again and again (stty tostop); who ignores them may write
// (termios(4)): our log comes out.
var terminals = []os.Signal{unix.SIGTTIN, unix.SIGTTOU}

func (p processes) Reap(pid int, wait bool) (proc.Exit, bool) {
	options := unix.WNOHANG
	if wait {
		options = 0
	}
	for {
		var ws unix.WaitStatus
		switch got, err := unix.Wait4(pid, &ws, options, nil); {
		case err == unix.EINTR:
		case err != nil: // ECHILD: somebody has
			return proc.Exit{}, true
		case got == pid:
			return p.WaitStatus(int(ws)), true
		default:
			return proc.Exit{}, false
		}
	}
}

func (processes) WaitStatus(status int) proc.Exit {
	ws := unix.WaitStatus(status)
	if ws.Signaled() {
		return proc.Exit{Known: true, Signal: signalOf(int(ws.Signal()))}
	}
	return proc.Exit{Known: true, Code: ws.ExitStatus()}
}

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
			tell(signalOf(int(s.(syscall.Signal))))
		}
	}()
	return nil
}

func (processes) StopSelf() { unix.Kill(os.Getpid(), unix.SIGSTOP) }

func (processes) Signal(name string) proc.Signal {
	s, _ := ParseSignal(name)
	return s
}

func (processes) Input(fd int) (inputKind, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return alwaysReady, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK:
		return waitable, nil
	case unix.S_IFCHR:
		if _, err := unix.IoctlGetTermios(fd, unix.TIOCGETA); err == nil {
			return waitable, nil
		}
	case unix.S_IFDIR:
		return alwaysReady, errors.New("it is a folder")
	}
	return alwaysReady, nil
}

const drainBound = 1 << 20

func (processes) Drain(fd int) (ends bool) {
	var b [4096]byte
	for range drainBound / len(b) {
		if n, err := unix.Read(fd, b[:]); n <= 0 && err != unix.EINTR {
			return true
		}
	}
	return false
}

// signalOf names a signal.
func signalOf(n int) proc.Signal {
	name := unix.SignalName(syscall.Signal(n))
	if name == "" {
		name = "SIG" + strconv.Itoa(n)
	}
	return proc.Signal{Num: n, Name: name}
}

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return signalOf(n), n >= 1 && n < 32
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	n := unix.SignalNum(name)
	return proc.Signal{Num: int(n), Name: name}, n != 0
}

// NewTable prepares to read the process table.
func NewTable(k *Kernel) (*Table, error) {
	q, err := newKqueue()
	if err != nil {
		return nil, err
	}
	return newTable(k, q, uint32(os.Geteuid()))
}
