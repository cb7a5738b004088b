package reap

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

// sweeper is a stub that notes what is removed.
type sweeper struct {
	*stub
	removed []string
	ended   uint64 // the PID namespace that has ended
	err     error
}

func (s *sweeper) note(what string, i int) error {
	s.removed = append(s.removed, fmt.Sprint(what, " ", i))
	return s.err
}

func (s *sweeper) RemoveRecord(i int) error     { return s.note("record", i) }
func (s *sweeper) RemoveUnfinished(i int) error { return s.note("unfinished", i) }
func (s *sweeper) NamespaceEnded() func(uint64) bool {
	return func(ns uint64) bool { return ns == s.ended }
}
func (s *sweeper) RemoveLeaves(ended func(uint64) bool) {
	s.removed = append(s.removed, fmt.Sprint("leaves ", ended(s.ended), ended(simSpace)))
}

func TestSweep(t *testing.T) {
	const leaves = "leaves true false"
	stale := func(change func(*ledger.Record)) ledger.Record {
		r := ledger.Record{RunID: theRun, Worker: proc.ID{PID: 20, Start: 20}, Watchdog: proc.ID{PID: 8, Start: 8}, Boot: simBoot, NS: simSpace, Seen: 900}
		change(&r)
		return r
	}
	plain := stale(func(*ledger.Record) {})
	member := snapshot.Process{Info: proc.Info{ID: proc.ID{PID: 30, Start: 30}, PPID: 1, State: 'S', Threads: 1}, EnvRuns: []string{theRun},
		Owner: owner.Owner{PID: 6, Start: 6, Boot: simBoot, NS: simSpace}.String()}
	for _, c := range []struct {
		name       string
		record     ledger.Record
		procs      []snapshot.Process
		lives      snapshot.Life // of the record's worker and of the writer of the unfinished file
		unfinished []snapshot.Unfinished
		covers     bool
		want       []string
	}{
		{"nothing of it is left", plain, nil, snapshot.Dead, nil, true, []string{"record 0", leaves}},
		{"a run that is not covered", plain, nil, snapshot.Dead, nil, false, []string{leaves}},
		{"its worker is alive", plain, nil, snapshot.Alive, nil, true, []string{leaves}},
		{"its worker may be alive", plain, nil, snapshot.Unknown, nil, true, []string{leaves}},
		{"a process of its run is left", plain, []snapshot.Process{member}, snapshot.Dead, nil, true, []string{leaves}},
		{"of another boot", stale(func(r *ledger.Record) { r.Boot = "b006" }), []snapshot.Process{member}, snapshot.Alive, nil, true, []string{"record 0", leaves}},
		{"of another namespace", stale(func(r *ledger.Record) { r.NS = 8 }), nil, snapshot.Dead, nil, true, []string{leaves}},
		{"of a namespace that has ended", stale(func(r *ledger.Record) { r.NS = 9 }), nil, snapshot.Alive, nil, true, []string{"record 0", leaves}},
		{"of a namespace that has ended, not covered", stale(func(r *ledger.Record) { r.NS = 9 }), nil, snapshot.Alive, nil, false, []string{leaves}},
		{"unfinished files", plain, nil, snapshot.Dead, []snapshot.Unfinished{{NS: 8, Watchdog: plain.Watchdog}, {NS: simSpace, Watchdog: plain.Watchdog},
			{NS: 9, Watchdog: plain.Watchdog}}, true, []string{"record 0", "unfinished 1", "unfinished 2", leaves}},
		{"unfinished, and its watchdog may be alive", plain, nil, snapshot.Unknown, []snapshot.Unfinished{{NS: simSpace, Watchdog: plain.Watchdog}}, true, []string{leaves}},
	} {
		s := &sweeper{stub: newStub(t), ended: 9}
		s.life = c.lives
		snap := &snapshot.Snapshot{Boot: simBoot, NS: simSpace, Tick: 1000, Records: []ledger.Record{c.record}, Procs: c.procs, Unfinished: c.unfinished,
			Lives: map[proc.ID]snapshot.Life{c.record.Worker: c.lives, c.record.Watchdog: snapshot.Dead, {PID: 6, Start: 6}: snapshot.Dead}}
		if err := Sweep(s, snap, func(string) bool { return c.covers }); err != nil || !slices.Equal(s.removed, c.want) {
			t.Errorf("%s: removed %q, %v; want %q", c.name, s.removed, err, c.want)
		}
	}
}

// A record that cannot be removed keeps none of the others.
func TestSweepGoesOnAfterAnError(t *testing.T) {
	s := &sweeper{stub: newStub(t), err: errFull}
	record := ledger.Record{RunID: theRun, Boot: "b006"}
	err := Sweep(s, &snapshot.Snapshot{Boot: simBoot, Records: []ledger.Record{record, record}}, func(string) bool { return true })
	if !errors.Is(err, errFull) || !slices.Contains(s.removed, "record 1") {
		t.Errorf("%v, removed %q", err, s.removed)
	}
}
