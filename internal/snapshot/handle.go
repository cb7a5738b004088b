package snapshot

import "leash/internal/proc"

// Handle refers to one process, never to a later one with the same PID.
type Handle interface {
	Info() (proc.Info, error)
	// Same reports whether it is certainly the process that was found by a scan that
	// began at that tick.
	Same(p *Process, tick uint64) bool
	// Read reads the process again, as a scan does.
	Read() (Process, error)
	Inode() uint64
	Signal(proc.Signal) error
	// Notify makes the system's Wait return at its end; Over reports whether it has ended.
	Notify()
	Over() bool
	Close()
}
