package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// batchFile is a worker that starts Python with what it was given.
func batchFile(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	lines := []string{"@echo off", `"%PYTHON%" -u "%SCRIPT%" %*`, "exit /b %ERRORLEVEL%", ""}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// batch calls it under the watchdog.
func batch(t *testing.T, file string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(file, args...)
	cmd.Env = append(worker(t).Env, "PYTHON="+testkit.Python(t), "SCRIPT="+peer(t, "windows_worker.py"))
	return watched(t, cmd, "--log-level", "error")
}

// Batch files may be workers. Their arguments arrive as they are, and are no
// commands to cmd.exe; those that it cannot be kept from reading are refused.
func TestBatchFileAsWorker(t *testing.T) {
	for _, name := range []string{"worker.bat", "my worker.CMD"} {
		file := batchFile(t, name)
		status, stdout, stderr := testkit.Run(t, batch(t, file, "arguments", "a", "b c", "&echo injected", "x&y|z", ">nul",
			"^", "!PATH!", "a=b", "a,b", "", `C:\d e\`, "(", "é"))
		want := `['a', 'b c', '&echo injected', 'x&y|z', '>nul', '^', '!PATH!', 'a=b', 'a,b', '', 'C:\\d e\\', '(', '\xe9']`
		if status != 0 || stdout != want || stderr != "" {
			t.Errorf("%s: status %d, %s, %q; want %s", name, status, stdout, stderr, want)
		}
		for _, bad := range []string{`"&echo injected&"`, "%PATH%"} {
			status, stdout, stderr := testkit.Run(t, batch(t, file, "arguments", bad))
			if status != 126 || stdout != "" || strings.Contains(stderr, "\n") || !strings.HasPrefix(stderr, "watchdog: run: ") ||
				!strings.Contains(stderr, "argument 2") {
				t.Errorf("%s %s: status %d, %q, %q", name, bad, status, stdout, stderr)
			}
		}
	}
}

// The batch file and what it started end with the watchdog; else the status is
// its own.
func TestBatchFileWorkerEnds(t *testing.T) {
	file := batchFile(t, "worker.bat")
	cmd := batch(t, file, "echo", "7")
	cmd.Stdin = strings.NewReader("one\n")
	if status, stdout, _ := testkit.Run(t, cmd); status != 7 || stdout != "echo one" {
		t.Errorf("status %d, %q", status, stdout)
	}
	w := testkit.Start(t, batch(t, file, "small"))
	ids := awaitRoles(t, w.Stdout, "-", "worker", "child")
	below := testkit.Descendants(t, w.PID)
	testkit.Adopt(t, below...)
	if len(below) <= len(ids) {
		t.Errorf("cmd.exe is not among %v", below)
	}
	w.Kill()
	testkit.AwaitGone(t, append(ids, below...)...)
}

// place copies a file.
func place(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// The batch file finds the program, gives it these arguments and hands on its
// status. Without a program, or called wrongly: one line and 125.
func TestBatchFile(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "with a space")
	batch := filepath.Join(tree, "scripts", "watchdog.bat")
	place(t, filepath.Join("..", "scripts", "watchdog.bat"), batch)
	call := func(env string, args ...string) (int, string, string) {
		cmd := exec.Command("cmd", append([]string{"/c", batch}, args...)...)
		cmd.Env = append(os.Environ(), standIn+"=1", "PROCESSOR_ARCHITECTURE=AMD64", "LOCALAPPDATA="+tree, env)
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), strings.TrimSpace(stdout.String()), strings.TrimSpace(stderr.String())
	}
	wrong := func(says, env string, args ...string) {
		t.Helper()
		status, stdout, stderr := call(env, args...)
		if status != 125 || stdout != "" || strings.Contains(stderr, "\n") || !strings.Contains(stderr, says) {
			t.Errorf("%q: status %d, %q, %q; want 125 and %q", args, status, stdout, stderr, says)
		}
	}
	wrong("the worker is not guarded", "", "12", "34")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The first of these that is there is called.
	places := []string{
		"scripts/watchdog-windows-amd64.exe", "scripts/watchdog.exe", "bin/watchdog-windows-amd64.exe",
		"bin/cross/watchdog-windows-amd64.exe", "Programs/leash/bin/watchdog.exe",
	}
	for i := len(places) - 1; i >= 0; i-- {
		if i+1 < len(places) {
			// Nothing that can be started: it would be noticed.
			place(t, batch, filepath.Join(tree, places[i+1]))
		}
		place(t, self, filepath.Join(tree, places[i]))
		if status, stdout, stderr := call("", "12", "34"); status != 7 || stdout != `["guard" "--parent-pid=12" "--worker-pid=34" "worker "]` {
			t.Errorf("%s: status %d, %q, %q", places[i], status, stdout, stderr)
		}
	}
	want := `["guard" "--parent-pid=12" "--worker-pid=34" "--grace=0.5s" "worker w1\\"]`
	if status, stdout, stderr := call("WATCHDOG_GRACE_PERIOD=0.5", "12", "34", `w1\`); status != 7 || stdout != want {
		t.Errorf("status %d, %q, %q; want %s", status, stdout, stderr, want)
	}
	want = `["guard" "--parent-pid=12" "--worker-pid=34" "--poll-interval=2s" "worker "]`
	if status, stdout, stderr := call("WATCHDOG_CHECK_INTERVAL=2", "12", "34"); status != 7 || stdout != want {
		t.Errorf("status %d, %q, %q; want %s", status, stdout, stderr, want)
	}
	wrong("usage:", "")
	wrong("usage:", "", "12")
	wrong("usage:", "", "12", "34", "w", "more")
}

// A parent calls the batch file as it called the one that this one replaces: its
// own PID, that of the worker which it has started, and a name.
func TestBatchFileGuardsPython(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "with a space")
	batch := filepath.Join(tree, "scripts", "watchdog.bat")
	place(t, filepath.Join("..", "scripts", "watchdog.bat"), batch)
	place(t, testkit.Watchdog(t), filepath.Join(tree, "bin", "watchdog.exe"))
	strangers := bystanders(t)
	cmd := parentOf(t, batch, labelled("bat", "w1", "small"))
	cmd.Env = append(cmd.Env, "WATCHDOG_GRACE_PERIOD=0.25", "PROCESSOR_ARCHITECTURE=AMD64")
	parent := testkit.Start(t, cmd)
	ids := awaitRoles(t, parent.Stdout, "w1", "worker", "child", "watchdog")
	started := parent.Stderr.AwaitEvent("watchdog.started")
	if started.Str("leash.worker_id") != "w1" || started.Int("process.pid") != ids[0].PID || started.Int("process.parent_pid") != parent.PID {
		t.Error(started)
	}
	testkit.StillAlive(t, ids...)
	parent.Kill()
	if e := parent.Stderr.AwaitEvent("watchdog.stopped"); e.Str("outcome") != "parent_died" || e.Int("exit_status") != 0 {
		t.Error(e)
	}
	testkit.AwaitGone(t, ids...) // the last is cmd.exe
	testkit.StillAlive(t, strangers...)
}
