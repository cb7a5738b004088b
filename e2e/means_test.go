//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// Whatever there is too little of, it is one line and 125, or it works.
func TestTooFewDescriptors(t *testing.T) {
	for _, call := range []string{
		testkit.Watchdog(t) + " run -- true", testkit.Watchdog(t) + " run --log-format json --log-file /dev/null -- true",
		testkit.Reaper(t) + " --dry-run", testkit.Reaper(t) + " list",
	} {
		for n := range 16 {
			cmd := exec.Command("sh", "-c", fmt.Sprintf("ulimit -n %d; exec %s", n+3, call))
			cmd.Env = plainly(t).Env
			status, _, stderr := testkit.Run(t, cmd)
			if status != 0 && status != 125 || status == 125 && (stderr == "" || strings.Contains(stderr, "\n")) || n+3 < 12 && status == 0 {
				t.Errorf("%s with %d descriptors: status %d, %q", call, n+3, status, stderr)
			}
		}
	}
}
