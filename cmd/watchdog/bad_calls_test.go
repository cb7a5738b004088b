//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Every wrong call is told in one line that names what was wrong.
func TestBadCalls(t *testing.T) {
	const run = "run: give the worker's command: watchdog run [flags] -- COMMAND [ARG...]"
	const runID = "is none: 7 characters of 0-9 and a-z (the reaper makes one: reaper id)"
	worker := func(args ...string) []string { return append([]string{"--worker-pid", "1"}, args...) }
	free := fmt.Sprint(freePIDs(t)[0])
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "missing flags: --worker-pid=PID; to start a worker: watchdog run [flags] -- COMMAND [ARG...]"},
		{[]string{"guard"}, "missing flags: --worker-pid=PID"},
		{[]string{"--run-id", "abc1234"}, "missing flags: --worker-pid=PID"},
		{[]string{"bogus"}, "bogus is no command of watchdog (guard, run); to start a worker: watchdog run -- bogus"},
		{worker("--no-such"), "unknown flag --no-such"},
		{worker("--gra", "1s"), `unknown flag --gra, did you mean one of "--grace", "--grace-max"?`},
		{worker("--restart", "always"), "unknown flag --restart"},
		{worker("--max-restarts", "3"), "unknown flag --max-restarts"},
		{worker("--keep-fd=3"), "unknown flag --keep-fd"},
		{worker("extra"), "unexpected argument extra"},
		{worker("--", "true"), "guard takes no command; to start one: watchdog run [flags] -- COMMAND [ARG...]"},

		{[]string{"--worker-pid", "0"}, "--worker-pid: a PID is a number above 0"},
		{[]string{"--worker-pid=-5"}, "--worker-pid: a PID is a number above 0"},
		{[]string{"--worker-pid", "-5"}, `--worker-pid: expected int value but got "-5" (short flag); perhaps try --worker-pid="-5"?`},
		{[]string{"--worker-pid", "abc"}, `--worker-pid: "abc" ` + notPlain},
		{[]string{"--worker-pid", "1e3"}, `--worker-pid: "1e3" ` + notPlain},
		{[]string{"--worker-pid", ""}, "--worker-pid: " + noValue},
		{[]string{"--worker-pid"}, "--worker-pid: the value is missing: write --worker-pid=PID"},
		{[]string{"--worker-pid", "99999999"}, "--worker-pid: " + tooHigh(t, 99999999)},
		{worker("--parent-pid", "0"), "--parent-pid: a PID is a number above 0"},
		{worker("--parent-pid", "1"), "--parent-pid: 1 is the worker itself"},
		{worker("--parent-pid", free, "--parent-pid", "99999999"), "--parent-pid: " + tooHigh(t, 99999999)},
		{worker("--parent-pid", fmt.Sprint(os.Getpid())), fmt.Sprintf("--parent-pid: %d is the watchdog itself", os.Getpid())},

		{worker("--parent-fd", "987"), "--parent-fd: descriptor 987 is not open"},
		{worker("--parent-fd=-7"), "--parent-fd: a descriptor is a number from 0 on"},
		{worker("--log-fd", "987"), "--log-fd: descriptor 987 is not open"},
		{worker("--log-fd=2", "--log-file=/x"), "--log-file and --log-fd: give one of them"},

		{worker("--grace=-1s"), "--grace: -1s is not between 0s and 24h0m0s"},
		{worker("--grace", "24h1ns"), "--grace: 24h0m0.000000001s is not between 0s and 24h0m0s"},
		{worker("--grace", "3"), `--grace: "3" has no unit: 3s are seconds, 3ms milliseconds, 3m minutes`},
		{worker("--grace", "9999999999h"), `--grace: "9999999999h" is no duration, or too long a one: write it like 3s, 500ms or 5m`},
		{worker("--poll-interval", "0s"), "--poll-interval: 0s is not between 1ms and 1h0m0s"},
		{worker("--poll-interval", "999us"), "--poll-interval: 999µs is not between 1ms and 1h0m0s"},
		{worker("--poll-interval", "61m"), "--poll-interval: 1h1m0s is not between 1ms and 1h0m0s"},
		{worker("--stop-signal", "FOO"), `--stop-signal: "FOO" is no signal of this system`},
		{worker("--stop-signal", "0"), `--stop-signal: "0" is no signal of this system`},
		{worker("--stop-signal", "65"), `--stop-signal: "65" is no signal of this system`},
		{worker("--stop-signal", ""), "--stop-signal: " + noValue},
		{worker("--kill-mode", "process"), `--kill-mode: "process" is neither mixed nor group`},
		{worker("--kill-mode", ""), "--kill-mode: " + noValue},
		{worker("--backend", "kqueue"), `--backend: "kqueue" is none of auto, event and poll`},
		{worker("--backend", "a\nb"), `--backend: "a\nb" is none of auto, event and poll`},
		{worker("--log-format", "xml"), `--log-format: "xml" is neither text nor json`},
		{worker("--log-level", "loud"), `--log-level: "loud" is none of auto, debug, info, warn and error`},
		{worker("--run-id", "x"), `--run-id: "x" ` + runID},
		{worker("--run-id", "ABC1234"), `--run-id: "ABC1234" ` + runID},
		{worker("--run-id", "abc1234\n"), `--run-id: "abc1234\n" ` + runID},

		{[]string{"run"}, run},
		{[]string{"run", "--"}, run},
		{[]string{"run", "--grace", "1s", "--"}, run},
		{[]string{"run", "--", ""}, "run: the command is empty"},
		{[]string{"run", "x", "--", "y"}, `unexpected argument "x" before --`},
		{[]string{"run", "--no-such", "--", "x"}, "unknown flag --no-such"},
		{[]string{"run", "--no-such", "x"}, "unknown flag --no-such"},
		{[]string{"run", "--worker-pid", "1", "--", "x"}, "unknown flag --worker-pid: it is one of guard, and run has none of that name"},
		{[]string{"run", "--keep-fd=2", "--", "x"}, "--keep-fd: 2 is not above 2"},
		{[]string{"run", "--keep-fd=987", "--", "x"}, "--keep-fd: descriptor 987 is not open"},
		{[]string{"run", "--grace=-1s", "--", "x"}, "--grace: -1s is not between 0s and 24h0m0s"},
	} {
		refused(t, c.args, c.want)
	}
}

// refused: the call is wrong, and this one line says why.
func refused(t *testing.T, args []string, want string, env ...string) {
	t.Helper()
	clean(t, env...)
	_, err := parse(args, io.Discard)
	if err == nil {
		t.Errorf("%q was taken", args)
	} else if err.Error() != want {
		t.Errorf("%q gives\n%s; want\n%s", args, err, want)
	} else if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q gives more than one line: %s", args, err)
	}
}

func tooHigh(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("no process can have the PID %d here: the highest is %d (/proc/sys/kernel/pid_max)",
		pid, atoi(t, strings.TrimSpace(string(b)))-1)
}

// Descriptors that are open the wrong way round.
func TestBadDescriptors(t *testing.T) {
	clean(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	path, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(path)
	for _, c := range []struct {
		flag string
		fd   int
		want string
	}{
		{"--parent-fd", int(w.Fd()), "not open for reading"},
		{"--log-fd", int(r.Fd()), "not open for writing"},
		{"--log-fd", path, "not open for writing"},
	} {
		want := fmt.Sprintf("%s: descriptor %d is %s", c.flag, c.fd, c.want)
		_, err := parse([]string{"--worker-pid=1", fmt.Sprintf("%s=%d", c.flag, c.fd)}, io.Discard)
		if err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// A thread is no process, although /proc shows it as one.
func TestThreadIsNoProcess(t *testing.T) {
	clean(t)
	tids, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, e := range tids {
		tid := atoi(t, e.Name())
		if tid == os.Getpid() {
			continue
		}
		tried++
		_, err := parse([]string{"--worker-pid", e.Name()}, io.Discard)
		want := fmt.Sprintf("--worker-pid: %d is a thread of process %d: give the process", tid, os.Getpid())
		if err == nil || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
	if tried == 0 {
		t.Fatal("a Go program has more than one thread")
	}
}

// What goes wrong is one line on standard error, and a status of its own.
func TestFail(t *testing.T) {
	for err, want := range map[error]int{
		fmt.Errorf("two\nlines"):                                        exitFailed,
		&commandError{fmt.Errorf("x"), exitNotFound}:                    exitNotFound,
		fmt.Errorf("start: %w", &commandError{io.EOF, exitCannot}):      exitCannot,
		commandFailed("x", os.ErrNotExist):                              exitNotFound,
		commandFailed("x", &os.PathError{Op: "exec", Err: unix.ENOENT}): exitNotFound,
		commandFailed("x", unix.EACCES):                                 exitCannot,
		commandFailed("x", unix.ENOEXEC):                                exitCannot,
	} {
		text, status := stderrOf(t, func() int { return fail(err) })
		if status != want {
			t.Errorf("%v: status %d, want %d", err, status, want)
		}
		if !strings.HasPrefix(text, "watchdog: ") || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
			t.Errorf("%v is told as %q", err, text)
		}
	}
}

func stderrOf(t *testing.T, f func() int) (string, int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	old := os.Stderr
	os.Stderr = w
	status := f()
	os.Stderr = old
	w.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), status
}
