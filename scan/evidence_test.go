package scan

import (
	"testing"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

// Each kind of evidence by itself, and what makes it worthless.
func TestEvidence(t *testing.T) {
	play(t, []sceneTest{
		{"none at all", func(s *scene) { s.add(200); s.add(201, under(200)) }, want{}},
		{"environ", func(s *scene) { s.add(200, env(runX), owning(theBoss)) },
			want{"200 x": "dead end environ; its owner (PID 80) is gone; it is of the run by its environment"}},
		{"argv of an orphan", func(s *scene) {
			s.add(200, args(runX), under(1), session(200))
			s.add(201, env(runX), owning(theBoss))
		}, want{"200 x": "dead end argv; by its arguments", "201 x": "dead end environ"}},
		{"ledger", func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.Group, r.Session = shell, shell })
			s.add(200, inode(9200))
		}, want{"200 x": "dead end ledger; by the ledger"}},
		{"group", func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.Session = shell })
			s.add(201, group(200), bornAt(499))
		}, want{"201 x": "dead end group; process group 200 of a recorded worker"}},
		{"session", func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.Group = shell })
			s.add(201, session(200), group(201), bornAt(499))
		}, want{"201 x": "dead end session; session 200 of a recorded worker"}},
		{"cgroup", func(s *scene) { s.record(200); s.add(201, inside(0)) },
			want{"201 x": "dead end cgroup; the cgroup of a recorded worker"}},
		{"descent, through several, born in one tick too", func(s *scene) {
			s.add(200, env(runX), owning(theBoss))
			s.add(201, under(200))
			s.add(202, under(201), bornAt(301))
			s.add(203, under(202), session(203))
		}, want{"200 x": "dead end environ", "201 x": "dead end descendant; its parent (PID 200)",
			"202 x": "dead end descendant", "203 x": "dead end descendant"}},
		{"all of them", func(s *scene) {
			s.record(200)
			s.add(200, env(runX), session(200), inode(9200))
			s.add(201, env(runX), args(runX), session(200), inside(0), under(200))
		}, want{"200 x": "dead end environ+ledger+group+session",
			"201 x": "dead end argv+environ+group+session+cgroup+descendant"}},
		{"a child older than its parent is not its child", func(s *scene) {
			s.add(201, under(200), bornAt(299))
			s.add(200, env(runX), owning(theBoss))
		}, want{"200 x": "dead end environ"}},
		{"nor by its arguments", func(s *scene) {
			s.add(201, under(200), bornAt(299), args(runX))
			s.add(200, env(runX), owning(theBoss))
		}, want{"200 x": "dead end environ", "201 x": "dead skip argv; its parent (PID 200) is alive and not of it"}},
		{"descent does not go through watchdogs, nor the dead", func(s *scene) {
			s.add(200, env(runX), owning(theBoss))
			s.add(201, under(200), leash)
			s.add(202, under(201))
			s.add(203, under(200), state('Z', 1))
			s.add(204, under(203))
		}, want{"200 x": "dead end environ"}},
		{"a circle of parents", func(s *scene) {
			s.add(200, env(runX), owning(theBoss), under(202), bornAt(300))
			s.add(201, under(200), bornAt(300))
			s.add(202, under(201), bornAt(300))
		}, want{"200 x": "dead end environ+descendant", "201 x": "dead end descendant", "202 x": "dead end descendant"}},
		{"a circle of nothing but arguments", func(s *scene) {
			s.add(199, env(runX), owning(theBoss))
			s.add(200, args(runX), under(201), bornAt(300))
			s.add(201, args(runX), under(200), bornAt(300))
		}, want{"199 x": "dead end environ", "200 x": "dead skip argv+descendant", "201 x": "dead skip argv+descendant"}},
		{"a zombie does not count, a zombie leader with threads does", func(s *scene) {
			s.record(200)
			s.add(200, env(runX), session(200), inode(9200), state('Z', 1))
			s.add(201, env(runX), state('Z', 2))
			s.add(202, env(runX), state('X', 0))
		}, want{"201 x": "dead end environ"}},
	})
}

// A recorded worker is found again by its inode, or by the tick of its birth
// and something else that agrees.
func TestRecordedWorker(t *testing.T) {
	alone := func(r *ledger.Record) { r.Group, r.Session = shell, shell }
	play(t, []sceneTest{
		{"another inode", func(s *scene) { s.record(200, alone); s.add(200, inode(9201)) }, want{}},
		{"the same inode is enough", func(s *scene) { s.record(200); s.add(200, inode(9200)) }, want{"200 x": "dead end ledger"}},
		{"another tick", func(s *scene) { s.record(200, noInode, alone); s.add(200, bornAt(301)) }, want{}},
		{"the tick alone", func(s *scene) { s.record(200, noInode); s.add(200) }, want{}},
		{"the tick and one of group and session", func(s *scene) { s.record(200, noInode); s.add(200, group(200)) }, want{}},
		{"the tick, group and session", func(s *scene) { s.record(200, noInode); s.add(200, session(200)) },
			want{"200 x": "dead end ledger+group+session"}},
		{"the tick and its environment", func(s *scene) { s.record(200, noInode); s.add(200, env(runX)) },
			want{"200 x": "dead end environ+ledger"}},
		{"the tick and its arguments", func(s *scene) { s.record(200, noInode); s.add(200, args(runX)) },
			want{"200 x": "dead skip argv; only its arguments"}},
		{"the tick and another's labels", func(s *scene) { s.record(200, noInode); s.add(200, env(runY)) },
			want{"200 y": "unclaimed leave environ; no owner of it is known"}},
		{"another user's record", func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.UID = user + 1 })
			s.add(200, inode(9200), session(200), inside(0))
			s.add(201, session(200), inside(0))
		}, want{}},
		{"of another boot", func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.Boot = "b006" })
			s.add(200, inode(9200), session(200))
		}, want{}},
		{"of another namespace", func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.NS = 8 })
			s.add(200, inode(9200), session(200))
		}, want{}},
		{"a process of another namespace is not found by PIDs", func(s *scene) {
			s.record(200)
			s.add(200, inode(9200), session(200), inside(0), foreign)
		}, want{}},
	})
}

// A group's or session's number may have been taken anew.
func TestGroupsOfTheDead(t *testing.T) {
	born := func(tick uint64, c ...change) func(*scene) {
		return func(s *scene) { s.record(200); s.add(201, append([]change{session(200), bornAt(tick)}, c...)...) }
	}
	play(t, []sceneTest{
		{"born before the worker", born(299), want{}},
		{"born with it", born(300), want{"201 x": "dead end group+session"}},
		{"born while it lived", born(499), want{"201 x": "dead end group+session"}},
		{"born when it was last seen", born(500), want{}},
		{"born later, and labelled", born(900, env(runX)), want{"201 x": "dead end environ+group+session"}},
		{"born later, and a grep for it", born(900, args(runX)), want{"201 x": "dead skip argv; only its arguments name"}},
		{"born later, an orphan by its arguments", born(900, args(runX), under(1)), want{"201 x": "dead end argv"}},
		{"born later, and labelled otherwise", born(900, env(runY)), want{"201 y": "unclaimed leave environ"}},
		{"born later, the worker lives", func(s *scene) {
			s.record(200)
			s.add(200, inode(9200), session(200))
			s.add(201, session(200), bornAt(999))
			s.add(202, session(200), bornAt(200))
		}, want{"200 x": "dead end ledger+group+session", "201 x": "dead end group+session", "202 x": "dead end group+session"}},
		{"the worker is a zombie: it keeps the number", func(s *scene) {
			s.record(200)
			s.add(200, inode(9200), session(200), state('Z', 1))
			s.add(201, session(200), bornAt(999))
		}, want{"201 x": "dead end group+session"}},
		{"another process has the PID, and an old one joined its group", func(s *scene) {
			s.record(200)
			s.add(200, inode(9201), session(200), bornAt(900))
			s.add(201, session(200), bornAt(499))
			s.add(202, session(200), bornAt(499), env(runX))
		}, want{"202 x": "dead end environ+group+session"}},
		{"a group that the worker did not lead", func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.Group, r.Session = 150, 150 })
			s.add(201, session(150), bornAt(400))
		}, want{}},
	})
}

// A process that is born into the group of a member while that member is being ended.
func TestHeld(t *testing.T) {
	h := snapshot.Held{Run: snapshot.Key{ID: runX, UID: user}, PID: 200, Group: 200, Session: 200, From: 600, Seen: 700}
	held := func(h snapshot.Held, c ...change) func(*scene) {
		return func(s *scene) {
			s.Held = append(s.Held, h)
			s.record(nowhere) // says that the run is dead
			s.add(201, c...)
		}
	}
	h2 := h
	h2.Group = 150
	play(t, []sceneTest{
		{"before", held(h, session(200), bornAt(599)), want{}},
		{"first", held(h, session(200), bornAt(600)), want{"201 x": "dead end group+session"}},
		{"last", held(h, group(200), bornAt(699)), want{"201 x": "dead end group"}},
		{"after", held(h, session(200), bornAt(700)), want{}},
		{"another user's", held(h, session(200), bornAt(650), of(user+1)), want{}},
		{"another group", held(h2, group(150), bornAt(650)), want{}},
		{"the session still", held(h2, session(200), group(150), bornAt(650)), want{"201 x": "dead end session"}},
		{"of another namespace", held(h, session(200), bornAt(650), foreign), want{}},
		{"of another run itself", held(h, session(200), bornAt(650), env(runY)), want{"201 y": "unclaimed leave environ"}},
	})
}

func TestInheritedGivesWay(t *testing.T) {
	play(t, []sceneTest{
		{"a member started another run", func(s *scene) {
			s.add(200, env(runX), owning(theBoss))
			s.add(201, under(200), env(runY), owning(theBossY))
			s.living(theBossY)
			s.add(202, under(201))
		}, want{"200 x": "dead end environ", "201 y": "alive leave environ; its owner (PID 81) lives", "202 y": "alive leave descendant"}},
		{"in the group of the other", func(s *scene) {
			s.record(200)
			s.add(201, session(200), bornAt(400), env(runY))
		}, want{"201 y": "unclaimed leave environ"}},
		{"group and descent disagree", func(s *scene) {
			s.record(200)
			s.add(300, env(runY), owning(theBossY))
			s.living(theBossY)
			s.add(301, under(300), session(200), bornAt(450))
		}, want{"300 y": "alive leave environ", "301 y": "alive leave descendant",
			"301 x": "dead skip group+session; the evidence contradicts itself: run"}},
		{"and both runs are dead", func(s *scene) {
			s.record(200)
			s.add(300, env(runY), owning(theBossY))
			s.add(301, under(300), session(200), bornAt(450))
		}, want{"300 y": "dead end environ", "301 y": "dead end descendant", "301 x": "dead end group+session"}},
		// 302 has two runs by its descent, also where 301 is judged before 300.
		{"a disagreement is inherited", func(s *scene) {
			s.record(200)
			s.add(301, under(300), session(200), bornAt(450))
			s.add(302, under(301), session(200), bornAt(460))
			s.add(303, under(302), bornAt(470))
			s.add(300, env(runY), owning(theBossY))
			s.living(theBossY)
		}, want{"300 y": "alive leave environ", "301 y": "alive leave descendant", "302 y": "alive leave descendant",
			"303 y": "alive leave descendant", "301 x": "dead skip group+session", "303 x": "dead skip descendant; contradicts",
			"302 x": "dead skip group+session+descendant; contradicts"}},
	})
}

func TestStale(t *testing.T) {
	worker := proc.ID{PID: 200, Start: 300, Inode: 9200}
	for _, c := range []struct {
		name  string
		stale bool
		set   func(*scene)
	}{
		{"no process is left", true, func(s *scene) { s.record(200) }},
		{"the watchdog lives", false, func(s *scene) { s.record(200); s.living(theDog) }},
		{"the watchdog may live", false, func(s *scene) { s.record(200); s.unknown(theDog) }},
		{"the worker lives", false, func(s *scene) { s.record(200); s.living(worker) }},
		{"the worker may live", false, func(s *scene) { s.record(200); s.unknown(worker) }},
		{"the owner lives", true, func(s *scene) { s.record(200); s.living(theBoss) }},
		{"one in its group", false, func(s *scene) { s.record(200); s.add(201, group(200)) }},
		{"one in its session", false, func(s *scene) { s.record(200); s.add(201, session(200), group(9)) }},
		{"one in its cgroup", false, func(s *scene) { s.record(200); s.add(201, inside(0)) }},
		{"one in another's cgroup", true, func(s *scene) { s.record(200); s.record(210); s.add(201, inside(1)) }},
		{"a zombie in its group", true, func(s *scene) { s.record(200); s.add(201, group(200), state('Z', 1)) }},
		{"of another boot", true, func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.Boot = "b006" })
			s.living(worker)
		}},
		{"of another namespace", false, func(s *scene) { s.record(200, func(r *ledger.Record) { r.NS = 8 }) }},
		{"which processes are in its cgroup is unknown", false, func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.Cgroup = "/leaf" })
			s.Partial = map[string]bool{"/leaf": true}
		}},
		{"a group that it did not lead", true, func(s *scene) {
			s.record(200, func(r *ledger.Record) { r.Group, r.Session = 150, 150 })
			s.add(201, session(150))
		}},
	} {
		s := newScene()
		if c.set(s); Stale(&s.Snapshot, &s.Records[0]) != c.stale {
			t.Errorf("%s: stale is %t", c.name, !c.stale)
		}
	}
}
