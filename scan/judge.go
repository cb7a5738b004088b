package scan

import (
	"cmp"
	"fmt"
	"slices"

	"leash/internal/owner"
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

// Wish is what the caller asked for.
type Wish struct {
	// RunIDs names runs to be ended whatever their state; others are left out.
	RunIDs []string
	// WorkerIDs names the workers of those runs that are to be ended; none is all.
	WorkerIDs []string
	// Unclaimed runs are to be ended too.
	Unclaimed bool
	// Unguarded workers of runs that are alive are to be ended too. Beside it
	// RunIDs says only which runs are meant, and their state counts.
	Unguarded bool
}

// names reports whether a run is to be ended whatever its state.
func (w Wish) names(run Key) bool { return !w.Unguarded && slices.Contains(w.RunIDs, run.ID) }

// covers reports whether a run is not left out.
func (w Wish) covers(run Key) bool { return len(w.RunIDs) == 0 || slices.Contains(w.RunIDs, run.ID) }

// Member is a process that counts to a run.
type Member struct {
	*Process
	Evidence Evidence
	Verdict  Verdict
	Reason   string
	// Watchdog is the PID of the one that is ending it; 0 if none is.
	Watchdog int
	// Unguarded: its watchdog is dead, and its run is alive.
	Unguarded bool
}

// Run is a run and what counts to it.
type Run struct {
	Key
	State State
	// Owner is the one that the state is judged by; nil if none is known.
	Owner *owner.Owner
	// Why says how the state was found, in words.
	Why string
	// Condemned: what is left of it is to be ended.
	Condemned bool
	Members   []Member
	// Vouched: a record of that user names an owner, or did at an earlier look.
	Vouched bool

	lives   Life // of Owner
	guarded bool // a living watchdog claims a worker of it
	held    bool // and watches a parent that has no PID
}

// OwnerLives reports whether the owner lives, or may: only death is certain.
func (r *Run) OwnerLives() bool { return r.lives != Dead }

// judge holds what one judgement is made of.
type judge struct {
	*claims
	w      Wish
	runs   map[Key]*Run
	order  []*Run
	guards map[guarded]int // PID of the watchdog whose business it is
	placed map[guarded]*ruling
	ties   map[guarded]*tie
	// labelled are records by their labels, living the labels of workers whose
	// watchdog lives and has no record.
	labelled map[labels][]int
	living   map[labels]bool
}

// Judge says of every process of every run what is to become of it.
func Judge(s *Snapshot, w Wish) []*Run {
	j := &judge{claims: gather(s), w: w, runs: make(map[Key]*Run), guards: make(map[guarded]int),
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

func (j *judge) run(k Key) *Run {
	r := j.runs[k]
	if r == nil {
		r = &Run{Key: k}
		j.runs[k] = r
		j.order = append(j.order, r)
	}
	return r
}

// findOwners collects who is said to own each run.
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
			j.addOwner(j.run(Key{p.EnvRuns[0], p.UID}), o, j.s.lifeOf(o))
		}
	}
	for i := range j.s.Records {
		rec := &j.s.Records[i]
		r := j.run(Key{rec.RunID, rec.UID})
		if rec.Boot != j.s.Boot {
			continue // nobody of it lives, and nobody is left
		}
		r.Vouched = r.Vouched || len(rec.Parents) > 0
		if len(rec.Parents) == 0 && !rec.Ending && j.watched(i) {
			r.held = true
		}
		for _, id := range rec.Parents {
			life := Unknown
			if rec.NS == j.s.NS {
				life = j.s.Lives[id]
			}
			j.addOwner(r, owner.Owner{PID: id.PID, Start: id.Start, Boot: rec.Boot, NS: rec.NS}, life)
		}
	}
	j.ownUnnamed()
	for k, o := range j.s.Dead {
		r := j.run(k)
		r.Vouched = r.Vouched || j.s.Vouched[k]
		j.addOwner(r, o, Dead)
	}
}

// addOwner takes one owner. The one who lives is shown, else the one who may.
func (j *judge) addOwner(r *Run, o owner.Owner, life Life) {
	if r.Owner == nil || rank[life] > rank[r.lives] {
		r.Owner, r.lives = &o, life
	}
}

// rank: doubt outweighs death, and life outweighs doubt.
var rank = [...]int{Dead: 0, Unknown: 1, Alive: 2}

// watched reports whether the watchdog of a record lives, or may.
func (j *judge) watched(record int) bool {
	rec := &j.s.Records[record]
	return j.s.here(rec) && j.s.Lives[rec.Watchdog] != Dead
}

// guarded is a process as far as it is of one run.
type guarded struct {
	i   int
	run Key
}

// labels are how a watchdog finds strays.
type labels struct {
	run    Key
	worker string
}

// findGuards marks the workers that a living watchdog has, and what is theirs.
func (j *judge) findGuards() {
	recorded := make(map[int]bool) // watchdogs whose workers are known
	strays := make(map[labels]int)
	watched := make([]bool, len(j.s.Records))
	for n := range j.s.Records {
		rec := &j.s.Records[n]
		if l := (labels{Key{rec.RunID, rec.UID}, rec.WorkerID}); rec.WorkerID != "" && len(j.labelled[l]) < manyRecords {
			j.labelled[l] = append(j.labelled[l], n)
		}
		if watched[n] = j.watched(n); watched[n] {
			recorded[rec.Watchdog.PID] = true
			strays[labels{Key{rec.RunID, rec.UID}, rec.WorkerID}] = n
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
			if n, ok := strays[labels{k.run, p.Worker}]; ok && p.Worker != "" && k.evidence&Environ != 0 {
				j.guard(guarded{i, k.run}, j.s.Records[n].Watchdog.PID)
			}
		}
		if p.Leash && !p.Dead() && !recorded[p.PID] {
			j.guardUnrecorded(p)
		}
	}
}

// guardUnrecorded marks the workers of a watchdog that could write no record:
// its children, and whom its arguments name.
func (j *judge) guardUnrecorded(p *Process) {
	workers := j.children[p.PID]
	if c, ok := j.by[p.Guards]; ok && p.Guards > 1 {
		workers = append(slices.Clone(workers), c)
	}
	for _, c := range workers {
		if p.Foreign || p.UID != 0 && p.UID != j.s.Procs[c].UID {
			continue // its numbers are not ours, or it could not end him
		}
		for _, k := range j.counts[c] {
			j.guard(guarded{c, k.run}, p.PID)
			if k.evidence&Environ != 0 {
				j.living[labels{k.run, j.s.Procs[c].Worker}] = true
			}
		}
	}
}

// guard marks a process and those of its descendants that are of the same run.
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

// state says what a run is, and why.
func (j *judge) state(r *Run) {
	switch {
	case r.Owner != nil && r.lives == Alive:
		r.State, r.Why = AliveRun, fmt.Sprintf("its owner (PID %d) lives", r.Owner.PID)
	case r.Owner != nil && r.lives == Unknown:
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
	r.Condemned = j.w.covers(r.Key) && (r.State == DeadRun || r.State == Unclaimed && j.w.Unclaimed || j.w.names(r.Key))
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

// place puts a process under each run that it counts to.
func (j *judge) place(i int) {
	for _, k := range j.counts[i] {
		r, v := j.run(k.run), j.rule(i, k)
		r.Members = append(r.Members, Member{&j.s.Procs[i], k.evidence, v.verdict, v.reason, v.watchdog, j.unguarded(i, k)})
	}
}
