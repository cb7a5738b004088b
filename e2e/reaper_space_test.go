//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"leash/internal/testkit"
)

// spaceVar names the test that runs inside a PID namespace of its own.
const spaceVar = "LEASH_E2E_SPACE"

// spacePatience bounds a whole test inside its namespace.
const spacePatience = 10 * time.Minute

// inOwnSpace runs the rest of a test inside a PID namespace with a /proc of
// its own. A plain reaper ends the dead runs of all it sees: there it sees the
// processes of this test and nothing of the machine, and what other tests do
// at the same time does not meet it.
//
// The first process of the namespace is testkit.Main again. So orphans come to
// it as to an init, and it looks for leaks at the end.
func inOwnSpace(t *testing.T, body func(t *testing.T)) { t.Helper(); inSpace(t, "rw", body) }

// inSpace is inOwnSpace with options for the new /proc.
func inSpace(t *testing.T, options string, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(spaceVar) == t.Name() {
		t.Setenv("LEASH_STATE_DIR", stateDir(t))
		body(t)
		return
	}
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare", "mount", "setsid")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The new /proc is mounted, never the old one remounted: that would change
	// the one of the machine.
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount",
		"sh", "-c", `mount -t proc -o "$0" proc /proc && exec "$@"`, options,
		self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout="+spacePatience.String())
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "LEASH_") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, spaceVar+"="+t.Name(), "LEASH_BIN_DIR="+publicBinaries(t),
		"LEASH_TEST_NO_SKIP="+os.Getenv("LEASH_TEST_NO_SKIP"))
	awaitSpace(t, testkit.Start(t, cmd))
}

// awaitSpace hands on how the test inside has ended.
func awaitSpace(t *testing.T, p *testkit.Proc) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(spacePatience + testkit.Patience):
		t.Fatal("the test in its own namespace does not end")
	}
	status, out := p.Wait(), p.Stdout.AwaitEnd()
	switch {
	case status != 0:
		t.Errorf("status %d of the test in its own namespace", status) // the cleanup of p shows the rest
	case strings.Contains(out, "--- SKIP: "+t.Name()):
		testkit.Skip(t, out)
	case !strings.Contains(out, "--- PASS: "+t.Name()):
		t.Errorf("the test did not run in its namespace:\n%s", out)
	case testing.Verbose():
		t.Log(out)
	}
}

// publicBinaries puts both programs where every user may execute them. They
// stay beside each other: so they know each other.
func publicBinaries(t *testing.T) string {
	t.Helper()
	dir := publicDir(t)
	for _, binary := range []string{testkit.Watchdog(t), testkit.Reaper(t)} {
		b, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(binary)), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// publicDir is a new directory that every user may enter.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "leash-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
