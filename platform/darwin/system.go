package darwin

import (
	"time"

	"leash/internal/proc"
)

// system is what is needed of macOS, little more than a system call each.
// Errors are proc.ErrGone where there is no such process, else syscall.Errno.
type system interface {
	// Process is kern.proc.pid; zombies are found too.
	Process(pid int) (entry, error)
	// Processes is kern.proc.all.
	Processes() ([]entry, error)
	// Session is getsid(2), which knows no zombies.
	Session(pid int) (int, error)
	// ProcArgs is kern.procargs2: of processes of the same user only, but to root.
	ProcArgs(pid int) ([]byte, error)
	// Kill is kill(2).
	Kill(pid, sig int) error
	// Clock is the time of day in microseconds since 1970.
	Clock() uint64
	// Boot is kern.bootsessionuuid.
	Boot() (string, error)
	// Self is our own PID.
	Self() int
}

// launcher starts processes and hears signals.
type launcher interface {
	// Start starts a program with nothing blocked and nothing ignored.
	Start(s start) (pid int, err error)
	// Reap is wait4(2) for a child of ours; without wait it may have not ended.
	Reap(pid int, wait bool) (exit proc.Exit, ended bool)
	// Listen has tell called, by any goroutine, for each signal that we get.
	Listen(tell func(proc.Signal)) error
	// StopSelf returns when somebody has continued us.
	StopSelf()
	// Input says what an open descriptor is.
	Input(fd int) (inputKind, error)
	// Drain reads a descriptor that is always ready to its end. It reports
	// whether there is one.
	Drain(fd int) (ends bool)
	// WaitStatus takes apart what wait4(2) and NOTE_EXITSTATUS tell.
	WaitStatus(status int) proc.Exit
	// Signal is the signal of a name.
	Signal(name string) proc.Signal
}

// start is a program to start.
type start struct {
	Path      string
	Args, Env []string
	Dir       string // empty: ours
	// Files are its descriptors from 0 on; ^0 is closed.
	Files []uintptr
	// Session: in a session of its own. Else it is in a group of its own.
	Session bool
}

type inputKind int

const (
	// waitable tells of its end: a pipe, a socket, a terminal.
	waitable inputKind = iota
	// alwaysReady is a file or another device.
	alwaysReady
)

// kevent is struct kevent (kevent(2)).
type kevent struct {
	Ident  uint64
	Filter int16
	Flags  uint16
	Fflags uint32
	Data   int64
}

// queue is a kqueue(2).
type queue interface {
	// Kevent makes changes, waits and returns what has happened, or the errors of
	// the changes. A negative timeout is none.
	Kevent(changes, events []kevent, timeout time.Duration) (int, error)
	Close()
}

// Constants of sys/event.h; on macOS the compiler compares them with its own.
const (
	filterRead = -1
	filterProc = -5
	filterUser = -10

	evAdd     = 0x1
	evDelete  = 0x2
	evClear   = 0x20
	evReceipt = 0x40
	evError   = 0x4000
	evEOF     = 0x8000

	noteExit       = 0x80000000
	noteExitStatus = 0x04000000
	noteTrigger    = 0x01000000
	noteLowWater   = 0x1

	exitStatusMask = 0xffff
)
