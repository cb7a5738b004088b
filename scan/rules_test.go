package scan

import (
	"testing"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

func TestOwners(t *testing.T) {
	with := func(text string) func(*scene) { return func(s *scene) { s.add(200, env(runX), ownedBy(text)) } }
	play(t, []sceneTest{
		{"none", with(""), want{"200 x": "unclaimed leave environ; left alone unless --unclaimed"}},
		{"gone", with(ownerText(theBoss, boot, space)), want{"200 x": "dead end environ; its owner (PID 80) is gone"}},
		{"its life was not asked for", with(ownerText(proc.ID{PID: nowhere, Start: 5}, boot, space)),
			want{"200 x": "alive leave environ; its owner (PID 4000) cannot be checked"}},
		{"of another boot", with(ownerText(theBoss, "b006", space)), want{"200 x": "dead end environ; its owner was of another boot"}},
		{"of another boot and namespace", with(ownerText(theBoss, "b006", 8)), want{"200 x": "dead end environ; another boot"}},
		{"of another namespace", with(ownerText(theBoss, boot, 8)),
			want{"200 x": "alive leave environ; its owner (PID 80 of another PID namespace) cannot be checked"}},
		{"unreadable", with("80:50:b007"), want{"200 x": "unclaimed leave environ"}},
		{"unreadable, the run is dead by another", func(s *scene) {
			s.add(200, env(runX), ownedBy("80:50"))
			s.add(201, env(runX), owning(theBoss))
			s.add(202, under(200))
		}, want{"200 x": "dead skip environ; its LEASH_RUN_OWNER cannot be read", "201 x": "dead end environ",
			"202 x": "dead skip descendant; it is of the run only as a child of PID 200, which is left alone"}},
		{"two, one lives", func(s *scene) {
			s.living(theBossY)
			s.add(200, env(runX), owning(theBoss))
			s.add(201, env(runX), owning(theBossY))
		}, want{"200 x": "alive leave environ; (PID 81) lives", "201 x": "alive leave environ"}},
		{"two, one cannot be checked", func(s *scene) {
			s.unknown(theBossY)
			s.add(200, env(runX), owning(theBossY))
			s.add(201, env(runX), owning(theBoss))
		}, want{"200 x": "alive leave environ; (PID 81) cannot be checked", "201 x": "alive leave environ"}},
		{"one that is alive is shown rather than one that may be", func(s *scene) {
			s.living(theBossY)
			s.add(200, env(runX), ownedBy(ownerText(theBoss, boot, 8)))
			s.add(201, env(runX), owning(theBossY))
		}, want{"200 x": "alive leave environ; (PID 81) lives", "201 x": "alive leave environ"}},
		{"the number is another's by now", func(s *scene) {
			s.living(proc.ID{PID: boss, Start: 900})
			s.add(200, env(runX), owning(theBoss))
		}, want{"200 x": "dead end environ"}},
		{"recorded, and lives", func(s *scene) { s.living(theBoss); s.record(200); s.add(200, inode(9200)) },
			want{"200 x": "alive leave ledger"}},
		{"two recorded, one lives", func(s *scene) {
			s.living(theBossY)
			s.record(200, func(r *ledger.Record) { r.Parents = []proc.ID{theBossY, theBoss} })
			s.add(200, inode(9200))
		}, want{"200 x": "alive leave ledger"}},
		{"recorded in another namespace", func(s *scene) {
			s.record(nowhere, func(r *ledger.Record) { r.NS = 8 })
			s.add(200, env(runX), owning(theBoss))
		}, want{"200 x": "alive leave environ; another PID namespace"}},
		{"recorded in another boot", func(s *scene) {
			s.record(nowhere, func(r *ledger.Record) { r.Boot = "b006" })
			s.add(200, env(runX))
		}, want{"200 x": "unclaimed leave environ"}},
		{"none recorded, the watchdog is gone", func(s *scene) { s.record(200, lifeline); s.add(200, inode(9200)) },
			want{"200 x": "unclaimed leave ledger"}},
		{"none recorded, the watchdog lives", func(s *scene) {
			s.living(theDog)
			s.record(200, lifeline)
			s.add(200, inode(9200))
		}, want{"200 x": "alive leave ledger; a watchdog guards it"}},
		{"none recorded, the watchdog may live", func(s *scene) {
			s.unknown(theDog)
			s.record(nowhere, lifeline)
			s.add(200, env(runX))
		}, want{"200 x": "alive leave environ; a watchdog guards it"}},
		{"one user cannot declare another's run dead", func(s *scene) {
			s.add(200, env(runX), owning(theBoss), of(user+1))
			s.add(201, env(runX))
		}, want{"200 x of 501": "dead end environ", "201 x": "unclaimed leave environ"}},
		{"nor can what runs with two users' rights", func(s *scene) {
			s.add(200, env(runX), owning(theBoss), mixed)
			s.add(201, env(runX))
		}, want{"200 x": "unclaimed leave environ", "201 x": "unclaimed leave environ"}},
		{"nor what names two runs", func(s *scene) {
			s.add(200, env(runX, runY), owning(theBoss))
			s.add(201, env(runX))
		}, want{"200 x": "unclaimed leave environ", "200 y": "unclaimed leave environ", "201 x": "unclaimed leave environ"}},
		{"nor a watchdog or a zombie", func(s *scene) {
			s.add(200, env(runX), owning(theBoss), leash)
			s.add(201, env(runX), owning(theBoss), state('Z', 1))
			s.add(202, env(runX))
		}, want{"202 x": "unclaimed leave environ"}},
	})
}

func TestArgumentsAlone(t *testing.T) {
	// The run is dead: another process of it says so.
	with := func(set func(*scene)) func(*scene) { return func(s *scene) { s.record(nowhere); set(s) } }
	argv := func(c ...change) func(*scene) {
		return with(func(s *scene) { s.add(200, append([]change{args(runX)}, c...)...) })
	}
	initIs := func(name string, sid, mine int) func(*scene) {
		return with(func(s *scene) {
			s.parent(snapshot.Process{Info: proc.Info{ID: proc.ID{PID: 1, Start: 1}, SID: sid}, Name: name})
			s.add(200, args(runX), under(1), session(mine))
		})
	}
	const left = "dead skip argv; only its arguments name the run"
	play(t, []sceneTest{
		{"a grep at a prompt", argv(), want{"200 x": left + ", and its parent (PID 90) is alive and not of it"}},
		{"the parent is not known", argv(under(nowhere)), want{"200 x": left}},
		{"no parent at all", argv(under(0)), want{"200 x": left}},
		{"init has it", argv(under(1)), want{"200 x": "dead end argv"}},
		{"PID 1 is a program, and of its session", initIs("node", 1, 1), want{"200 x": left}},
		{"PID 1 is a program, and not of its session", initIs("node", 1, 200), want{"200 x": "dead end argv"}},
		{"PID 1 is an init, and of its session", initIs("tini", 1, 1), want{"200 x": "dead end argv"}},
		{"the parent is younger", with(func(s *scene) {
			s.parent(snapshot.Process{Info: proc.Info{ID: proc.ID{PID: 95, Start: 301}}})
			s.add(200, args(runX), under(95))
		}), want{"200 x": "dead end argv"}},
		{"the parent is as old", with(func(s *scene) {
			s.parent(snapshot.Process{Info: proc.Info{ID: proc.ID{PID: 95, Start: 300}}})
			s.add(200, args(runX), under(95))
		}), want{"200 x": left}},
		{"a user's systemd has it", with(func(s *scene) {
			s.parent(snapshot.Process{Info: proc.Info{ID: proc.ID{PID: 95, Start: 20}}, Name: "systemd"})
			s.add(200, args(runX), under(95))
		}), want{"200 x": "dead end argv"}},
		{"the parent is of the run", with(func(s *scene) {
			s.add(200, env(runX))
			s.add(201, args(runX), under(200))
		}), want{"200 x": "dead end environ", "201 x": "dead end argv+descendant"}},
		{"the parent is of another", with(func(s *scene) {
			s.add(200, env(runY))
			s.add(201, args(runX), under(200))
		}), want{"200 y": "unclaimed leave environ", "201 x": left}},
		{"what a bystander starts with the same arguments", with(func(s *scene) { // timeout 9 grep --run-id X
			s.add(200, args(runX))
			s.add(201, args(runX), under(200))
			s.add(202, under(201))
		}), want{"200 x": left, "201 x": "dead skip argv+descendant; its parent (PID 200) is left alone",
			"202 x": "dead skip descendant; which is left alone"}},
		{"what an orphan starts", with(func(s *scene) {
			s.add(200, args(runX), under(1))
			s.add(201, args(runX), under(200))
		}), want{"200 x": "dead end argv", "201 x": "dead end argv+descendant"}},
		{"a child of what is left alone", with(func(s *scene) {
			s.add(200, env(runX), mixed)
			s.add(201, args(runX), under(200))
		}), want{"200 x": "dead skip environ; rights of more than one user", "201 x": "dead skip argv+descendant; is left alone"}},
		{"in the worker's group", with(func(s *scene) {
			s.record(300)
			s.add(301, args(runX), session(300), bornAt(450))
		}), want{"301 x": "dead end argv+group+session"}},
		{"its run was named", with(func(s *scene) {
			s.add(200, args(runX))
			s.ask(runX)
		}), want{"200 x": "dead end argv; its run was named"}},
		{"no owner is known", func(s *scene) { s.add(200, args(runX), under(1)); s.add(201, args(runX)) },
			want{"200 x": "unclaimed leave argv", "201 x": "unclaimed leave argv"}},
		{"unclaimed runs are to be ended", func(s *scene) {
			s.request.Unclaimed = true
			s.add(200, args(runX), under(1))
			s.add(201, args(runX))
		}, want{"200 x": "unclaimed end argv", "201 x": "unclaimed skip argv"}},
	})
}

func TestContradictions(t *testing.T) {
	dead := func(c ...change) func(*scene) {
		return func(s *scene) { s.record(198); s.record(210, y); s.add(200, c...) }
	}
	play(t, []sceneTest{
		{"arguments and environment", dead(args(runY), env(runX)), want{
			"200 x": "dead skip environ; the evidence contradicts itself: run yyyyyyy (argv) and run xxxxxxx (environ)", "200 y": "dead skip argv"}},
		{"two in one vector", dead(args(runX, runY)), want{"200 x": "dead skip argv; contradicts", "200 y": "dead skip argv"}},
		{"two variables", dead(env(runX, runY)), want{"200 x": "dead skip environ; contradicts", "200 y": "dead skip environ"}},
		{"ledger and environment", dead(env(runY), inode(9198), func(p *snapshot.Process) { p.PID = 198 }), want{"198 x": "dead skip ledger; contradicts", "198 y": "dead skip environ"}},
		{"named runs too", func(s *scene) { dead(args(runY), env(runX))(s); s.ask(runX, runY) },
			want{"200 x": "dead skip environ; contradicts", "200 y": "dead skip argv"}},
		{"its child has one only, by its labels", func(s *scene) {
			dead(args(runY), env(runX))(s)
			s.add(201, env(runX), under(200))
		}, want{"200 x": "dead skip environ", "200 y": "dead skip argv", "201 x": "dead end environ+descendant"}},
		{"its child has none of its own", func(s *scene) { dead(args(runY), env(runX))(s); s.add(201, under(200)) },
			want{"200 x": "dead skip environ", "200 y": "dead skip argv", "201 x": "dead skip descendant", "201 y": "dead skip descendant"}},
	})
}

func TestWatchdogs(t *testing.T) {
	recorded := func(s *scene, r ...func(*ledger.Record)) {
		s.record(200, r...)
		s.rec().WorkerID = "w1"
		s.add(200, inode(9200), session(200), env(runX), workerID("w1"))
		s.add(wdog, bornAt(60), inode(6000), leash, env(runX))
	}
	play(t, []sceneTest{
		{"a worker ID without the run ID in its environment", func(s *scene) {
			s.living(theDog)
			s.record(200, called("w1"))
			s.add(201, args(runX), under(1), session(201), workerID("w1"))
		}, want{"201 x": "dead end argv"}},
		{"the watchdog that was ending it is dead, and another guards it", func(s *scene) {
			s.living(theBoss)
			s.living(otherDog)
			s.record(200, ending)
			s.record(200, by(otherDog))
			s.add(200, inode(9200), session(200))
			s.ask(runX)
		}, want{"200 x": "alive end ledger+group+session; its run was named"}},
		{"it is ending its worker, for the owner died", func(s *scene) {
			s.living(theDog)
			recorded(s)
			s.add(201, under(200), session(201))
			s.add(202, session(200), bornAt(450))
			s.add(203, env(runX), workerID("w1"))
			s.add(204, env(runX), workerID("w2"))
			s.add(205, inside(0))
		}, want{"200 x": "dead skip environ+ledger+group+session; its watchdog (PID 70) is ending it", "201 x": "dead skip descendant",
			"202 x": "dead skip group+session; (PID 70)", "203 x": "dead skip environ; (PID 70)", "204 x": "dead end environ",
			"205 x": "dead skip cgroup; (PID 70)"}},
		{"it may live", func(s *scene) { s.unknown(theDog); recorded(s) }, want{"200 x": "dead skip environ+ledger+group+session; is ending it"}},
		{"it is gone", func(s *scene) { recorded(s) }, want{"200 x": "dead end environ+ledger+group+session"}},
		{"it guards, and the run was named", func(s *scene) { s.living(theDog); s.living(theBoss); recorded(s); s.ask(runX) },
			want{"200 x": "alive end environ+ledger+group+session; its run was named"}},
		{"it is ending, and the run was named", func(s *scene) {
			s.living(theDog)
			s.living(theBoss)
			recorded(s, ending)
			s.ask(runX)
		}, want{"200 x": "alive skip environ+ledger+group+session; is ending it"}},
		{"it is gone in the middle of ending", func(s *scene) { recorded(s, ending) },
			want{"200 x": "dead end environ+ledger+group+session"}},
		{"on a lifeline, while the run is dead by another worker", func(s *scene) {
			s.living(theDog)
			recorded(s, lifeline)
			s.add(201, env(runX), owning(theBoss))
		}, want{"200 x": "alive leave environ+ledger+group+session; lifeline", "201 x": "alive leave environ; lifeline"}},
		{"no record: its children are its", func(s *scene) {
			s.add(71, leash)
			s.add(200, under(71), env(runX), owning(theBoss))
			s.add(201, under(200))
			s.add(202, env(runX))
		}, want{"200 x": "dead skip environ; its watchdog (PID 71) is ending it", "201 x": "dead skip descendant; (PID 71)", "202 x": "dead end environ"}},
		{"no record, no owner", func(s *scene) {
			s.add(71, leash)
			s.add(200, under(71), env(runX))
			s.request.Unclaimed = true
		}, want{"200 x": "alive leave environ; a watchdog guards it"}},
		{"no record: the worker that its arguments name", func(s *scene) {
			s.add(71, guards(200))
			s.add(200, env(runX), owning(theBoss))
			s.add(201, under(200))
			s.add(202, env(runX))
		}, want{"200 x": "dead skip environ; (PID 71)", "201 x": "dead skip descendant; (PID 71)", "202 x": "dead end environ"}},
		{"no record: another user's", func(s *scene) {
			s.add(71, guards(200), of(1001))
			s.add(200, env(runX), owning(theBoss))
		}, want{"200 x": "dead end environ"}},
		{"no record: root's", func(s *scene) {
			s.add(71, guards(200), of(0))
			s.add(200, env(runX), owning(theBoss))
		}, want{"200 x": "dead skip environ; (PID 71)"}},
		{"no record: of another PID namespace", func(s *scene) {
			s.add(71, guards(200), foreign)
			s.add(200, env(runX), owning(theBoss))
		}, want{"200 x": "dead end environ"}},
		{"on a lifeline, and ending", func(s *scene) {
			s.living(theDog)
			recorded(s, lifeline, ending)
			s.add(201, env(runX), owning(theBoss))
		}, want{"200 x": "dead skip environ+ledger+group+session; (PID 70)", "201 x": "dead end environ"}},
		{"a dead watchdog's arguments say nothing", func(s *scene) {
			s.add(71, guards(200), state('Z', 1))
			s.add(200, env(runX), owning(theBoss))
		}, want{"200 x": "dead end environ"}},
		{"it names no process", func(s *scene) { s.add(71, guards(nowhere)); s.add(200, env(runX), owning(theBoss)) },
			want{"200 x": "dead end environ"}},
		{"recorded: its arguments are not needed", func(s *scene) {
			s.living(theDog)
			s.record(200)
			s.add(wdog, bornAt(60), inode(6000), guards(300))
			s.add(300, env(runX))
		}, want{"300 x": "dead end environ"}},
		{"a run within a run", func(s *scene) { // the watchdog of run Y is started by a worker of run X
			s.add(200, env(runX), owning(theBoss))
			s.living(theDog)
			s.add(wdog, bornAt(350), leash, env(runX), under(200))
			s.living(proc.ID{PID: 200, Start: 300})
			s.record(210, func(r *ledger.Record) { r.RunID, r.Parents = runY, []proc.ID{{PID: 200, Start: 300}} })
			s.add(210, bornAt(400), env(runY), owning(proc.ID{PID: 200, Start: 300}), session(210), under(wdog))
			s.add(211, bornAt(401), under(210))
		}, want{"200 x": "dead end environ", "210 y": "alive leave environ", "211 y": "alive leave descendant"}},
		{"guarded as one run, counted to another", func(s *scene) {
			s.living(theDog)
			recorded(s)
			s.add(201, under(200), env(runY), owning(theBossY))
		}, want{"200 x": "dead skip environ+ledger+group+session", "201 y": "dead end environ"}},
	})
}

func TestNeverTouched(t *testing.T) {
	all := func(s *scene) { s.ask(runX) }
	play(t, []sceneTest{
		{"an ancestor, even if named", func(s *scene) { all(s); s.add(200, env(runX)); s.ancestor(200) },
			want{"200 x": "unclaimed skip environ; it is an ancestor of this reaper"}},
		{"an ancestor with an inode that is not known here", func(s *scene) {
			all(s)
			s.add(200, env(runX), inode(5))
			s.ancestor(200)
			s.Procs[0].Inode = 0
		}, want{"200 x": "unclaimed skip environ; ancestor"}},
		{"another process has an ancestor's PID now", func(s *scene) { all(s); s.add(200, env(runX)); s.ancestor(200); s.Procs[0].Start++ },
			want{"200 x": "unclaimed end environ"}},
		{"of another user than the reaper, which is not root", func(s *scene) {
			s.UID = user
			s.add(200, env(runX), owning(theBoss), of(user+1))
			s.add(201, env(runX), owning(theBoss), of(user-1))
			s.add(202, env(runX), owning(theBoss))
		}, want{"200 x of 501": "dead skip environ; it belongs to another user (501)", "201 x of 499": "dead skip environ; it belongs to another user (499)",
			"202 x": "dead end environ"}},
		{"its children by nothing but descent", func(s *scene) {
			all(s)
			s.add(200, env(runX))
			s.ancestor(200)
			s.add(201, under(200))
			s.add(202, under(200), env(runX))
		}, want{"200 x": "unclaimed skip environ", "201 x": "unclaimed skip descendant; left alone", "202 x": "unclaimed end environ+descendant"}},
		{"PID 1", func(s *scene) { all(s); s.add(1, env(runX), inside(0)); s.record(1) }, want{}},
		{"watchdogs and reapers", func(s *scene) { all(s); s.add(200, env(runX), args(runX), leash) }, want{}},
		{"another namespace", func(s *scene) { all(s); s.add(200, env(runX), foreign); s.add(201, under(200)) },
			want{"200 x": "unclaimed skip environ; it lives in another PID namespace"}},
		{"a child in another namespace", func(s *scene) {
			all(s)
			s.add(200, env(runX))
			s.add(201, under(200), foreign)
			s.add(202, under(201))
		}, want{"200 x": "unclaimed end environ", "201 x": "unclaimed skip descendant; another PID namespace"}},
		{"another user's child", func(s *scene) {
			all(s)
			s.add(200, env(runX))
			s.add(201, under(200), of(0))
			s.add(202, under(201))
		}, want{"200 x": "unclaimed end environ", "201 x of 500": "unclaimed skip descendant; another user (0) than its run (500)",
			"202 x": "unclaimed skip descendant"}},
		{"two users' rights", func(s *scene) { all(s); s.add(200, env(runX), mixed) },
			want{"200 x": "unclaimed skip environ; rights of more than one user"}},
		{"another user's, we are not root", func(s *scene) { all(s); s.UID = user + 1; s.add(200, env(runX)) },
			want{"200 x": "unclaimed skip environ; it belongs to another user (500)"}},
		{"our own, we are not root", func(s *scene) { all(s); s.UID = user; s.add(200, env(runX)) },
			want{"200 x": "unclaimed end environ"}},
	})
}

func TestRequest(t *testing.T) {
	three := func(s *scene) {
		s.add(200, env(runX), owning(theBoss))
		s.add(201, env(runY), owning(theBossY))
		s.add(202, env("zzzzzzz"))
		s.living(theBossY)
	}
	request := func(w Request) func(*scene) { return func(s *scene) { three(s); s.request = w } }
	play(t, []sceneTest{
		{"a plain reap", three, want{"200 x": "dead end environ", "201 y": "alive leave environ", "202 z": "unclaimed leave environ"}},
		{"unclaimed too", request(Request{Unclaimed: true}),
			want{"200 x": "dead end environ", "201 y": "alive leave environ", "202 z": "unclaimed end environ"}},
		{"named: alive", request(Request{RunIDs: []string{runY}}), want{"201 y": "alive end environ"}},
		{"named: two", request(Request{RunIDs: []string{runX, "zzzzzzz"}}), want{"200 x": "dead end environ", "202 z": "unclaimed end environ"}},
		{"named: one that is not there", request(Request{RunIDs: []string{"aaaaaaa"}}), want{}},
		{"a named run with an owner that cannot be read", func(s *scene) { s.add(200, env(runX), ownedBy("what")); s.ask(runX) },
			want{"200 x": "unclaimed end environ"}},
	})
}

// Runs come in the order of their names, whatever the table's.
func TestOrder(t *testing.T) {
	s := newScene()
	s.add(200, env(runY))
	s.add(201, env(runX), of(9))
	s.add(202, env(runX))
	runs := Judge(&s.Snapshot, Request{})
	if len(runs) != 3 || runs[0].Key != (snapshot.Key{ID: runX, UID: 9}) || runs[1].Key != (snapshot.Key{ID: runX, UID: user}) || runs[2].Key != (snapshot.Key{ID: runY, UID: user}) {
		t.Errorf("%v", runs)
	}
	if runs[0].OwnerLives() != true || runs[0].Owner != nil {
		t.Error("an owner that is not known")
	}
}
