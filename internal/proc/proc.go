// Package proc holds the plain values that every part of Leash shares: who a
// process is, what was seen of it, and the signals it may be sent. It decides
// nothing about a system and imports nothing of ours.
package proc

import (
	"errors"
	"fmt"
)

// ErrGone says that the process no longer exists, or that its number now
// belongs to another one.
var ErrGone = errors.New("the process is gone")

// ErrDenied says that the system refused access. It is never taken for death.
var ErrDenied = errors.New("access denied")

// ID says which process is meant, beyond its reusable number.
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
	// Perhaps the same: the numbers agree, but start times are too coarse to
	// prove it. Further evidence is needed.
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

// Info is what one look at a process showed.
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

// Dead reports whether nothing of the process runs any more. A zombie is dead;
// one whose first thread has ended while others run shows state Z and lives.
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

// Signals that every POSIX system numbers alike.
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
}

// Status is the exit status in the shell's convention: 128+N for signal N.
func (e Exit) Status() int {
	if e.Signal.Num != 0 {
		return 128 + e.Signal.Num
	}
	return e.Code
}

// Adopted is what was learnt of a worker that was running already.
type Adopted struct {
	Info     Info
	RunID    string // from its arguments or environment, if there
	WorkerID string // from its environment
}
