//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// An ordinary user with an empty environment has no place for a state folder:
// that is told, and stops nothing.
func TestNoPlaceForALedger(t *testing.T) {
	program := testkit.Watchdog(t)
	cmd := exec.Command(program, "run", "--log-level", "warn", "--", "/bin/sh", "-c", "exit 3")
	cmd.Env, cmd.Dir = []string{}, "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		b, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := os.MkdirTemp("", "leash-nowhere-") // t.TempDir is not for other users
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Path = dir + "/watchdog"
		if err := os.WriteFile(cmd.Path, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	status, _, stderr := testkit.Run(t, cmd)
	if status != 3 || !strings.Contains(stderr, "LEASH_STATE_DIR") || strings.Contains(stderr, "goroutine") {
		t.Errorf("status %d:\n%s", status, stderr)
	}
}
