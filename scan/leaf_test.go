package scan

import (
	"testing"

	"leash/internal/ledger"
	"leash/internal/snapshot"
)

func inLeaf(p *snapshot.Process) {
	p.Leaf = &snapshot.Leaf{Name: "leash-7-70-60", UID: user, PID: wdog, Tick: 60}
}

func leafOfUser(uid uint32) change {
	return func(p *snapshot.Process) { inLeaf(p); p.Leaf.UID = uid }
}

func (s *scene) dog(changes ...func(*ledger.Record)) {
	s.record(nowhere, changes...)
}

// A process in the cgroup of a dead watchdog that wrote no record is of a run
// without an ID, and that run is dead.
func TestLeaves(t *testing.T) {
	const ended = "dead end cgroup; its watchdog (PID 70) is gone, and no record of its worker is there; it is of the run by the cgroup that its watchdog made (leash-7-70-60)"
	play(t, []sceneTest{
		{"nothing else speaks of it", func(s *scene) { s.add(200, inLeaf) }, want{"200 ": ended}},
		{"its child outside", func(s *scene) { s.add(200, inLeaf); s.add(201, under(200)) }, want{"200 ": ended, "201 ": "dead end descendant"}},
		{"another user's leaf", func(s *scene) { s.add(200, leafOfUser(0)) }, want{}},
		{"of a user's leaf another user's", func(s *scene) { s.add(200, inLeaf, of(0)) }, want{}},
		{"two users' rights", func(s *scene) { s.add(200, inLeaf, mixed) }, want{"200 ": "dead skip cgroup; rights of more than one user"}},
		{"another namespace", func(s *scene) { s.add(200, inLeaf, foreign) }, want{}},
		{"PID 1", func(s *scene) { s.add(1, inLeaf) }, want{}},
		{"a watchdog", func(s *scene) { s.add(200, inLeaf, leash) }, want{}},
		{"an ancestor of ours", func(s *scene) { s.add(200, inLeaf); s.ancestor(200) }, want{"200 ": "dead skip cgroup; ancestor"}},
		{"below another watchdog that lives", func(s *scene) {
			s.add(71, leash)
			s.add(200, inLeaf, under(71))
			s.add(201, inLeaf, under(200))
		}, want{"200 ": "dead skip cgroup; its watchdog (PID 71) is ending it", "201 ": "dead skip cgroup+descendant; (PID 71)"}},
		{"far below another watchdog that lives, with a record of its own", func(s *scene) {
			s.living(otherDog)
			s.record(nowhere, by(otherDog), func(r *ledger.Record) { r.Cgroup = "/x" })
			s.add(71, bornAt(61), leash)
			s.add(199, under(71))
			s.add(200, inLeaf, under(199))
			s.add(201, inLeaf, under(200))
			s.add(202, inLeaf)
		}, want{"200 ": "dead skip cgroup; a living watchdog (PID 71) is above it", "201 ": "dead skip cgroup+descendant; (PID 71)", "202 ": ended}},
		{"a record of that cgroup", func(s *scene) {
			s.dog(func(r *ledger.Record) { r.Cgroup = "/sys/fs/cgroup/leash-7-70-60" })
			s.add(200, inLeaf)
		}, want{}},
		{"a record of that cgroup under another path", func(s *scene) {
			s.dog(func(r *ledger.Record) { r.Cgroup = "/x/leash-7-70-60" })
			s.add(200, inLeaf)
		}, want{}},
		{"a record of that watchdog without a cgroup", func(s *scene) { s.dog(); s.add(200, inLeaf) }, want{}},
		{"a record of that watchdog with another cgroup", func(s *scene) {
			s.dog(func(r *ledger.Record) { r.Cgroup = "/x/leash-7-70-61" })
			s.add(200, inLeaf)
		}, want{"200 ": ended}},
		{"a record of a later watchdog of that number", func(s *scene) {
			s.dog(func(r *ledger.Record) { r.Watchdog.Start = 61 })
			s.add(200, inLeaf)
		}, want{"200 ": ended}},
		{"another user's record of that watchdog", func(s *scene) {
			s.dog(func(r *ledger.Record) { r.UID = 9 })
			s.add(200, inLeaf)
		}, want{"200 ": ended}},
		{"it says of which run it is", func(s *scene) {
			s.living(theBoss)
			s.add(200, inLeaf, env(runX), owning(theBoss))
			s.add(201, inLeaf, under(200))
			s.add(202, env(runX), owning(theBoss))
		}, want{"200 x": "alive leave environ; unguarded, for its watchdog is gone", "201 x": "alive leave descendant; unguarded",
			"202 x": "alive leave environ; lives"}},
		{"it says of which run it is, and unguarded ones are to be ended", func(s *scene) {
			unguardedToo(s)
			s.living(theBoss)
			s.add(200, inLeaf, env(runX), owning(theBoss))
			s.add(202, env(runX), owning(theBoss))
		}, want{"200 x": "alive end environ; its watchdog is gone, and its owner (PID 80) lives", "202 x": "alive leave environ; lives"}},
		{"the run that it names has no owner", func(s *scene) { s.add(200, inLeaf, env(runX)) }, want{"200 x": "unclaimed leave environ"}},
		{"another run was named", func(s *scene) { s.ask(runX); s.add(200, inLeaf) }, want{}},
	})
}
