package darwin

import (
	"leash/internal/proc"
)

// entry is what kern.proc says of one process (struct kinfo_proc, sys/sysctl.h).
type entry struct {
	PID, PPID, PGID int
	// UID is the effective user, Real and Saved are the others.
	UID, Real, Saved uint32
	// Start is when it was forked, in microseconds since 1970 by the clock of
	// that moment: setting the clock does not change it, nor does execve(2).
	Start uint64
	// Stat, Flags and Session are p_stat, p_flag and e_flag.
	Stat           int8
	Flags, Session int32
	Caught         uint32
	// Status is that of wait4(2), once it is a zombie.
	Status int
	// Name is that of the program, cut off after 16 bytes.
	Name string
}

// Values of p_stat and bits of p_flag and e_flag (sys/proc.h, sys/sysctl.h).
const (
	statIdle    = 1
	statRuns    = 2
	statSleeps  = 3
	statStopped = 4
	statZombie  = 5

	flagMixed   = 0x100  // P_SUGID: it has changed its user since execve(2)
	flagSystem  = 0x200  // P_SYSTEM: part of the kernel
	flagExiting = 0x2000 // P_WEXIT: exit(2) has begun, and nothing calls it back

	leadsSession = 2 // EPROC_SLEADER

	maxName = 16 // MAXCOMLEN
)

// state is the letter of proc.Info. While a process runs, the system does not
// say whether it waits (p_stat is SRUN for all that live).
func (e entry) state() byte {
	switch e.Stat {
	case statZombie:
		return 'Z'
	case statStopped:
		return 'T'
	case statSleeps:
		return 'S'
	}
	return 'R'
}

// over reports whether its end is certain. On NOTE_EXIT it is no zombie yet:
// that comes a moment later (proc_exit in bsd/kern/kern_exit.c).
func (e entry) over() bool { return e.Stat == statZombie || e.Flags&flagExiting != 0 }

// catches reports whether it handles a signal itself.
func (e entry) catches(sig int) bool { return sig > 0 && sig <= 32 && e.Caught&(1<<(sig-1)) != 0 }

// mixed: it runs with the rights of more than one user.
func (e entry) mixed() bool {
	return e.Flags&flagMixed != 0 || e.Real != e.UID || e.Saved != e.UID
}

// info joins it with the session, which kern.proc does not give.
func (e entry) info(session int) proc.Info {
	return proc.Info{
		ID:   proc.ID{PID: e.PID, Start: e.Start},
		PPID: e.PPID, PGID: e.PGID, SID: session,
		State: e.state(), UID: e.UID,
	}
}
