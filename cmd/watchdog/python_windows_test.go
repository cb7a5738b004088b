package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

// The Python client in a worker that runs CPython for Windows.
func pythonWorker(t *testing.T, args ...string) []string {
	t.Helper()
	return append([]string{testkit.Python(t), "-X", "dev", "-u", filepath.Join(clientDir(t), "tests", "windows_child.py")}, args...)
}

func clientDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "clients", "python"))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func pythonEnv(t *testing.T, cmd *exec.Cmd, more ...string) *exec.Cmd {
	t.Helper()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, append([]string{"PYTHONPATH=" + clientDir(t), "PYTHONDONTWRITEBYTECODE=1", "PYTHONUTF8=1"}, more...)...)
	return cmd
}

func runPython(t *testing.T, flags, mode string) *exec.Cmd {
	t.Helper()
	args := append([]string{"run", "--heartbeat", "notify", "--grace", "100ms", "--log-level", "debug"}, strings.Fields(flags)...)
	return pythonEnv(t, watchdogCommand(t, "", append(append(args, "--"), pythonWorker(t, mode)...)...))
}

func TestPythonTalks(t *testing.T) {
	w := testkit.Start(t, runPython(t, "--heartbeat-interval 3s --heartbeat-timeout 1h --max-missed 1000", "talk"))
	for want, word := range map[string]string{
		"enabled": "True 2.0", "status": "True True True", "ready": "True", "barrier": "True", "child": "0", "pool": "True", "stopping": "True",
		"guard": fmt.Sprintf("[(%d, 'handle'), (%d, 'handle')]", os.Getpid(), w.PID), // LEASH_RUN_OWNER, and the watchdog
	} {
		if got := strings.TrimSpace(w.Stdout.Await(want + " ")); got != word {
			t.Errorf("%s: %q, not %q", want, got, word)
		}
	}
	if status := w.Wait(); status != 7 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"fährt hoch", "läuft", "a child", "of the pool"} {
		if e := w.Stderr.AwaitEvent("process.status"); e.Str("status") != want {
			t.Errorf("%v, not %q", e, want)
		}
	}
	for _, name := range []string{"process.ready", "process.stopping", "process.terminated"} {
		w.Stderr.AwaitEvent(name)
	}
	if strings.Contains(w.Stdout.All(), "log ") {
		t.Error(w.Stdout.All())
	}
}

// A thread sends beats until C code holds the GIL. Only then does the worker set a short
// timeout: its start may be slow.
func TestPythonHangs(t *testing.T) {
	cmd := runPython(t, "--heartbeat-interval 1s --heartbeat-timeout 1h --max-missed 1000", "beat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w := testkit.Start(t, cmd)
	w.Stdout.Await("ready")
	for range 3 {
		w.Stderr.AwaitEvent("heartbeat.received")
	}
	fmt.Fprintln(in)
	w.Stdout.Await("stuck")
	w.Stderr.AwaitEvent("heartbeat.timeout")
	if status := w.Wait(); status != hung {
		t.Errorf("status %d", status)
	}
}

// A watchdog that does not read heartbeats does no harm to the worker.
func TestPythonUnheard(t *testing.T) {
	name := func(what string) string { return fmt.Sprintf(`\\.\pipe\leash-test-%d-%s`, os.Getpid(), what) }
	deafPipe(t, name("full"))
	deafPipe(t, name("busy"))
	client, err := os.OpenFile(name("busy"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	args := pythonWorker(t, "unheard", name("nobody"), name("full"), name("busy"), "@socket")
	p := testkit.Start(t, pythonEnv(t, exec.Command(args[0], args[1:]...)))
	for _, what := range []string{"nobody", "full", "busy"} {
		p.Stdout.Await("log " + pipeVar + " does not hear this process: ") // once each
		if got := strings.TrimSpace(p.Stdout.Await("beats ")); got != "[False, False, False] True" {
			t.Errorf("%s: %s", what, got)
		}
		if got := strings.TrimSpace(p.Stdout.Await("other ")); got != "False False" {
			t.Errorf("%s: %s", what, got)
		}
		took, err := strconv.ParseFloat(strings.TrimSpace(p.Stdout.Await("seconds ")), 64)
		if err != nil || what != "nobody" && took < 0.5 {
			t.Errorf("%s: %v (%v): half a second was to be waited for room", what, took, err)
		}
	}
	p.Stdout.Await("log " + pipeVar + " is no pipe of this machine: '@socket'")
	if got := strings.TrimSpace(p.Stdout.Await("beats ")); got != "[False, False, False] False" {
		t.Error(got)
	}
	if status := p.Wait(); status != 0 || strings.Count(p.Stdout.All(), "log ") != 4 {
		t.Errorf("status %d", status)
	}
}

// deafPipe is a pipe with one instance, no buffer and no reader.
func deafPipe(t *testing.T, name string) {
	t.Helper()
	at, err := windows.UTF16PtrFromString(name)
	if err != nil {
		t.Fatal(err)
	}
	h, err := windows.CreateNamedPipe(at, windows.PIPE_ACCESS_DUPLEX, windows.PIPE_TYPE_MESSAGE, 1, 1, 1, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { windows.CloseHandle(h) })
}

// The client's guard in the worker notices the parent's exit by its handle.
func TestPythonGuard(t *testing.T) {
	for mode, want := range map[string]int{"handler": 9, "stuck": 143} {
		t.Run(mode, func(t *testing.T) {
			stranger, parent := started(t, "stay"), started(t, "stay")
			args := pythonWorker(t, "guarded", mode, strconv.Itoa(parent.PID))
			p := testkit.Start(t, pythonEnv(t, exec.Command(args[0], args[1:]...)))
			if got := strings.TrimSpace(p.Stdout.Await("guarded ")); got != fmt.Sprintf("[(%d, 'handle')]", parent.PID) {
				t.Error(got)
			}
			testkit.StillAlive(t, p.Ident)
			parent.Kill()
			if status := p.Wait(); status != want {
				t.Errorf("status %d, not %d", status, want)
			}
			testkit.StillAlive(t, stranger.Ident)
		})
	}
}
