// Package snapshot has what one scan of the processes and of the ledger found: plain
// values, which package platform fills in and packages scan and reap read.
package snapshot

import (
	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
)

// Process is one process of the process table.
type Process struct {
	proc.Info
	// Mixed: it runs with the rights of more than one user (real, effective and
	// saved user ID differ, credentials(7)). Its environment may have been written
	// by another user than the one it runs as.
	Mixed bool
	// Foreign: it lives in another PID namespace.
	Foreign bool
	// Denied says why the system lets us neither read nor end it; empty if it does.
	Denied string
	// Args are its arguments, for display; nil if they cannot be read.
	Args []string
	// ArgRuns and EnvRuns are the run IDs in its arguments and environment.
	ArgRuns, EnvRuns []string
	// Worker and Owner are the values of LEASH_WORKER_ID and LEASH_RUN_OWNER.
	Worker, Owner string
	// Name is the kernel's name for it (proc_pid_comm(5)).
	Name string
	// Guards is the PID that a watchdog's arguments name as its worker.
	Guards int
	// Inside lists the records, by index, in whose cgroup it is.
	Inside []int
	// Leaf is the innermost cgroup of a watchdog that it is in, if that watchdog is
	// certainly dead; otherwise nil.
	Leaf *Leaf
}

// NeedsParent reports whether the verdict may depend on the process's parent
// (Snapshot.Parents): where only arguments are evidence, and where another
// process's environment names the owner of root's run.
func (p *Process) NeedsParent() bool {
	return len(p.ArgRuns) > 0 && len(p.EnvRuns) == 0 || p.UID == 0 && len(p.EnvRuns) > 0 && p.Owner == ""
}

// Leaf is the cgroup of a watchdog that is certainly dead. Only run makes one, for its worker
// alone.
type Leaf struct {
	// Name is its last path element.
	Name string
	// UID owns it: it is evidence for that user's processes only.
	UID uint32
	// PID was the watchdog's, and Tick is when the leaf was made.
	PID  int
	Tick uint64
}

// Key identifies a run by its ID and its user, since what one user wrote is no evidence for
// another user's processes.
type Key struct {
	ID  string
	UID uint32
}

// Held is a member that is being ended: a process that is started in its group or session
// meanwhile is a member too.
type Held struct {
	Run            Key
	PID            int
	Group, Session int
	// From and Seen bound the time in which it was known to live, in the unit of
	// proc.ID.Start.
	From, Seen uint64
}

// Unfinished is a file of the ledger whose writing was never finished.
type Unfinished struct {
	// NS is the PID namespace of the watchdog that was writing it.
	NS       uint64
	Watchdog proc.ID
}

// Life is whether a process that a record or an environment names is alive.
type Life int

const (
	// Unknown: it could not be read. It is treated as alive.
	Unknown Life = iota
	Dead
	Alive
)

// Snapshot is what one scan of the machine found.
type Snapshot struct {
	// Boot and NS are those of this process, as in package owner; UID is its effective
	// user.
	Boot string
	NS   uint64
	UID  uint32
	// Tick is when the scan began, in the unit of proc.ID.Start.
	Tick uint64
	// Procs are the processes that may belong to a run, and all watchdogs that were
	// found. Others may be missing.
	Procs []Process
	// Records are those of the ledger, Unfinished its files that were never finished.
	Records    []ledger.Record
	Unfinished []Unfinished
	// Dead are owners that an earlier scan found dead: their runs stay dead even if the
	// process that named the owner has ended since.
	Dead map[Key]owner.Owner
	// OwnerRecorded are the runs among them whose owner was named by a record.
	OwnerRecorded map[Key]bool
	// Held are members that are being ended.
	Held []Held
	// Lives says whether each process that records and environments name is alive.
	Lives map[proc.ID]Life
	// Parents are the parents, by PID, of the processes for which NeedsParent holds.
	Parents map[int]Process
	// Protected are this process and its ancestors.
	Protected []proc.Info
	// Incomplete is an error if something could not be read for lack of descriptors or
	// memory. No process is ended after such a scan: one that is missing in it may be
	// the owner.
	Incomplete error
	// Partial are the cgroups of records that were not read completely: there may be
	// more processes in them.
	Partial map[string]bool
	// Passed says what was skipped and why, for display.
	Passed []error
	// Scanned counts the processes that were read, Unread those of our own user whose
	// files could not be read, Hidden those whose environment the system lets no other
	// process read (macOS, System Integrity Protection).
	Scanned, Unread, Hidden int
}

// Named lists the processes that must be in Lives.
func (s *Snapshot) Named() []proc.ID {
	var ids []proc.ID
	for i := range s.Records {
		if r := &s.Records[i]; s.Here(r) {
			ids = append(append(ids, r.Parents...), r.Watchdog, r.Worker)
		}
	}
	for i := range s.Procs {
		if o, ok := owner.Parse(s.Procs[i].Owner); ok && o.Boot == s.Boot && o.NS == s.NS {
			ids = append(ids, proc.ID{PID: o.PID, Start: o.Start})
		}
	}
	return ids
}

// FillLives calls life for the processes of Named that are not in Lives yet.
func (s *Snapshot) FillLives(life func(proc.ID) Life) {
	if s.Lives == nil {
		s.Lives = make(map[proc.ID]Life)
	}
	for _, id := range s.Named() {
		if _, ok := s.Lives[id]; !ok {
			s.Lives[id] = life(id)
		}
	}
}

// Here reports whether the PIDs of a record are of this boot and PID namespace.
func (s *Snapshot) Here(r *ledger.Record) bool { return r.Boot == s.Boot && r.NS == s.NS }

// LifeOf is whether an owner is alive.
func (s *Snapshot) LifeOf(o owner.Owner) Life {
	switch {
	case o.Boot != s.Boot:
		return Dead
	case o.NS != s.NS:
		return Unknown
	}
	return s.Lives[proc.ID{PID: o.PID, Start: o.Start}]
}

// IsProtected reports whether a process is this one or an ancestor of it.
func (s *Snapshot) IsProtected(id proc.ID) bool {
	for _, p := range s.Protected {
		if p.PID == id.PID && p.Match(id) != proc.Different {
			return true
		}
	}
	return false
}
