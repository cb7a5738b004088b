//go:build linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// environ is the environment of the tests without the variables that the reaper reads.
func environ(t *testing.T, more ...string) []string {
	t.Helper()
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LEASH_") && !strings.HasPrefix(e, "NO_COLOR=") && !strings.HasPrefix(e, "TERM=") {
			env = append(env, e)
		}
	}
	return append(append(env, "LEASH_STATE_DIR="+filepath.Join(t.TempDir(), "none")), more...)
}

func newID(t *testing.T) string {
	t.Helper()
	status, id, stderr := testkit.Run(t, exec.Command(testkit.Reaper(t), "id"))
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	return id
}

// worker starts a process of a run that ignores SIGTERM, and waits until it does.
func worker(t *testing.T, id string, args ...string) *testkit.Proc {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `trap "" TERM; echo UP; read x`, "worker"}, args...)...)
	cmd.Env = append(environ(t), "LEASH_RUN_ID="+id)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = r
	p := testkit.Start(t, cmd)
	r.Close()
	t.Cleanup(func() { w.Close() })
	p.Stdout.Await("UP")
	return p
}

// Whatever the standard descriptors are, the reaper does its work, its exit status says so,
// and it never prints a stack trace.
func TestStandardDescriptors(t *testing.T) {
	for _, c := range []struct {
		script         string // $1 is the reaper, $2 a run
		status         string
		stdout, stderr string // what they must hold; - is nothing at all
	}{
		{`"$1" reap --run-id $2 --grace 0s --json --log-level info >&-; echo $? >&2`, "0", "-", "reaper.completed"},
		{`"$1" reap --run-id $2 --grace 0s --json 2>&-; echo $? >&2`, "0", `"killed":1`, ""},
		{`"$1" reap --run-id $2 --grace 0s 2>/dev/full; echo $? >&2`, "0", "1 killed", ""},
		{`"$1" reap --run-id $2 --grace 0s --json <&- >&- 2>&-; echo $? >&2`, "0", "-", ""},
		{`"$1" reap --run-id $2 --grace 0s >/dev/full; echo $? >&2`, "125", "-", "reaper: write /dev/stdout: no space left on device"},
		{`"$1" reap --run-id $2 --grace 0s --json >/dev/full 2>/dev/full; echo $? >&2`, "125", "-", ""},
	} {
		id := newID(t)
		p := worker(t, id)
		cmd := exec.Command("sh", "-c", c.script, "sh", testkit.Reaper(t), id)
		cmd.Env = environ(t)
		_, stdout, stderr := testkit.Run(t, cmd)
		p.Wait() // it is ended in each case
		lines := strings.Split(stderr, "\n")
		if got := lines[len(lines)-1]; got != c.status {
			t.Errorf("%s: status %s, want %s", c.script, got, c.status)
		}
		if !holds(stdout, c.stdout) || !holds(stderr, c.stderr) || strings.Contains(stdout+stderr, "goroutine") {
			t.Errorf("%s:\nstdout %q\nstderr %q", c.script, stdout, stderr)
		}
	}
}

func holds(text, want string) bool {
	if want == "-" {
		return text == ""
	}
	return strings.Contains(text, want)
}

// unread is a pipe whose reader has closed it.
func unread(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() { w.Close() })
	return w
}

// A reader that takes one line and closes the pipe, like head(1), is no failure.
func TestWithoutAReader(t *testing.T) {
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"explain", itoa(os.Getpid())}, {"id"}} {
		cmd := exec.Command(testkit.Reaper(t), args...)
		cmd.Env, cmd.Stdout = environ(t), unread(t)
		if p := testkit.Start(t, cmd); p.Wait() != 0 || p.Stderr.AwaitEnd() != "" {
			t.Errorf("%q: status %d, %q", args, p.Wait(), p.Stderr.All())
		}
	}
	// It does not keep the reaper from its work either.
	for _, deaf := range []bool{false, true} {
		id := newID(t)
		p := worker(t, id)
		cmd := exec.Command(testkit.Reaper(t), "reap", "--run-id", id, "--grace", "0s", "--json")
		cmd.Env, cmd.Stdout = environ(t), unread(t)
		if deaf {
			cmd.Stderr = unread(t)
		}
		if status := testkit.Start(t, cmd).Wait(); status != 0 {
			t.Errorf("the events have no reader either: %t: status %d", deaf, status)
		}
		p.Wait()
	}
}

// A command line may hold any bytes. JSON may not.
func TestArgumentsThatAreNoText(t *testing.T) {
	id := newID(t)
	p := worker(t, id, "\xff\xfe", "\x1b[2J", "two\nlines", "漢")
	cmd := exec.Command(testkit.Reaper(t), "reap", "--run-id", id, "--json", "--dry-run")
	cmd.Env = environ(t)
	status, stdout, stderr := testkit.Run(t, cmd)
	var r struct {
		Runs []struct {
			Processes []struct{ Argv []string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || status != 0 || len(r.Runs) != 1 {
		t.Fatalf("status %d, %v: %s%s", status, err, stdout, stderr)
	}
	got := strings.Join(r.Runs[0].Processes[0].Argv[4:], " ")
	if want := "\ufffd\ufffd \x1b[2J two\nlines 漢"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, args := range [][]string{{"list"}, {"explain", itoa(p.PID)}, {"--run-id", id, "--dry-run"}} {
		cmd := exec.Command(testkit.Reaper(t), args...)
		cmd.Env = environ(t)
		status, stdout, _ := testkit.Run(t, cmd)
		if status != 0 || !strings.Contains(stdout, "\ufffd\ufffd ·[2J two·lines 漢") || strings.ContainsRune(stdout, 0x1b) {
			t.Errorf("%q: status %d, %q", args, status, stdout)
		}
	}
	if err := p.Ident.Signal(unix.Signal(0)); err != nil {
		t.Errorf("it should live: %v", err)
	}
}
