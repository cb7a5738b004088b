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

// freezer makes a v1 freezer cgroup: no signal can end a process in it until it
// thaws.
func freezer(t *testing.T) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/sys/fs/cgroup/freezer", "leash-test-")
	if err != nil {
		testkit.Skip(t, "no process can be made unkillable here: "+err.Error())
	}
	t.Cleanup(func() { syscall.Rmdir(dir) })
	return dir
}

// freeze returns when the process is frozen: one that is only about to be can
// still be ended. It thaws, and has to end then, with the test.
func freeze(t *testing.T, dir string, id testkit.Ident) {
	t.Helper()
	state := filepath.Join(dir, "freezer.state")
	write(t, filepath.Join(dir, "cgroup.procs"), itoa(id.PID))
	write(t, state, "FROZEN")
	t.Cleanup(func() {
		os.WriteFile(state, []byte("THAWED"), 0o600)
		testkit.AwaitGone(t, id)
	})
	awaitCondition(t, "frozen process", func() bool {
		text, err := os.ReadFile(state)
		return err == nil && string(text) == "FROZEN\n"
	})
}

func TestUnkillableIsReportedAndNotAwaited(t *testing.T) {
	t.Parallel()
	dir := freezer(t)
	w := scriptWorker(t, `sleep 1000000 & echo child $!; echo ready; wait`)
	child := identOf(t, w.Stdout, "child")
	parent := sleeper(t)
	g := guard(t, w, parent, "--grace", "100ms")
	freeze(t, dir, child)
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
