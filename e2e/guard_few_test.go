//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"testing"

	"leash/internal/testkit"
)

// Where descriptors are so few that nothing can be known of a child that ignores
// the stop signal, guard either ends it or says that it does not know.
func TestGuardWithFewDescriptors(t *testing.T) {
	for _, limit := range []int{9, 13, 14, 16} {
		t.Run(itoa(limit), func(t *testing.T) {
			w := scriptWorker(t, `for i in 1 2 3; do
					setsid sh -c 'trap "" TERM; echo child $$; while :; do sleep 1; done' &
				done; echo ready; wait`)
			var children []testkit.Ident
			for range 3 {
				children = append(children, identOf(t, w.Stdout, "child"))
			}
			parent := sleeper(t)
			cmd := watchdog(t, "guard", "--worker-pid", pid(w), "--parent-pid", pid(parent), "--grace", "100ms")
			g := testkit.Start(t, limited(cmd, limit))
			if !g.Stderr.Happens("watchdog.started") { // with too few it does not even start, and says so
				if status := g.Wait(); status != 125 && status != 2 {
					t.Errorf("status %d", status)
				}
				return
			}
			parent.Kill()
			status := g.Wait()
			left := 0
			for _, id := range children {
				if id.Alive() {
					left++
				}
			}
			if status == 0 && left > 0 || status != 0 && status != 1 {
				t.Errorf("status %d, and %d live", status, left)
			}
			t.Logf("status %d, and %d live", status, left)
		})
	}
}

// limited has a command run with so many descriptors.
func limited(cmd *exec.Cmd, n int) *exec.Cmd {
	c := exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, n)}, cmd.Args...)...)
	c.Env = cmd.Env
	return c
}
