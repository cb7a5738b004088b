//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// freezer makes a cgroup (v1 freezer or v2) and returns how to put a process
// into it that no signal can end until it thaws: only v1 does that.
func freezer(t *testing.T) (dir string) {
	t.Helper()
	base := "/sys/fs/cgroup/freezer"
	dir = filepath.Join(base, "leash-test-"+itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		testkit.Skip(t, "no process can be made unkillable here: "+err.Error())
	}
	t.Cleanup(func() { syscall.Rmdir(dir) })
	return dir
}

func TestTheUnkillableIsReportedAndNotWaitedFor(t *testing.T) {
	t.Parallel()
	dir := freezer(t)
	w := scriptWorker(t, `sleep 1000000 & echo child $!; echo ready; wait`)
	child := identOf(t, w.Stdout, "child")
	parent := sleeper(t)
	g := guard(t, w, parent, "--grace", "100ms")
	write(t, filepath.Join(dir, "cgroup.procs"), itoa(child.PID))
	write(t, filepath.Join(dir, "freezer.state"), "FROZEN")
	t.Cleanup(func() {
		os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0o600)
		testkit.AwaitGone(t, child)
	})
	parent.Kill()
	testkit.AwaitGone(t, w.Ident)
	if status := g.Wait(); status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	e := g.Stderr.AwaitEvent("process.cleanup_completed")
	if e["success"] != false || e.Int("survivors") != 1 || !strings.Contains(e.Str("survivor_pids"), itoa(child.PID)) {
		t.Errorf("%v", e)
	}
	if s := g.Stderr.AwaitEvent("watchdog.stopped").Int("exit_status"); s != 1 {
		t.Errorf("exit status %d in the event", s)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
