//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// watchdog is a command line of the binary that logs JSON.
func watchdog(t testing.TB, args ...string) *exec.Cmd {
	cmd := exec.Command(testkit.Watchdog(t), args...)
	cmd.Env = append(os.Environ(), "LEASH_LOG_FORMAT=json", "LEASH_STATE_DIR="+stateDir(t))
	return cmd
}

func stateDir(t testing.TB) string { return filepath.Join(t.TempDir(), "state") }

// scriptWorker starts a shell script that leads its own group, and waits for "ready".
func scriptWorker(t *testing.T, script string) *testkit.Proc {
	t.Helper()
	p := testkit.Start(t, exec.Command("sh", "-c", script))
	p.Stdout.Await("ready")
	return p
}

// sleeper is a process to stand for a parent.
func sleeper(t *testing.T) *testkit.Proc {
	return scriptWorker(t, "echo ready; exec sleep 1000000")
}

// guard starts a watchdog beside a worker and waits until it watches.
func guard(t *testing.T, worker, parent *testkit.Proc, more ...string) *testkit.Proc {
	t.Helper()
	args := append([]string{"guard", "--worker-pid", pid(worker), "--parent-pid", pid(parent)}, more...)
	w := testkit.Start(t, watchdog(t, args...))
	w.Stderr.AwaitEvent("watchdog.started")
	return w
}

func pid(p *testkit.Proc) string { return strconv.Itoa(p.PID) }

// identOf reads a PID that a worker printed behind a word.
func identOf(t *testing.T, lines *testkit.Lines, word string) testkit.Ident {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(lines.Await(word + " ")))
	if err != nil {
		t.Fatal(err)
	}
	id := testkit.Identify(t, n)
	testkit.Adopt(t, id)
	return id
}

func TestBadCallsNameTheFlagAndTouchNothing(t *testing.T) {
	w := sleeper(t)
	plain := filepath.Join(t.TempDir(), "plain")
	os.WriteFile(plain, []byte("x"), 0o644)
	for _, c := range []struct {
		args   []string
		says   string
		status int
	}{
		{[]string{"--bogus"}, "--bogus", 125},
		{[]string{"run", "--bogus"}, "--bogus", 125},
		{[]string{"run", "--bogus", "--", "true"}, "--bogus", 125},
		{[]string{"guard"}, "--worker-pid", 125},
		{[]string{"guard", "--worker-pid", "0"}, "--worker-pid", 125},
		{[]string{"guard", "--worker-pid", "-5"}, "--worker-pid", 125},
		{[]string{"guard", "--worker-pid=-5"}, "--worker-pid", 125},
		{[]string{"guard", "--worker-pid", "1"}, "--worker-pid", 125},
		{[]string{"guard", "--worker-pid", "99999999"}, "--worker-pid", 125},
		{[]string{"guard", "--worker-pid", "x"}, "--worker-pid", 125},
		{[]string{"guard", "--worker-pid", strconv.Itoa(os.Getpid())}, "--worker-pid", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--parent-pid", "99999999"}, "--parent-pid", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--parent-pid", "0"}, "--parent-pid", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--parent-pid", pid(w)}, "--parent-pid", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--grace=-1s"}, "--grace", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--grace", "9999h"}, "--grace", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--grace", "soon"}, "--grace", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--poll-interval", "0s"}, "--poll-interval", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--parent-fd", "77"}, "--parent-fd", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--parent-fd=-1"}, "--parent-fd", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--log-fd=-1"}, "--log-fd", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--run-id", "ABC"}, "--run-id", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--run-id", "abc12345"}, "--run-id", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--stop-signal", "NOPE"}, "--stop-signal", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--backend", "magic"}, "--backend", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--log-format", "xml"}, "--log-format", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--log-level", "loud"}, "--log-level", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--log-fd", "77"}, "--log-fd", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--log-file", filepath.Join(t.TempDir(), "missing", "log")}, "--log-file", 125},
		{[]string{"guard", "--worker-pid", pid(w), "--", "true"}, "guard", 125},
		{[]string{"run"}, "COMMAND", 125},
		{[]string{"run", "--worker-pid", pid(w), "--", "true"}, "--worker-pid", 125},
		{[]string{"run", "--keep-fd", "99", "--", "true"}, "--keep-fd", 125},
		{[]string{"run", "--", "no-such-command-here"}, "no-such-command-here", 127},
		{[]string{"run", "--", "/no/such/file"}, "/no/such/file", 127},
		{[]string{"run", "--", plain}, plain, 126},
		{[]string{"run", "--", "/"}, "/", 126},
	} {
		status, stdout, stderr := testkit.Run(t, watchdog(t, c.args...))
		lines := strings.Count(stderr, "\n") + 1
		if status != c.status || !strings.Contains(stderr, c.says) || lines != 1 || stdout != "" {
			t.Errorf("watchdog %q: status %d, %d lines %q, stdout %q; want %d and one line with %q",
				c.args, status, lines, stderr, stdout, c.status, c.says)
		}
	}
	testkit.StillAlive(t, w.Ident)
}

func TestHelpIsOnStandardOutput(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"guard", "--help"}} {
		status, stdout, stderr := testkit.Run(t, watchdog(t, args...))
		for _, want := range []string{"--grace", "3s", "LEASH_GRACE", "--parent-fd", "LEASH_LOG_FORMAT"} {
			if status != 0 || stderr != "" || !strings.Contains(stdout, want) {
				t.Errorf("watchdog %q: status %d, stderr %q, no %q in:\n%s", args, status, stderr, want, stdout)
			}
		}
	}
}

func TestEnvironmentSetsFlags(t *testing.T) {
	cmd := watchdog(t, "run", "--", "true")
	cmd.Env = append(cmd.Env, "LEASH_GRACE=nonsense")
	if status, _, stderr := testkit.Run(t, cmd); status != 125 || !strings.Contains(stderr, "LEASH_GRACE") {
		t.Errorf("status %d, %q", status, stderr)
	}
	cmd = watchdog(t, "run", "--", "true")
	cmd.Env = append(cmd.Env, "LEASH_RUN_ID=k3x9a2p", "LEASH_WORKER_ID=w7")
	_, _, stderr := testkit.Run(t, cmd)
	for _, e := range testkit.Events(strings.NewReader(stderr)) {
		if e.Str("leash.run_id") != "k3x9a2p" || e.Str("leash.worker_id") != "w7" {
			t.Errorf("%v", e)
		}
	}
}

func TestRunGivesTheWorkersStatus(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 7": 7, "kill -KILL $$": 137, "kill -TERM $$": 143, "exit 255": 255,
	} {
		status, _, stderr := testkit.Run(t, watchdog(t, "run", "--", "sh", "-c", script))
		if status != want {
			t.Errorf("%s: status %d, want %d\n%s", script, status, want, stderr)
		}
	}
}

func TestEventsOfALife(t *testing.T) {
	status, _, stderr := testkit.Run(t, watchdog(t, "run", "--worker-id", "w1", "--", "sh", "-c", "exit 3"))
	if status != 3 {
		t.Fatal(status)
	}
	var names []string
	for _, e := range testkit.Events(strings.NewReader(stderr)) {
		names = append(names, e.Name())
		for _, key := range []string{"event", "leash.run_id", "leash.worker_id", "process.pid", "process.parent_pid"} {
			if e[key] == nil {
				t.Errorf("no %s in %v", key, e)
			}
		}
		if e.Int("process.parent_pid") != os.Getpid() {
			t.Errorf("parent in %v, want %d", e, os.Getpid())
		}
	}
	want := "[watchdog.started process.started process.terminated process.cleanup_completed watchdog.stopped]"
	if fmt.Sprint(names) != want {
		t.Errorf("events %v, want %s", names, want)
	}
	for _, want := range []string{
		`"backend":"event"`, `"containment":"`, `"process.creation.time":"`, `"process.exit.code":3`, `"reason":"worker_exited"`,
		`"uptime_ms":`, `"success":true`, `"survivors":0`, `"method":"none"`, `"outcome":"worker_exited"`, `"exit_status":3`,
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %s in\n%s", want, stderr)
		}
	}
}

func TestTextEventsAndLevels(t *testing.T) {
	_, _, stderr := testkit.Run(t, watchdog(t, "run", "--log-format", "text", "--", "true"))
	if !strings.Contains(stderr, "event=watchdog.started") || !strings.Contains(stderr, "outcome=worker_exited") {
		t.Errorf("%s", stderr)
	}
	if _, _, stderr := testkit.Run(t, watchdog(t, "run", "--log-level", "error", "--", "true")); stderr != "" {
		t.Errorf("level error says %q", stderr)
	}
}

func TestLogFileAndLogFD(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	os.WriteFile(file, []byte("kept\n"), 0o600)
	if _, _, stderr := testkit.Run(t, watchdog(t, "run", "--log-file", file, "--", "true")); stderr != "" {
		t.Errorf("standard error has %q", stderr)
	}
	b, _ := os.ReadFile(file)
	if s := string(b); !strings.HasPrefix(s, "kept\n{") || !strings.Contains(s, "watchdog.stopped") {
		t.Errorf("the file has %q", s)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := watchdog(t, "run", "--log-fd", "3", "--", "sh", "-c", "ls /proc/self/fd | tr '\n' ' '")
	cmd.ExtraFiles = []*os.File{w}
	p := testkit.Start(t, cmd)
	w.Close()
	testkit.Collect(t, r).AwaitEvent("watchdog.stopped")
	// 3 is the directory that ls itself reads.
	if out := p.Stdout.AwaitEnd(); out != "0 1 2 3 " {
		t.Errorf("the worker has descriptors %q", out)
	}
}

func TestBrokenLogReaderStopsNothing(t *testing.T) {
	for name, prepare := range map[string]func(r, w *os.File){
		"gone":    func(r, w *os.File) { r.Close() },
		"stalled": fill,
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			prepare(r, w)
			cmd := watchdog(t, "run", "--", "sh", "-c", "echo ready; exec sleep 1000000")
			cmd.Stderr = w
			p := testkit.Start(t, cmd)
			w.Close()
			p.Stdout.Await("ready")
			p.Signal(syscall.SIGHUP) // forwarded, and its record cannot be written
			if status := p.Wait(); status != 128+1 {
				t.Errorf("status %d", status)
			}
			r.Close()
		})
	}
}

// fill writes into a pipe until not one byte more goes in.
func fill(_, w *os.File) {
	fd := int(w.Fd())
	syscall.SetNonblock(fd, true)
	for b := make([]byte, 4096); ; {
		if _, err := syscall.Write(fd, b); err != nil {
			if len(b) == 1 {
				break
			}
			b = b[:1]
		}
	}
	syscall.SetNonblock(fd, false)
}
