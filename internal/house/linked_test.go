//go:build !windows

package house

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Only the reaper uses gopsutil, for figures to display, and on Linux not even the reaper:
// there gopsutil ends a program at its start where epoll is refused.
func TestLinksOfGopsutil(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows"} {
		for program, wanted := range map[string]bool{"watchdog": false, "reaper": system != "linux"} {
			cmd := exec.Command("go", "list", "-deps", "./cmd/"+program)
			cmd.Dir, cmd.Env = root(t), append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", cmd, err, out)
			}
			if links := strings.Contains(string(out), "gopsutil"); links != wanted {
				t.Errorf("%s links gopsutil on %s: %t, want %t", program, system, links, wanted)
			}
		}
	}
}
