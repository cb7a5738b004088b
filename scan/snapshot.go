// Package scan judges a process table: which process belongs to which run and
// by what evidence, which runs are dead, and what is to be ended, with the
// reason in words. It is pure: everything it knows stands in a Snapshot.
package scan

import (
	"strings"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
)

// Process is one process of the table, as far as it matters here.
type Process struct {
	proc.Info
	// Mixed: it runs with the rights of more than one user (real, effective and
	// saved user ID differ, credentials(7)): what its environment says may have
	// been said by another than the one it runs as.
	Mixed bool
	// Foreign: it lives in another PID namespace.
	Foreign bool
	// Barred says why the system lets us neither read nor end it; empty if it
	// does.
	Barred string
	// Args are its arguments, for people; nil where they cannot be read.
	Args []string
	// ArgRuns and EnvRuns are the run IDs in its arguments and environment.
	ArgRuns, EnvRuns []string
	// Worker and Owner are what LEASH_WORKER_ID and LEASH_RUN_OWNER say.
	Worker, Owner string
	// Name is the kernel's name for it (proc_pid_comm(5)).
	Name string
	// Memory is its resident set in bytes.
	Memory uint64
	// Guards is, of a watchdog, the PID that its arguments tell it to guard.
	Guards int
	// Inside lists the records (by index) whose cgroup it is in.
	Inside []int
	// Leaf is the innermost cgroup of a watchdog that it is in, if that watchdog is
	// dead for certain; else nil.
	Leaf *Leaf
}

// Held is a member that is being ended: what is born into its group or session
// meanwhile is of its run too.
type Held struct {
	Run            Key
	PID            int
	Group, Session int
	// From and Seen bound when it was known to live, in the unit of
	// proc.ID.Start.
	From, Seen uint64
}

// Life is whether a process that was named lives.
type Life int

const (
	// Unknown: it could not be found out. It is not dead.
	Unknown Life = iota
	Dead
	Alive
)

// Snapshot is one look at the machine.
type Snapshot struct {
	// Boot and NS are ours, as in package owner; UID is our effective user.
	Boot string
	NS   uint64
	UID  uint32
	// Tick is when the look began, in the unit of proc.ID.Start.
	Tick uint64
	// Procs are those that may belong to a run, and every watchdog that was
	// met. Others may be missing.
	Procs []Process
	// Records are the ledger's.
	Records []ledger.Record
	// Dead are owners that were found dead earlier: what told of them may be gone
	// by now, and its run is no less dead.
	Dead map[Key]owner.Owner
	// Vouched are those of which the ledger named an owner then.
	Vouched map[Key]bool
	// Held are members that the reaper found earlier.
	Held []Held
	// Lives says of everyone named in records and environments whether he
	// lives.
	Lives map[proc.ID]Life
	// Parents are the parents of those processes for which AskedForParent holds.
	Parents map[int]Process
	// Never are we and our ancestors.
	Never []proc.Info
	// Torn says that something could not be read for want of means (descriptors,
	// memory). Such a look condemns nobody: who is missing in it may be the owner.
	Torn error
	// Partial names the cgroups of records that were not read to the end: who else
	// is in them is unknown.
	Partial map[string]bool
	// Passed says what was passed over, for people.
	Passed []error
	// Scanned counts the processes that were looked at, Unread those of our own
	// whose files could not be read. Hidden counts those whose environment the
	// system shows to nobody (macOS, System Integrity Protection).
	Scanned, Unread, Hidden int
}

// Named lists the identities whose life the judge will ask for.
func (s *Snapshot) Named() []proc.ID {
	var ids []proc.ID
	for i := range s.Records {
		if r := &s.Records[i]; s.here(r) {
			ids = append(append(ids, r.Parents...), r.Watchdog, r.Worker)
		}
	}
	for i := range s.Procs {
		if o, ok := owner.Parse(s.Procs[i].Owner); ok && s.near(o) {
			ids = append(ids, proc.ID{PID: o.PID, Start: o.Start})
		}
	}
	return ids
}

// here: the record's numbers are of this boot and this PID namespace.
func (s *Snapshot) here(r *ledger.Record) bool { return r.Boot == s.Boot && r.NS == s.NS }

func (s *Snapshot) near(o owner.Owner) bool { return o.Boot == s.Boot && o.NS == s.NS }

// lifeOf says whether an owner lives.
func (s *Snapshot) lifeOf(o owner.Owner) Life {
	switch {
	case o.Boot != s.Boot:
		return Dead
	case o.NS != s.NS:
		return Unknown
	}
	return s.Lives[proc.ID{PID: o.PID, Start: o.Start}]
}

func (s *Snapshot) never(id proc.ID) bool {
	for _, n := range s.Never {
		if n.PID == id.PID && n.Match(id) != proc.Different {
			return true
		}
	}
	return false
}

// Evidence is a set of reasons to count a process to a run.
type Evidence uint8

const (
	Argv Evidence = 1 << iota
	Environ
	Ledger
	Group
	Session
	Cgroup
	Descendant

	// direct evidence speaks of the process itself. The rest is inherited, and
	// gives way: a member of one run may well have started another run.
	direct = Argv | Environ | Ledger
)

var evidenceNames = []string{"argv", "environ", "ledger", "group", "session", "cgroup", "descendant"}

// Names lists what the set holds.
func (e Evidence) Names() []string {
	names := []string{}
	for i, n := range evidenceNames {
		if e&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

func (e Evidence) String() string { return strings.Join(e.Names(), ", ") }

// Key names a run: an ID and a user, for nobody can speak of another's.
type Key struct {
	ID  string
	UID uint32
}
