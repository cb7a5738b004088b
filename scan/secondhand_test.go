package scan

import (
	"testing"

	"leash/internal/owner"
	"leash/internal/snapshot"
)

// Of root's run an environment speaks for the process that has it, and for those that
// lost their parent, unless the ledger names an owner: a set-user-ID program that became root may have executed
// it with any caller's environment.
func TestSecondhandOwner(t *testing.T) {
	const skip = "dead skip environ; only another process's environment names its owner"
	liar := func(uid uint32) func(*scene) {
		return func(s *scene) {
			s.add(200, env(runX), of(uid))
			s.add(201, env(runX), of(uid), owning(theBoss))
			s.add(202, env(runX), of(uid), under(201)) // what that one started
			s.add(203, under(201), of(uid))
			s.add(204, args(runX), of(uid), under(1)) // it has lost its parent
		}
	}
	all := func(of string) want {
		return want{"200 x" + of: "dead end environ", "201 x" + of: "dead end environ; (PID 80) is gone",
			"202 x" + of: "dead end environ+descendant", "203 x" + of: "dead end descendant", "204 x" + of: "dead end argv"}
	}
	doubted := all(" of 0")
	doubted["200 x of 0"] = skip
	named := all(" of 0")
	named["201 x of 0"] = "dead end environ"
	play(t, []sceneTest{
		{"of root", liar(0), doubted},
		{"of another user", liar(user), all("")},
		{"orphans", func(s *scene) {
			s.add(200, env(runX), of(0), under(1), session(200))
			s.add(201, env(runX), of(0), owning(theBoss))
			s.add(205, env(runX), of(0), under(200))
		}, want{"200 x of 0": "dead end environ", "201 x of 0": "dead end environ", "205 x of 0": "dead end environ+descendant"}},
		{"each has it", func(s *scene) {
			s.add(200, env(runX), of(0), owning(theBoss))
			s.add(201, env(runX), of(0), owning(theBoss))
		}, want{"200 x of 0": "dead end environ", "201 x of 0": "dead end environ"}},
		{"the ledger names one, too", func(s *scene) {
			liar(0)(s)
			s.record(nowhere)
			s.rec().UID = 0
		}, all(" of 0")},
		{"the ledger of another user names one", func(s *scene) { liar(0)(s); s.record(nowhere) }, doubted},
		{"the ledger names no owner", func(s *scene) {
			liar(0)(s)
			s.record(nowhere, lifeline)
			s.rec().UID = 0
		}, doubted},
		{"the ledger named one earlier", func(s *scene) {
			s.add(200, env(runX), of(0))
			k := snapshot.Key{ID: runX, UID: 0}
			s.Dead, s.OwnerRecorded = map[snapshot.Key]owner.Owner{k: {PID: boss, Boot: boot, NS: space}}, map[snapshot.Key]bool{k: true}
		}, want{"200 x of 0": "dead end environ"}},
		{"only an environment did", func(s *scene) {
			s.add(200, env(runX), of(0))
			s.Dead = map[snapshot.Key]owner.Owner{{ID: runX, UID: 0}: {PID: boss, Boot: boot, NS: space}}
		}, want{"200 x of 0": skip}},
		{"named", func(s *scene) { liar(0)(s); s.ask(runX) }, named},
	})
}
