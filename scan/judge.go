package scan

import (
	"cmp"
	"fmt"
	"slices"

	"leash/internal/owner"
	"leash/internal/snapshot"
)

// State is what is known of a run.
type State int

const (
	// Unclaimed: no owner is known.
	Unclaimed State = iota
	// DeadRun: an owner is known, and none lives.
	DeadRun
	// AliveRun: an owner lives, or one cannot be checked.
	AliveRun
)

func (s State) String() string { return [...]string{"unclaimed", "dead", "alive"}[s] }

// Verdict is what is to become of a process.
type Verdict int

const (
	// Leave: its run is not to be ended.
	Leave Verdict = iota
	// Skip: its run is to be ended, and this process is left alone.
	Skip
	// End it.
	End
)

// Request is what the caller asks for.
type Request struct {
	// RunIDs names runs to be ended whatever their state; others are left out.
	RunIDs []string
	// WorkerIDs names the workers of those runs that are to be ended; without any, all are.
	WorkerIDs []string
	// Unclaimed runs are to be ended too.
	Unclaimed bool
	// Unguarded workers of runs that are alive are to be ended too. Beside it
	// RunIDs says only which runs are meant, and their state counts.
	Unguarded bool
}

// names reports whether a run is to be ended whatever its state.
func (w Request) names(run snapshot.Key) bool {
	return !w.Unguarded && slices.Contains(w.RunIDs, run.ID)
}

// covers reports whether a run is not left out.
func (w Request) covers(run snapshot.Key) bool {
	return len(w.RunIDs) == 0 || slices.Contains(w.RunIDs, run.ID)
}

// Member is a process that counts to a run.
type Member struct {
	*snapshot.Process
	Evidence Evidence
	Verdict  Verdict
	Reason   string
	// Watchdog is the PID of the watchdog that is ending it; 0 if none is.
	Watchdog int
	// Unguarded: its watchdog is dead, and its run is alive.
	Unguarded bool
}

// Run is a run and the processes that count to it.
type Run struct {
	snapshot.Key
	State State
	// Owner is the owner that decides the state; nil if none is known.
	Owner *owner.Owner
	// Why is how the state was found, in words.
	Why string
	// ToEnd: what is left of it is to be ended.
	ToEnd   bool
	Members []Member
	// OwnerRecorded: a record of that user names an owner, or did at an earlier scan.
	OwnerRecorded bool

	lives   snapshot.Life // of Owner
	guarded bool          // a living watchdog claims a worker of it
	held    bool          // and watches a parent that has no PID
}

// OwnerLives reports whether the owner is alive, or may be.
func (r *Run) OwnerLives() bool { return r.lives != snapshot.Dead }

// judge is the state of one call of Judge.
type judge struct {
	*claims
	w      Request
	runs   map[snapshot.Key]*Run
	order  []*Run
	guards map[guarded]int // PID of the watchdog that guards it
	placed map[guarded]*ruling
	ties   map[guarded]*tie
	// labelled are the records by their labels; living are the labels of workers with a living
	// watchdog that has no record.
	labelled map[labels][]int
	living   map[labels]bool
}

// Judge decides of every process of every run what is to become of it.
func Judge(s *snapshot.Snapshot, w Request) []*Run {
	j := &judge{claims: gather(s), w: w, runs: make(map[snapshot.Key]*Run), guards: make(map[guarded]int),
		placed: make(map[guarded]*ruling), ties: make(map[guarded]*tie),
		labelled: make(map[labels][]int), living: make(map[labels]bool)}
	j.findGuards()
	j.findOwners()
	for _, r := range j.order {
		j.state(r)
	}
	for i := range s.Procs {
		j.place(i)
	}
	j.order = slices.DeleteFunc(j.order, func(r *Run) bool {
		return len(r.Members) == 0 || !w.covers(r.Key)
	})
	slices.SortFunc(j.order, func(a, b *Run) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.UID, b.UID))
	})
	return j.order
}

func (j *judge) run(k snapshot.Key) *Run {
	r := j.runs[k]
	if r == nil {
		r = &Run{Key: k}
		j.runs[k] = r
		j.order = append(j.order, r)
	}
	return r
}

// findOwners collects the owners that environments and records name for each run.
func (j *judge) findOwners() {
	for i := range j.s.Procs {
		p := &j.s.Procs[i]
		if !member(p) {
			continue
		}
		for _, k := range j.of[i] {
			j.run(k.run)
		}
		if len(p.EnvRuns) != 1 || p.Mixed {
			continue
		}
		if o, ok := owner.Parse(p.Owner); ok {
			j.addOwner(j.run(snapshot.Key{ID: p.EnvRuns[0], UID: p.UID}), o, j.s.LifeOf(o))
		}
	}
	for i := range j.s.Records {
		rec := &j.s.Records[i]
		r := j.run(snapshot.Key{ID: rec.RunID, UID: rec.UID})
		if rec.Boot != j.s.Boot {
			continue // no process of another boot is left
		}
		r.OwnerRecorded = r.OwnerRecorded || len(rec.Parents) > 0
		if len(rec.Parents) == 0 && !rec.Ending && j.watched(i) {
			r.held = true
		}
		for _, id := range rec.Parents {
			life := snapshot.Unknown
			if rec.NS == j.s.NS {
				life = j.s.Lives[id]
			}
			j.addOwner(r, owner.Owner{PID: id.PID, Start: id.Start, Boot: rec.Boot, NS: rec.NS}, life)
		}
	}
	j.ownUnnamed()
	for k, o := range j.s.Dead {
		r := j.run(k)
		r.OwnerRecorded = r.OwnerRecorded || j.s.OwnerRecorded[k]
		j.addOwner(r, o, snapshot.Dead)
	}
}

// addOwner adds one owner. Of several, one that is alive is shown, else one that may be.
func (j *judge) addOwner(r *Run, o owner.Owner, life snapshot.Life) {
	if r.Owner == nil || rank[life] > rank[r.lives] {
		r.Owner, r.lives = &o, life
	}
}

// rank orders them: one living owner is enough, and an unknown one is not dead.
var rank = [...]int{snapshot.Dead: 0, snapshot.Unknown: 1, snapshot.Alive: 2}

// watched reports whether the watchdog of a record is alive, or may be.
func (j *judge) watched(record int) bool {
	rec := &j.s.Records[record]
	return j.s.Here(rec) && j.s.Lives[rec.Watchdog] != snapshot.Dead
}

// guarded is a process as a member of one run.
type guarded struct {
	i   int
	run snapshot.Key
}

// labels are how a watchdog finds the processes that left its worker's group.
type labels struct {
	run    snapshot.Key
	worker string
}

// findGuards marks the workers of living watchdogs, and their trees.
func (j *judge) findGuards() {
	recorded := make(map[int]bool) // watchdogs with known workers
	byLabels := make(map[labels]int)
	watched := make([]bool, len(j.s.Records))
	for n := range j.s.Records {
		rec := &j.s.Records[n]
		if l := (labels{snapshot.Key{ID: rec.RunID, UID: rec.UID}, rec.WorkerID}); rec.WorkerID != "" && len(j.labelled[l]) < manyRecords {
			j.labelled[l] = append(j.labelled[l], n)
		}
		if watched[n] = j.watched(n); watched[n] {
			recorded[rec.Watchdog.PID] = true
			byLabels[labels{snapshot.Key{ID: rec.RunID, UID: rec.UID}, rec.WorkerID}] = n
		}
	}
	for i := range j.s.Procs {
		p := &j.s.Procs[i]
		for _, k := range j.counts[i] {
			for _, n := range k.records {
				if watched[n] {
					j.guard(guarded{i, k.run}, j.s.Records[n].Watchdog.PID)
				}
			}
			if n, ok := byLabels[labels{k.run, p.Worker}]; ok && p.Worker != "" && k.evidence&Environ != 0 {
				j.guard(guarded{i, k.run}, j.s.Records[n].Watchdog.PID)
			}
		}
		if p.Leash && !p.Dead() && !recorded[p.PID] {
			j.guardUnrecorded(p)
		}
	}
}

// guardUnrecorded marks the workers of a watchdog that could write no record: its
// children, and the process that its arguments name.
func (j *judge) guardUnrecorded(p *snapshot.Process) {
	workers := j.children[p.PID]
	if c, ok := j.by[p.Guards]; ok && p.Guards > 1 {
		workers = append(slices.Clone(workers), c)
	}
	for _, c := range workers {
		if p.Foreign || p.UID != 0 && p.UID != j.s.Procs[c].UID {
			continue // its PIDs are not ours, or it could not end that process
		}
		for _, k := range j.counts[c] {
			j.guard(guarded{c, k.run}, p.PID)
			if k.evidence&Environ != 0 {
				j.living[labels{k.run, j.s.Procs[c].Worker}] = true
			}
		}
	}
}

// guard marks a process, and its descendants in the same run.
func (j *judge) guard(g guarded, watchdog int) {
	counts := slices.ContainsFunc(j.counts[g.i], func(k claim) bool { return k.run == g.run })
	if _, done := j.guards[g]; done || !counts {
		return
	}
	j.guards[g] = watchdog
	j.run(g.run).guarded = true
	for _, c := range j.children[j.s.Procs[g.i].PID] {
		j.guard(guarded{c, g.run}, watchdog)
	}
}

// state sets the state of a run, and why.
func (j *judge) state(r *Run) {
	switch {
	case r.Owner != nil && r.lives == snapshot.Alive:
		r.State, r.Why = AliveRun, fmt.Sprintf("its owner (PID %d) lives", r.Owner.PID)
	case r.Owner != nil && r.lives == snapshot.Unknown:
		r.State, r.Why = AliveRun, j.uncheckable(r.Owner)
	case r.held:
		r.State, r.Why = AliveRun, "a watchdog guards it, for a parent that it knows by a lifeline"
	case r.Owner != nil:
		r.State, r.Why = DeadRun, j.deadOwner(r)
	case r.guarded:
		r.State, r.Why = AliveRun, "a watchdog guards it"
	default:
		r.Why = "no owner of it is known"
	}
	r.ToEnd = j.w.covers(r.Key) && (r.State == DeadRun || r.State == Unclaimed && j.w.Unclaimed || j.w.names(r.Key))
}

func (j *judge) uncheckable(o *owner.Owner) string {
	if o.NS != j.s.NS {
		return fmt.Sprintf("its owner (PID %d of another PID namespace) cannot be checked from here", o.PID)
	}
	return fmt.Sprintf("its owner (PID %d) cannot be checked", o.PID)
}

func (j *judge) deadOwner(r *Run) string {
	o := r.Owner
	switch {
	case o.Boot != j.s.Boot:
		return "its owner was of another boot"
	case r.ID == "":
		return fmt.Sprintf("its watchdog (PID %d) is gone, and no record of its worker is there", o.PID)
	}
	return fmt.Sprintf("its owner (PID %d) is gone", o.PID)
}

// place adds a process to each run that it counts to.
func (j *judge) place(i int) {
	for _, k := range j.counts[i] {
		r, v := j.run(k.run), j.rule(i, k)
		r.Members = append(r.Members, Member{&j.s.Procs[i], k.evidence, v.verdict, v.reason, v.watchdog, j.unguarded(i, k)})
	}
}
