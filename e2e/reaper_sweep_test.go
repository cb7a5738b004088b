//go:build linux

package e2e

import (
	"os/exec"
	"testing"

	"leash/internal/testkit"
)

// A record stays for as long as somebody of its run lives: it may be all that
// tells that the run is dead.
func TestReaperKeepsWhatTellsThatARunIsDead(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "guard")
		orphans := p.kill()
		// Only its arguments speak for it, and its parent lives: us.
		left := testkit.Start(t, exec.Command(testkit.NeedPython(t), "-c",
			"import signal\nprint('here\\n', end='', flush=True)\nsignal.pause()", "--run-id", p.runID))
		left.Stdout.Await("here")
		r := reap(t)
		r.expectEnded(t, orphans...)
		r.expect(t, "skipped", left.Ident)
		if len(records(t, root())) == 0 {
			t.Error("the record is gone: nothing tells any more that the run is dead")
		}
		if again := reap(t); again.of(p.runID, 0).State != "dead" {
			t.Errorf("the run is %s at the second look", again.of(p.runID, 0).State)
		}
		left.Kill()
		left.Wait()
		if reap(t); len(records(t, root())) != 0 {
			t.Error("the record was not swept")
		}
	})
}
