package scan

import (
	"fmt"
	"path"
	"slices"

	"leash/internal/ledger"
	"leash/internal/owner"
)

// Leaf is the cgroup of a watchdog that is dead for certain. Only run makes one,
// for its worker alone.
type Leaf struct {
	// Name is the leaf's own, without the folders above it.
	Name string
	// UID owns it: it speaks of that user's processes only.
	UID uint32
	// PID was the watchdog's, and Tick is when the leaf was made.
	PID  int
	Tick uint64
}

// abandoned reports whether a process is in the leaf of a dead watchdog of its own
// user that no record speaks of. Where there is one, the record says more.
func (c *claims) abandoned(p *Process) bool {
	l := p.Leaf
	if l == nil || p.Foreign || l.UID != p.UID || !member(p) {
		return false
	}
	return !slices.ContainsFunc(c.s.Records, func(r ledger.Record) bool {
		return c.s.here(&r) && r.UID == l.UID && r.Watchdog.PID == l.PID && r.Watchdog.Start <= l.Tick &&
			(r.Cgroup == "" || path.Base(r.Cgroup) == l.Name)
	})
}

// unnamed counts to a run without an ID who is in such a leaf and of no other run.
// It reports whether there was anybody.
func (c *claims) unnamed() (any bool) {
	for i := range c.s.Procs {
		if p := &c.s.Procs[i]; len(c.of[i]) == 0 && c.abandoned(p) {
			c.add(i, Key{"", p.UID}, Cgroup, -1)
			any = true
		}
	}
	return any
}

// ownUnnamed says who owned those runs: of the watchdog alone anything is known,
// and its worker was to die with it.
func (j *judge) ownUnnamed() {
	for i := range j.s.Procs {
		p := &j.s.Procs[i]
		for _, k := range j.of[i] {
			if k.run.ID == "" && p.Leaf != nil && k.evidence&Cgroup != 0 {
				j.addOwner(j.run(k.run), owner.Owner{PID: p.Leaf.PID, Start: p.Leaf.Tick, Boot: j.s.Boot, NS: j.s.NS}, Dead)
			}
		}
	}
}

// belowWatchdog: of who is of a run without an ID, a living watchdog above it is to
// decide. It may be guarding it, in a way that left no trace.
func (j *judge) belowWatchdog(i int, k claim) string {
	if k.run.ID != "" {
		return ""
	}
	p := &j.s.Procs[i]
	for range j.s.Procs { // a bound, for a torn reading may go round in a circle
		up, ok := j.by[p.PPID]
		if !ok || j.s.Procs[up].Start > p.Start {
			break
		}
		if p = &j.s.Procs[up]; p.Leash && !p.Dead() {
			return fmt.Sprintf("it has no record, and a living watchdog (PID %d) is above it", p.PID)
		}
	}
	return ""
}

func leafName(p *Process) string {
	if p.Leaf == nil {
		return ""
	}
	return p.Leaf.Name
}
