//go:build linux

package e2e

import (
	"regexp"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

var (
	taskBegun   = regexp.MustCompile(`BEGUN gate`)
	taskDone    = regexp.MustCompile(`Task tasks\.wait_for\[.*\] succeeded`)
	celeryStops = regexp.MustCompile(`worker: Warm shutdown`)
)

// Two tasks run when celery is asked to stop, or when its parent dies: both are
// finished.
func TestRecipeCelery(t *testing.T) {
	for _, end := range []string{"asked", killed9} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			testkit.Need(t, "/usr/bin/celery")
			python := testkit.NeedPython(t, "celery")
			r := newRecipe(t, "tasks.py")
			r.write("queue/.keep", "", 0o644)
			for _, gate := range []string{"gate1", "gate2"} {
				r.fifo(gate)
				send := r.cmd(python, "-c", "import sys, tasks; tasks.wait_for.delay(sys.argv[1])", gate)
				if status, _, stderr := testkit.Run(t, send); status != 0 {
					t.Fatalf("status %d of what sends a task: %s", status, stderr)
				}
			}
			p, watchdog := r.startParent(onPage(t, "run celery"))
			p.Stdout.AwaitMatch(taskBegun)
			p.Stdout.AwaitMatch(taskBegun)
			family := r.family(p, 4)

			if end == killed9 {
				p.Kill()
			} else if err := watchdog.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			p.Stdout.AwaitMatch(celeryStops)
			for _, gate := range []string{"gate1", "gate2"} {
				r.open(gate)
				p.Stdout.AwaitMatch(taskDone)
			}
			if end != killed9 {
				if got := p.Stdout.Await("STATUS "); got != "0" {
					t.Errorf("status %s, want 0", got)
				}
			}
			r.nothingLeft(p, family...)
		})
	}
}
