package scan

import (
	"fmt"
	"slices"
	"testing"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

func called(id string) func(*ledger.Record) {
	return func(r *ledger.Record) { r.WorkerID = id }
}

var otherDog = proc.ID{PID: 71, Start: 61, Inode: 6100}

func by(dog proc.ID) func(*ledger.Record) { return func(r *ledger.Record) { r.Watchdog = dog } }

// twoWorkers are worker w1 (200), with a dead watchdog, and w2 (210), with a living one.
// The owner of their run lives.
func twoWorkers(s *scene) {
	s.living(theBoss)
	s.living(otherDog)
	s.record(200, called("w1"))
	s.record(210, called("w2"), by(otherDog))
	s.add(200, inode(9200), session(200), env(runX), workerID("w1"))
	s.add(201, under(200))
	s.add(210, inode(9210), session(210), env(runX), workerID("w2"))
	s.add(211, under(210))
}

func unguardedToo(s *scene) { s.request.Unguarded = true }

func TestUnguarded(t *testing.T) {
	const mine, yours = "environ+ledger+group+session", "its owner (PID 80) lives"
	with := func(more func(*scene)) func(*scene) {
		return func(s *scene) { twoWorkers(s); unguardedToo(s); more(s) }
	}
	play(t, []sceneTest{
		{"a plain reap leaves it alone", twoWorkers, want{
			"200 x": "alive leave " + mine + "; unguarded, for its watchdog (PID 70) is gone: left alone unless --unguarded",
			"201 x": "alive leave descendant; unguarded", "210 x": "alive leave " + mine + "; " + yours, "211 x": "alive leave descendant; " + yours}},
		{"it and its tree, and no other worker", with(func(s *scene) {}), want{
			"200 x": "alive end " + mine + "; its watchdog (PID 70) is gone, and its owner (PID 80) lives",
			"201 x": "alive end descendant; its watchdog (PID 70) is gone",
			"210 x": "alive leave " + mine + "; " + yours, "211 x": "alive leave descendant; " + yours}},
		{"all that speaks for it", with(func(s *scene) {
			s.Procs = nil
			s.add(202, env(runX), workerID("w1"))                            // its label
			s.add(203, session(200), bornAt(450))                            // its session, while it lived
			s.add(204, inside(0))                                            // its cgroup
			s.add(205, under(204), env(runX))                                // descent, and a label without a worker
			s.add(206, env(runX))                                            // some other process of the run
			s.add(207, env(runX), workerID("w2"))                            // another worker's
			s.add(208, env(runX), workerID("w3"))                            // without a record
			s.add(209, under(204), env(runX), workerID("w2"))                // another worker's, started by it
			s.add(212, args(runX), under(1))                                 // arguments alone
			s.add(213, under(204), env(runX), workerID("w3"))                // another, started by it
			s.add(214, inside(0), env(runX), workerID("w2"))                 // in its cgroup, guarded by another
			s.add(216, session(200), env(runX), workerID("w3"), bornAt(450)) // in its session, and another's by its label
			s.add(215, under(202), session(215), env(runX), bornAt(1))       // older than its parent
		}), want{"202 x": "alive end environ", "203 x": "alive end group+session", "204 x": "alive end cgroup",
			"205 x": "alive end environ+descendant", "206 x": "alive leave environ", "207 x": "alive leave environ",
			"208 x": "alive leave environ", "209 x": "alive leave environ+descendant", "212 x": "alive leave argv",
			"213 x": "alive leave environ+descendant", "214 x": "alive leave environ+cgroup", "215 x": "alive leave environ",
			"216 x": "alive leave environ+group+session"}},
		{"a record without a worker ID", with(func(s *scene) {
			s.Records[0].WorkerID = ""
			s.add(202, under(200), env(runX), workerID("w1"))
			s.add(203, session(200), env(runX), workerID("w1"), bornAt(450))
		}), want{"200 x": "alive end " + mine, "201 x": "alive end descendant", "202 x": "alive end environ+descendant",
			"203 x": "alive end environ+group+session", "210 x": "alive leave " + mine, "211 x": "alive leave descendant"}},
		{"its watchdog may live", with(func(s *scene) { s.unknown(theDog) }), want{"200 x": "alive leave " + mine + "; " + yours,
			"201 x": "alive leave descendant", "210 x": "alive leave " + mine, "211 x": "alive leave descendant"}},
		{"another watchdog guards it", with(func(s *scene) { s.record(200, by(otherDog), called("w1")) }),
			want{"200 x": "alive leave " + mine, "201 x": "alive leave descendant", "210 x": "alive leave " + mine, "211 x": "alive leave descendant"}},
		{"another, without a record", with(func(s *scene) { s.add(72, guards(200)) }),
			want{"200 x": "alive leave " + mine, "201 x": "alive leave descendant", "210 x": "alive leave " + mine, "211 x": "alive leave descendant"}},
		{"the next worker of that ID, without a record", with(func(s *scene) {
			s.add(72, leash)
			s.add(220, under(72), env(runX), workerID("w1"), session(220))
			s.add(221, under(1), env(runX), workerID("w1"), session(221)) // it may be of either
		}), want{"200 x": "alive end " + mine, "201 x": "alive end descendant", "210 x": "alive leave " + mine,
			"211 x": "alive leave descendant", "220 x": "alive leave environ", "221 x": "alive leave environ"}},
		{"the next worker of that ID", with(func(s *scene) {
			s.record(220, called("w1"), by(otherDog))
			s.add(220, inode(9220), session(220), env(runX), workerID("w1"))
		}), want{"200 x": "alive leave " + mine, "201 x": "alive leave descendant", "210 x": "alive leave " + mine,
			"211 x": "alive leave descendant", "220 x": "alive leave " + mine}},
		{"the owner cannot be checked", with(func(s *scene) { s.unknown(theBoss) }), want{"200 x": "alive end " + mine,
			"201 x": "alive end descendant", "210 x": "alive leave " + mine, "211 x": "alive leave descendant"}},
		{"the owner is dead: a plain reap", with(func(s *scene) { s.Lives[theBoss] = snapshot.Dead }), want{"200 x": "dead end " + mine + "; its owner",
			"201 x": "dead end descendant", "210 x": "dead skip " + mine, "211 x": "dead skip descendant"}},
		{"no owner is known", func(s *scene) {
			unguardedToo(s)
			s.record(200, lifeline)
			s.add(200, inode(9200), session(200))
		}, want{"200 x": "unclaimed leave ledger+group+session"}},
		{"of another namespace", func(s *scene) {
			unguardedToo(s)
			s.living(theBoss)
			s.record(200, func(r *ledger.Record) { r.NS++ })
			s.add(200, inode(9200), env(runX), owning(theBoss))
		}, want{"200 x": "alive leave environ"}},
		{"what must never be touched", with(func(s *scene) { s.ancestor(200); s.add(202, session(200), bornAt(450), mixed) }), want{
			"200 x": "alive skip " + mine + "; ancestor", "201 x": "alive skip descendant", "202 x": "alive skip group+session",
			"210 x": "alive leave " + mine, "211 x": "alive leave descendant"}},
	})
	s := newScene()
	twoWorkers(s)
	for _, r := range Judge(&s.Snapshot, s.request) {
		for _, m := range r.Members {
			if m.Unguarded != (m.PID < 210) {
				t.Errorf("%d: unguarded is %t", m.PID, m.Unguarded)
			}
		}
	}
}

// Beside --unguarded a named run is no more than the one that is meant.
func TestUnguardedOfANamedRun(t *testing.T) {
	s := newScene()
	twoWorkers(s)
	unguardedToo(s)
	s.record(230, y)
	s.rec().Group = 0
	s.living(theBossY)
	s.add(230, inode(9230), env(runY))
	s.add(231, env("zzzzzzz"), owning(proc.ID{PID: 82, Start: 52}))
	s.Lives[proc.ID{PID: 82, Start: 52}] = snapshot.Dead
	for _, c := range []struct {
		named []string
		want  []int
	}{{nil, []int{200, 201, 230, 231}}, {[]string{runX}, []int{200, 201}}, {[]string{runY}, []int{230}},
		{[]string{"zzzzzzz"}, []int{231}}, {[]string{"aaaaaaa"}, nil}} {
		s.ask(c.named...)
		if got := sortedEnds(s); !slices.Equal(got, c.want) {
			t.Errorf("%q: %v instead of %v", c.named, got, c.want)
		}
	}
}

func sortedEnds(s *scene) (pids []int) {
	for pid := range ends(&s.Snapshot, s.request) {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

func TestOneWorkerOfARun(t *testing.T) {
	all := func(s *scene) {
		twoWorkers(s)
		s.add(202, env(runX), workerID("w1"), session(202)) // by its label
		s.add(203, session(200), bornAt(450))               // by the session
		s.add(204, env(runX))                               // of no worker that is known
		s.add(205, args(runX), under(1))                    //
		s.add(206, under(202))                              //
		s.add(207, under(210), env(runX), workerID("w1"))   // w2 started it: it says w1, and w2's watchdog would end it
		s.add(208, inside(0, 1))                            // of both
		s.add(209, env(runY), workerID("w1"))               // of another run
	}
	for _, c := range []struct {
		workers []string
		want    []int
		skipped []int
	}{
		{[]string{"w1"}, []int{200, 201, 202, 203, 206, 207}, []int{208}},
		{[]string{"w2"}, []int{210, 211}, []int{208}},
		{[]string{"w1", "w2"}, []int{200, 201, 202, 203, 206, 207, 208, 210, 211}, nil},
		{[]string{"w"}, nil, nil}, {[]string{""}, nil, nil}, {[]string{"w1\x00"}, nil, nil},
	} {
		s := newScene()
		all(s)
		s.ask(runX)
		s.request.WorkerIDs = c.workers
		if got := sortedEnds(s); !slices.Equal(got, c.want) {
			t.Errorf("%q: %v instead of %v: %v", c.workers, got, c.want, s.verdicts())
		}
		var skipped []int
		for _, r := range Judge(&s.Snapshot, s.request) {
			for _, m := range r.Members {
				if m.Verdict == Skip {
					skipped = append(skipped, m.PID)
				}
			}
		}
		if !slices.Equal(skipped, c.skipped) {
			t.Errorf("%q: skipped %v instead of %v", c.workers, skipped, c.skipped)
		}
	}
	// With a record that names another worker than the label, it cannot be told.
	s := newScene()
	s.record(200, called("w1"))
	s.add(200, inode(9200), env(runX), workerID("w2"))
	s.ask(runX)
	s.request.WorkerIDs = []string{"w1"}
	check(t, s, want{"200 x": "dead skip environ+ledger; the evidence names several workers of its run"})
}

// What is born into the group of a worker while that is being ended is ended too.
func TestBornWhileAWorkerIsEnded(t *testing.T) {
	for _, request := range []Request{{Unguarded: true}, {RunIDs: []string{runX}, WorkerIDs: []string{"w1"}}} {
		s := newScene()
		twoWorkers(s)
		s.Procs = s.Procs[2:] // the worker is gone
		s.request = request
		s.Held = []snapshot.Held{{Run: snapshot.Key{ID: runX, UID: user}, PID: 200, Group: 200, Session: 200, From: 900, Seen: 960}}
		s.add(222, session(200), under(1), bornAt(950))
		s.add(223, session(200), under(1), bornAt(970))
		s.add(224, under(222), session(224), bornAt(980))
		if got := sortedEnds(s); !slices.Equal(got, []int{222, 224}) {
			t.Errorf("%+v: %v, %v", request, got, s.verdicts())
		}
	}
}

// Hostile ledgers name one process in thousands of records.
func TestRecordsOfOneProcessAreBounded(t *testing.T) {
	s := newScene()
	s.living(theBoss)
	for i := range 2000 {
		s.record(200, called(fmt.Sprint("w", i)))
	}
	s.add(200, inode(9200), session(200))
	for i := range 2000 {
		s.add(1000+i, session(200))
	}
	s.request = Request{Unguarded: true}
	if got := sortedEnds(s); len(got) != 2001 {
		t.Errorf("%d", len(got))
	}
}
