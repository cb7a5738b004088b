package darwin

import "leash/internal/proc"

// calls are what is needed of macOS, little more than a system call each.
// Errors are proc.ErrGone where there is no such process, else syscall.Errno.
type calls interface {
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
	// Resident is the resident set of a process in bytes; 0 if it cannot be read.
	Resident(pid int) uint64
	// Usage is what a process used, which may be a zombie; not Known if it cannot be read.
	Usage(pid int) proc.Usage
	// Self is our own PID.
	Self() int
	// WaitStatus takes apart what wait4(2) and NOTE_EXITSTATUS give.
	WaitStatus(status int) proc.Exit
}

// launcher starts and reaps children, receives signals, and polls descriptors.
type launcher interface {
	// Start starts a program with nothing blocked and nothing ignored.
	Start(s start) (pid int, err error)
	// Reap is wait4(2) for a child of ours; without wait it may not have ended.
	Reap(pid int, wait bool) (exit proc.Exit, ended bool)
	// Listen has tell called, by any goroutine, for each signal to this process.
	Listen(tell func(proc.Signal)) error
	// StopSelf stops this process, and returns when it was continued.
	StopSelf()
	// Input says what an open descriptor is.
	Input(fd int) (inputKind, error)
	// Drain reads a descriptor that is always ready to its end. It reports
	// whether there is one.
	Drain(fd int) (ends bool)
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
	// waitable has an end-of-file: a pipe, a socket, a terminal.
	waitable inputKind = iota
	// alwaysReady is a file or another device.
	alwaysReady
)
