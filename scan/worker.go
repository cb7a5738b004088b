package scan

import (
	"fmt"
	"slices"
	"strings"

	"leash/internal/snapshot"
)

// tie tells to which worker of its run a process belongs. If these are several, a
// condition must hold for all of them.
type tie struct {
	records []int    // of the worker
	workers []string // its worker IDs, as far as they are known
	// leaf: it is in the cgroup of a dead watchdog. held: it was born into the
	// group or session of a process that this reaper was ending.
	leaf, held bool
}

func (t *tie) name(worker string) {
	if worker != "" && !slices.Contains(t.workers, worker) {
		t.workers = append(t.workers, worker)
	}
}

// tie finds the worker by evidence about the process itself (its own record, its
// label), else by its group, session and cgroup, else by its parent.
func (j *judge) tie(i int, k claim) *tie {
	g := guarded{i, k.run}
	if t := j.ties[g]; t != nil {
		return t
	}
	p, label := &j.s.Procs[i], ""
	if k.evidence&Environ != 0 {
		label = p.Worker
	}
	t := &tie{held: k.held, leaf: j.abandoned(p)}
	j.ties[g] = t // a circle of parents, of a torn reading, ends here
	var near []int
	for _, n := range k.records {
		switch r := &j.s.Records[n]; {
		case r.Worker.PID == p.PID && sameWorker(p, r):
			t.records = append(t.records, n)
		case label == "" || r.WorkerID == "" || r.WorkerID == label:
			near = append(near, n)
		}
	}
	if len(t.records) == 0 {
		t.records = near
		if l := (labels{k.run, label}); label != "" && !j.living[l] {
			for _, n := range j.labelled[l] {
				if !slices.Contains(t.records, n) {
					t.records = append(t.records, n)
				}
			}
		}
	}
	t.name(label)
	for _, n := range t.records {
		t.name(j.s.Records[n].WorkerID)
	}
	if parent := j.parentIn(p, k.run); parent != nil && len(t.records) == 0 {
		up := j.tie(j.by[p.PPID], *parent)
		if label == "" || len(up.workers) == 0 || slices.Contains(up.workers, label) {
			t.records, t.leaf, t.held = up.records, t.leaf || up.leaf, t.held || up.held
			for _, w := range up.workers {
				t.name(w)
			}
		}
	}
	return t
}

// unguarded reports whether a process is of a worker that has lost its watchdog for certain
// and that no other watchdog guards, while its run is alive.
func (j *judge) unguarded(i int, k claim) bool {
	if j.run(k.run).State != AliveRun || j.guards[guarded{i, k.run}] != 0 {
		return false
	}
	t := j.tie(i, k)
	if len(t.records) == 0 {
		return t.leaf || t.held && j.w.Unguarded
	}
	return !slices.ContainsFunc(t.records, func(n int) bool {
		r := &j.s.Records[n]
		return !j.s.Here(r) || j.s.Lives[r.Watchdog] != snapshot.Dead
	})
}

// toEnd reports whether a process is part of what is to be ended. doubt says why that
// cannot be told.
func (j *judge) toEnd(i int, k claim) (yes bool, doubt string) {
	if !j.w.covers(k.run) {
		return false, ""
	}
	if len(j.w.WorkerIDs) > 0 {
		if yes, doubt = j.ofNamedWorker(i, k); !yes {
			return false, doubt
		}
	}
	return j.run(k.run).ToEnd || j.w.Unguarded && j.unguarded(i, k), ""
}

// ofNamedWorker reports whether a process is of a worker that the caller named.
func (j *judge) ofNamedWorker(i int, k claim) (yes bool, doubt string) {
	t := j.tie(i, k)
	named := func(w string) bool { return slices.Contains(j.w.WorkerIDs, w) }
	switch {
	case t.held && len(t.workers) == 0:
		return true, ""
	case !slices.ContainsFunc(t.workers, named):
		return false, ""
	case slices.ContainsFunc(t.workers, func(w string) bool { return !named(w) }):
		return false, fmt.Sprintf("the evidence names several workers of its run: %q", t.workers)
	}
	return true, ""
}

// whyLeft says why a process is left alone if its run, or that worker of it, is not to
// be ended.
func (j *judge) whyLeft(i int, k claim) string {
	r := j.run(k.run)
	switch {
	case len(j.w.WorkerIDs) > 0 && r.ToEnd:
		return "of its run only worker " + strings.Join(j.w.WorkerIDs, ", ") + " was named"
	case r.State == Unclaimed:
		return r.Why + ": left alone unless --unclaimed or --run-id says otherwise"
	case j.unguarded(i, k):
		return r.Why + "; unguarded, for " + j.lostWatchdog(i, k) + ": left alone unless --unguarded or --run-id says otherwise"
	}
	return r.Why
}

// lostWatchdog names the dead watchdog that had guarded a process.
func (j *judge) lostWatchdog(i int, k claim) string {
	if t := j.tie(i, k); len(t.records) > 0 {
		return fmt.Sprintf("its watchdog (PID %d) is gone", j.s.Records[t.records[0]].Watchdog.PID)
	}
	return "its watchdog is gone"
}
