//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"testing"

	"leash/internal/testkit"
)

const (
	alice = 61234
	bob   = 61235
)

// An ordinary user ends his own dead runs, and nobody else's.
func TestReaperOfAnOrdinaryUser(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		a, b := ordinary(t, alice), ordinary(t, bob)
		hers := a.pool(t, newRunID(), plainWorker, "guard", "run", "unlabelled")
		his := b.pool(t, hers.runID, plainWorker, "guard", "run")
		roots := startPool(t, "guard", "run")
		others := append(his.kill(), roots.kill()...)
		orphans := hers.kill()

		r := a.reap(t)
		r.expectState(t, hers.runID, "dead")
		r.expectEnded(t, orphans...)
		testkit.StillAlive(t, others...)
		for _, id := range others {
			if p := r.process(id.PID); p.Action != "" && p.Action != "none" {
				t.Errorf("of another user: %+v", p)
			}
		}
		if left := records(t, a); len(left) != 0 {
			t.Errorf("records of what is gone: %q", left)
		}

		// It was not the run of the others that saved them: root may end them.
		r = reap(t)
		r.expectEnded(t, others...)
	})
}

// Root ends the dead runs of everybody. A run is an ID and a user: one ID may
// stand for a dead run of one user and a living one of another.
func TestReaperOfRootWithTwoUsers(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		a, b := ordinary(t, alice), ordinary(t, bob)
		shared := newRunID()
		hers := a.pool(t, shared, plainWorker, "guard", "run")
		his := b.pool(t, shared, plainWorker, "guard", "run")
		hisDead := b.pool(t, newRunID(), plainWorker, "guard", "run")
		orphans := append(hers.kill(), hisDead.kill()...)

		// A user says of his own process that it belongs to another's run, and
		// that the run is dead. He can only say so of his own.
		liar := a.labelled(t, "LEASH_RUN_ID="+shared, "LEASH_RUN_OWNER="+deadOwner(t))

		r := reap(t)
		r.expectEnded(t, append(orphans, liar.Ident)...)
		testkit.StillAlive(t, his.members()...)
		testkit.StillAlive(t, his.watchdogs...)
		if got := r.of(shared, alice).State; got != "dead" {
			t.Errorf("the run of the first user is %q", got)
		}
		if got := r.of(shared, bob).State; got != "alive" {
			t.Errorf("the run of the second user is %q", got)
		}
		r.expect(t, "none", his.workers[0], his.workers[1])
	})
}

// With hidepid=2 an ordinary user sees only his own processes. He ends his own
// orphans; an owner that is hidden from him is not taken for dead.
func TestReaperWhereProcHidesOthers(t *testing.T) {
	inSpace(t, "hidepid=2", func(t *testing.T) {
		a := ordinary(t, alice)
		// The option does something: the same command, of both users.
		hidden := testkit.Start(t, exec.Command("sleep", "1000000"))
		look := func(u user) int {
			status, _, _ := testkit.Run(t, u.as(exec.Command("test", "-e", "/proc/"+pid(hidden)+"/stat")))
			return status
		}
		if look(a) != 1 || look(root()) != 0 {
			t.Fatal("this /proc hides nothing")
		}

		p := a.pool(t, newRunID(), plainWorker, "guard", "run", "unlabelled")
		orphans := p.kill()
		kept := a.labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+ownerOf(t, hidden.Ident))
		r := a.reap(t)
		r.expectEnded(t, orphans...)
		r.expect(t, "none", kept.Ident)
		testkit.StillAlive(t, kept.Ident)

		// Once that owner is gone, his number is free: that is no secret.
		hidden.Kill()
		hidden.Wait()
		a.reap(t).expectEnded(t, kept.Ident)
	})
}

// records lists the files of the ledger.
func records(t *testing.T, u user) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(u.state)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !isTable(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// isTable tells the files of the shared process table from those of the ledger.
func isTable(name string) bool {
	return name == "table" || name == "table.new" || name == "table.lock"
}
