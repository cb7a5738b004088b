package scan

import (
	"testing"

	"leash/internal/snapshot"
)

func denied(p *snapshot.Process) { p.Denied = "access denied: it is elevated" }

// A process that the system lets us neither read nor end is listed with that reason,
// whatever was requested, and no other process is ended because of it.
func TestDenied(t *testing.T) {
	play(t, []sceneTest{
		{"recorded", func(s *scene) {
			s.record(200)
			s.add(200, inode(9200), denied)
		}, want{"200 x": "dead skip ledger; access denied: it is elevated"}},
		{"recorded, and its run is named", func(s *scene) {
			s.record(200)
			s.add(200, inode(9200), denied)
			s.ask(runX)
		}, want{"200 x": "dead skip ledger; access denied: it is elevated"}},
		{"another user's, started by a member", func(s *scene) {
			s.record(200)
			s.add(200, inode(9200))
			s.add(301, under(200), of(user+1), denied)
		}, want{"200 x": "dead end ledger", "301 x of 500": "dead skip descendant; access denied"}},
		{"what it started", func(s *scene) {
			s.record(200)
			s.add(200, inode(9200), denied)
			s.add(301, under(200))
		}, want{"200 x": "dead skip ledger; access denied", "301 x": "dead skip descendant; as a child of PID 200, which is left alone"}},
		{"of a run that lives", func(s *scene) {
			s.living(theBoss)
			s.record(200)
			s.add(200, inode(9200), denied)
		}, want{"200 x": "alive leave ledger"}},
	})
}
