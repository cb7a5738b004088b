package e2e

import (
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
	ids := introduced(t, w.Stdout, "-", "worker", "child")
	below := testkit.Descendants(t, w.PID)
	testkit.Adopt(t, below...)
	if len(below) <= len(ids) {
		t.Errorf("cmd.exe is not among %v", below)
	}
	w.Kill()
	testkit.AwaitGone(t, append(ids, below...)...)
}
