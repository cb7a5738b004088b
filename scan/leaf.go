package scan

import (
	"fmt"
	"path"
	"slices"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/snapshot"
)

// abandoned reports whether a process is in the leaf of a dead watchdog of its own user
// that has no record. A record says more than the leaf.
func (c *claims) abandoned(p *snapshot.Process) bool {
	l := p.Leaf
	if l == nil || p.Foreign || l.UID != p.UID || !member(p) {
		return false
	}
	return !slices.ContainsFunc(c.s.Records, func(r ledger.Record) bool {
		return c.s.Here(&r) && r.UID == l.UID && r.Watchdog.PID == l.PID && r.Watchdog.Start <= l.Tick &&
			(r.Cgroup == "" || path.Base(r.Cgroup) == l.Name)
	})
}

// unnamed counts the processes in such leaves that belong to no other run to a run
// without an ID. It reports whether there were any.
func (c *claims) unnamed() (any bool) {
	for i := range c.s.Procs {
		if p := &c.s.Procs[i]; len(c.of[i]) == 0 && c.abandoned(p) {
			c.add(i, snapshot.Key{ID: "", UID: p.UID}, Cgroup, -1)
			any = true
		}
	}
	return any
}

// ownUnnamed makes the watchdogs the owners of those runs: nothing else is known, and
// their workers were to die with them.
func (j *judge) ownUnnamed() {
	for i := range j.s.Procs {
		p := &j.s.Procs[i]
		for _, k := range j.of[i] {
			if k.run.ID == "" && p.Leaf != nil && k.evidence&Cgroup != 0 {
				j.addOwner(j.run(k.run), owner.Owner{PID: p.Leaf.PID, Start: p.Leaf.Tick, Boot: j.s.Boot, NS: j.s.NS}, snapshot.Dead)
			}
		}
	}
}

// belowWatchdog leaves a process of a run without an ID to a living watchdog above it,
// which may be guarding it in a way that left no trace.
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

func leafName(p *snapshot.Process) string {
	if p.Leaf == nil {
		return ""
	}
	return p.Leaf.Name
}
