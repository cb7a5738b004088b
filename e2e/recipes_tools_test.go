//go:build linux

package e2e

import (
	"path/filepath"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// tree is a worker with children of two kinds.
const tree = `sleep 1000000 & setsid sleep 1000000 & echo READY; wait`

// A context of Go has the watchdog asked.
func TestRecipeContextAsks(t *testing.T) { goContext(t, "term") }

func goContext(t *testing.T, how string) {
	t.Parallel()
	testkit.Need(t, "setsid")
	r := newRecipe(t)
	cmd := r.cmd(testkit.Build(t, "./testdata/peers/golimit"), how,
		testkit.Watchdog(t), "run", "--", "sh", "-c", tree)
	stdin := input(t, cmd)
	p := testkit.Start(t, cmd)
	p.Stdout.Await("READY")
	family := r.family(p, 4)
	tell(t, stdin, "cancel")
	p.Stdout.Await("ENDED ")
	r.nothingLeft(p, family...)
}

// timeout(1) takes SIGALRM from anybody for the end of its time.
func TestRecipeTimeout(t *testing.T) {
	t.Parallel()
	testkit.Need(t, "timeout", "python3")
	r := newRecipe(t)
	r.copy(filepath.Join(examplesDir(t), "worker.py"))
	cmd := r.cmd("sh", "-c", "exec "+onPage(t, "run timeout"))
	p := testkit.Start(t, cmd)
	p.Stdout.Await("READY")
	family := r.family(p, 2)
	p.Signal(syscall.SIGALRM)
	if got := p.Wait(); got != 124 {
		t.Errorf("status %d, want 124", got)
	}
	r.nothingLeft(p, family...)
}
