// Package proc has the plain values that all packages of Leash share: the identity of a
// process, what was read of it, and signals. It depends on no system and imports no other
// package of this module.
package proc

import (
	"errors"
	"fmt"
)

// ErrGone means that the process no longer exists, or that its PID was reused.
var ErrGone = errors.New("the process is gone")

// ErrDenied means that the system refused access. It does not mean that the process is
// dead.
var ErrDenied = errors.New("access denied")

// ID identifies a process even if its PID is reused.
//
// Start is in the system's own unit and only ever compared: clock ticks since
// boot on Linux (field 22 of /proc/PID/stat, proc(5); usually 10 ms), microseconds
// since 1970 on macOS (p_starttime of kern.proc, sysctl(3)), units of 100 ns since
// 1601 on Windows (GetProcessTimes).
// Inode is that of the pidfd (pidfs, Linux 6.9), unique until reboot.
// Zero means unknown in both.
type ID struct {
	PID   int
	Start uint64
	Inode uint64
}

// Match is the answer to "is this the same process?".
type Match int

const (
	// Different processes, for certain.
	Different Match = iota
	// Perhaps the same: PID and start time agree, but start times are too coarse to prove
	// it. Further evidence is needed.
	Perhaps
	// Same process, for certain.
	Same
)

// Match compares two identities taken at different times.
func (a ID) Match(b ID) Match {
	switch {
	case a.PID != b.PID:
		return Different
	case a.Inode != 0 && b.Inode != 0:
		if a.Inode == b.Inode {
			return Same
		}
		return Different
	case a.Start != 0 && b.Start != 0 && a.Start != b.Start:
		return Different
	}
	return Perhaps
}

func (a ID) String() string { return fmt.Sprintf("%d@%d", a.PID, a.Start) }

// Info is what one read of a process returned.
type Info struct {
	ID
	PPID, PGID, SID int
	// State is the letter of proc(5): R, S, D, T, Z, X, …
	State byte
	// Threads counts the threads that still exist; 0 if unknown.
	Threads int
	UID     uint32
	// Leash marks a watchdog or a reaper: never a member of a tree or run.
	Leash bool
}

// Dead reports whether all threads of the process have ended. A zombie is dead; a process
// whose first thread has ended while others run has state Z too, and lives.
func (i Info) Dead() bool {
	switch i.State {
	case 'X', 'x':
		return true
	case 'Z':
		return i.Threads <= 1
	}
	return false
}

// Signal is a signal's number and name on this system.
type Signal struct {
	Num  int
	Name string
}

// Signals with the same number on every POSIX system.
var (
	INT  = Signal{2, "SIGINT"}
	QUIT = Signal{3, "SIGQUIT"}
	KILL = Signal{9, "SIGKILL"}
	TERM = Signal{15, "SIGTERM"}
)

func (s Signal) String() string { return s.Name }

// Exit is how a process ended.
type Exit struct {
	Known  bool
	Code   int
	Signal Signal
	Core   bool // it was killed by Signal and left a core dump
}

// Status is the exit status in the shell's convention: 128+N for signal N.
func (e Exit) Status() int {
	if e.Signal.Num != 0 {
		return 128 + e.Signal.Num
	}
	return e.Code
}

// Adopted is what was read of a worker that was running already.
type Adopted struct {
	Info     Info
	RunID    string // from its arguments or environment, if it is there
	WorkerID string // from its environment
}
