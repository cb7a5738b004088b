// Package reap ends what is left of dead runs, in passes: it observes the system,
// judges the snapshot, confirms each verdict behind a handle on the process, ends what
// was confirmed, and observes again, until two passes find nothing new. Package scan
// decides which processes are to be ended, and stop.Sequence what is done when.
package reap

import (
	"errors"
	"time"

	"leash/internal/owner"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/internal/stop"
	"leash/scan"
)

// System is all that reaping needs of an operating system and of the ledger.
type System interface {
	// Take reads the ledger and every process that may be judged.
	Take(held []snapshot.Held) (*snapshot.Snapshot, error)
	// Life reports whether a process is alive; unknown where that cannot be read.
	Life(proc.ID) snapshot.Life
	// Open takes a handle on the process that has the PID now; proc.ErrGone if none
	// has.
	Open(pid int) (snapshot.Handle, error)
	// Tick is the present in the unit of proc.ID.Start.
	Tick() uint64
	// Now is the time since any fixed moment, on a clock that stands still while the
	// machine sleeps.
	Now() time.Duration
	// Wait returns true once all processes have ended for which Notify was called, and
	// false at the deadline.
	Wait(until time.Duration) (quiet bool, err error)

	// RemoveRecord and RemoveUnfinished remove a file of the ledger, by its index in the
	// last snapshot's Records and Unfinished, and the record's cgroup if that is empty.
	RemoveRecord(i int) error
	RemoveUnfinished(i int) error
	// RemoveLeaves removes the empty cgroups of dead watchdogs, and of PID namespaces
	// that have ended.
	RemoveLeaves(ended func(ns uint64) bool)
	// NamespaceEnded returns a function that reports whether a PID namespace has ended
	// as a whole, for certain.
	NamespaceEnded() func(ns uint64) bool
}

// Fate is what became of a process.
type Fate int

const (
	// None: nothing was done to it.
	None Fate = iota
	Terminated
	Killed
	Survived
)

// Ended is a process that was to be ended.
type Ended struct {
	snapshot.Process
	Run  snapshot.Key
	Fate Fate
	// Reason says why it survived, or why it was to be ended.
	Reason string
}

// member is a process that is being ended.
type member struct {
	Ended
	h         snapshot.Handle
	fresh     bool // read just now, when it was confirmed
	signalled bool // with the stop signal
	killed    bool
	over      bool
	// from and seen bound when it was known to live.
	from, seen uint64
}

// Reaper ends all that is to be ended at once, with one grace period.
type Reaper struct {
	System  System
	Request scan.Request
	Grace   time.Duration
	// Only, if not nil, says which of the processes that are to be ended may be; all
	// others are left alone.
	Only func(*snapshot.Process) bool
	// Found, Progress and Done may be nil. Found is called with every judgement,
	// Progress with how many of how many live, Done with each process that has ended
	// or survived.
	Found    func(*snapshot.Snapshot, []*scan.Run)
	Progress func(living, total int)
	Done     func(*Ended)
	// Shield holds signals to this process back until the function that it returns
	// is called.
	Shield func() func()

	members []*member
	known   map[proc.ID]*member // by PID and start time
	// dead are the owners that were found dead so far, and recorded the runs among them
	// for which the ledger named the owner.
	dead     map[snapshot.Key]owner.Owner
	recorded map[snapshot.Key]bool
	// guarded are the PIDs that watchdogs were ending at the last pass.
	guarded []int
	missed  missed
	scanned time.Duration // when the last pass ended
	passed  bool          // there was one
}

// missed is what the last pass was to end and could not take hold of.
type missed struct {
	// unopened could not be opened, for want of descriptors, say.
	unopened []Ended
	// vanished had ended when they were to be opened: perhaps they fork and end
	// faster than they can be scanned.
	vanished []Ended
	// young counts those that started in the very tick of the scan and were not found
	// again by what is read behind a handle, which has no cgroup. The next tick
	// distinguishes them from a later process with their PID.
	young int
}

// count is how many there are; those that vanished may all be one.
func (m *missed) count() int { return len(m.unopened) + min(len(m.vanished), 1) }

const (
	// rescan is how old a snapshot may be while a member lives.
	rescan = time.Second
	// scanAgain is when to scan again for processes that cannot be waited for.
	scanAgain = 100 * time.Millisecond
	// apart is the least time between two scans that prove something together.
	apart = 20 * time.Millisecond
	// freezes bounds how often new members are searched for before a SIGKILL.
	freezes = 10
)

// Run ends all that is to be ended, and returns what it ended or could not end, also if it
// fails. Watchdogs may finish what they are ending: Run waits for them up to the grace
// period, because its caller wants the ports free.
func (r *Reaper) Run() ([]Ended, error) {
	r.known, r.dead, r.recorded = make(map[proc.ID]*member), make(map[snapshot.Key]owner.Owner), make(map[snapshot.Key]bool)
	patience := r.System.Now() + r.Grace
	err := r.sequence()
	for err == nil && len(r.guarded) > 0 && r.System.Now() < patience {
		if err = r.awaitWatchdogs(patience); err == nil {
			err = r.sequence()
		}
	}
	return r.results(), err
}

// sequence runs one stop.Sequence from beginning to end.
func (r *Reaper) sequence() error {
	var seq stop.Sequence
	todo := seq.Begin(r.System.Now(), r.Grace, true)
	for {
		for len(todo) > 0 {
			more, err := r.end(&seq, todo[0])
			if err != nil {
				return err
			}
			todo = append(todo[1:], more...)
		}
		until, ok := seq.Deadline()
		if !ok {
			return nil
		}
		r.progress()
		quiet, err := r.System.Wait(until)
		switch {
		case err != nil:
			return err
		case quiet:
			todo = seq.Quiet()
		default:
			todo = seq.Tick(r.System.Now())
		}
	}
}

// pass observes, judges and confirms. It returns how many members are new.
func (r *Reaper) pass() (int, error) {
	s, err := r.observe()
	if err != nil {
		return 0, err
	}
	runs, err := judge(s, r.Request)
	if errors.Is(err, errIncomplete) && r.living() > 0 { // their end frees the handles' descriptors
		r.scanned = r.System.Now()
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	r.remember(runs)
	if r.Found != nil {
		r.Found(s, runs)
	}
	members, missed, err := r.confirm(s, runs)
	if err != nil {
		return 0, err
	}
	r.members, r.missed, r.scanned = append(r.members, members...), missed, r.System.Now()
	for _, m := range members {
		r.known[key(m.ID)] = m
	}
	return len(members), nil
}

// key is an identity as far as a scan can tell.
func key(id proc.ID) proc.ID { return proc.ID{PID: id.PID, Start: id.Start} }

func (r *Reaper) living() (n int) {
	for _, m := range r.members {
		if !m.over {
			n++
		}
	}
	return n
}

func (r *Reaper) progress() {
	if r.Progress != nil {
		r.Progress(r.living(), len(r.members))
	}
}

func (r *Reaper) done(e *Ended) {
	if r.Done != nil {
		r.Done(e)
	}
}

// results closes all handles: what lives still has survived.
func (r *Reaper) results() []Ended {
	all := make([]Ended, 0, len(r.members))
	for _, m := range r.members {
		if !m.over {
			m.Fate, m.Reason = Survived, m.whySurvived()
			r.done(&m.Ended)
			m.h.Close()
		}
		all = append(all, m.Ended)
	}
	missed := append(r.missed.unopened, r.missed.vanished...)
	for i := range missed {
		r.done(&missed[i])
	}
	return append(all, missed...)
}
