//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/helptext"
)

// clean sets an environment without the variables of the flags.
func clean(t *testing.T, more ...string) {
	t.Helper()
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LEASH_") {
			env = append(env, e)
		}
	}
	setenv(t, append(env, more...))
}

// defaults are the settings of a guard with only a worker.
func defaults(pid int) settings {
	return settings{
		defaultParent: os.Getppid(), parentFD: -1, logFD: -1, sentinelFD: -1, workerPID: pid,
		grace: 3 * time.Second, stopSignal: "TERM", killMode: "mixed", backend: "auto", pollInterval: time.Second,
		logFormat: "text", logLevel: "info",
		heartbeat: "off", beatInterval: 2 * time.Second, beatTimeout: 10 * time.Second, maxMissed: 3,
		onHangTimeout: 5 * time.Second, restart: "never",
	}
}

// runDefaults are the settings of a run; words is the length of its command.
func runDefaults(words int) settings {
	s := defaults(0)
	s.run, s.commandAt, s.maxRestarts, s.sentinel, s.logLevel = true, len(os.Args)-words, 3, "auto", "warn"
	return s
}

func TestGoodCalls(t *testing.T) {
	// PIDs that no process or thread has are accepted.
	free := freePIDs(t)
	w, p, q := free[0], free[1], free[2]
	numbers := strings.NewReplacer("$W", strconv.Itoa(w), "$P", strconv.Itoa(p), "$Q", strconv.Itoa(q))
	for name, c := range map[string]struct {
		args string
		base settings
		with func(*settings)
	}{
		"guard by default": {"--worker-pid $W", defaults(w), nil},
		"guard by name":    {"guard --worker-pid=$W", defaults(w), nil},
		"all of guard": {"--worker-pid=$W --parent-pid=$P --parent-pid $Q --parent-fd=0 --worker-id w.1 --run-id abc1234" +
			" --grace 300s --stop-signal SIGINT --kill-mode group --backend poll --poll-interval 20ms" +
			" --log-format json --log-level debug --log-file /x/y", defaults(w), func(s *settings) {
			s.parents, s.parentFD, s.workerID, s.runID = []int{p, q}, 0, "w.1", "abc1234"
			s.grace, s.stopSignal, s.backend, s.pollInterval = 300*time.Second, "SIGINT", "poll", 20*time.Millisecond
			s.killMode = "group"
			s.logFormat, s.logLevel, s.logFile, s.named = "json", "debug", "/x/y", true
		}},
		"an older run ID": {"--worker-pid $W --run-id 1760151234493767_621181", defaults(w),
			func(s *settings) { s.runID = "1760151234493767_621181" }},
		"no grace":        {"--worker-pid $W --grace 0s", defaults(w), func(s *settings) { s.grace = 0 }},
		"signal 9":        {"--worker-pid $W --stop-signal 9", defaults(w), func(s *settings) { s.stopSignal = "9" }},
		"signal in small": {"--worker-pid $W --stop-signal usr1", defaults(w), func(s *settings) { s.stopSignal = "usr1" }},
		"a log descriptor": {"--worker-pid $W --log-fd 2", defaults(w),
			func(s *settings) { s.logFD = 2 }},

		"run":                   {"run -- true", runDefaults(1), nil},
		"run without --":        {"run true", runDefaults(1), nil},
		"the worker's flags":    {"run -- worker --grace 9s --run-id=x -- y", runDefaults(6), nil},
		"its flags, without --": {"run worker --grace 9s", runDefaults(3), nil},
		"flags of both": {"run --grace 1s -- worker --grace 9s", runDefaults(3),
			func(s *settings) { s.grace = time.Second }},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			want := c.base
			if c.with != nil {
				c.with(&want)
			}
			gives(t, strings.Fields(numbers.Replace(c.args)), want)
		})
	}
}

func gives(t *testing.T, args []string, want settings) {
	t.Helper()
	got, err := parse(args, io.Discard)
	if err != nil || !reflect.DeepEqual(got, &want) {
		t.Errorf("%q gives\n%+v, %v; want\n%+v", args, got, err, &want)
	}
}

func TestKeptDescriptors(t *testing.T) {
	clean(t)
	r, w := pipe(t)
	in, out := int(r.Fd()), int(w.Fd())
	s, err := parse([]string{"run", fmt.Sprint("--keep-fd=", in), fmt.Sprint("--keep-fd=", out),
		fmt.Sprint("--parent-fd=", in), fmt.Sprint("--log-fd=", out), "--", "true"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{in, out, in, out}; !reflect.DeepEqual(s.openFDs(), want) || len(s.keepFDs) != 2 {
		t.Errorf("descriptors %v, want %v", s.openFDs(), want)
	}
}

func TestEnvironment(t *testing.T) {
	free := freePIDs(t)
	worker := fmt.Sprint("--worker-pid=", free[0])
	clean(t, fmt.Sprintf("LEASH_PARENT_PID=%d,%d", free[1], free[2]), "LEASH_WORKER_ID=w1", "LEASH_RUN_ID=abc1234", "LEASH_GRACE=1m",
		"LEASH_STOP_SIGNAL=QUIT", "LEASH_KILL_MODE=group", "LEASH_BACKEND=event", "LEASH_POLL_INTERVAL=2s", "LEASH_LOG_FORMAT=json",
		"LEASH_LOG_LEVEL=warn", "LEASH_LOG_FILE=/x")
	want := defaults(free[0])
	want.parents, want.workerID, want.runID, want.grace = free[1:3], "w1", "abc1234", time.Minute
	want.stopSignal, want.killMode, want.backend, want.pollInterval = "QUIT", "group", "event", 2*time.Second
	want.logFormat, want.logLevel, want.logFile = "json", "warn", "/x"
	gives(t, []string{worker}, want)
	// A flag takes precedence over the environment.
	want.grace, want.parents = 5*time.Second, free[2:3]
	gives(t, []string{worker, "--grace=5s", fmt.Sprint("--parent-pid=", free[2])}, want)
	clean(t, "LEASH_LOG_FD=2")
	if got, err := parse([]string{worker}, io.Discard); err != nil || got.logFD != 2 {
		t.Errorf("LEASH_LOG_FD: %+v, %v", got, err)
	}
	clean(t, "LEASH_GRACE=soon")
	if _, err := parse([]string{worker}, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "LEASH_GRACE: ") {
		t.Errorf("LEASH_GRACE=soon: %v", err)
	}
}

// variables are those that the flags name, in the order of their names.
func variables(t *testing.T) (names []string) {
	t.Helper()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[flags]()) {
		if name, ok := f.Tag.Lookup("env"); ok {
			names = append(names, name)
		}
	}
	if len(names) < 20 {
		t.Fatalf("only %q", names)
	}
	return names
}

// An empty variable counts as unset.
func TestEmptyVariables(t *testing.T) {
	var all []string
	for _, name := range variables(t) {
		all = append(all, name+"=")
	}
	pid := freePIDs(t)[0]
	clean(t, all...)
	gives(t, []string{fmt.Sprint("--worker-pid=", pid)}, defaults(pid))
	gives(t, []string{"run", "--", "true"}, runDefaults(1))
	// Other variables still count, and a blank is not empty.
	clean(t, append(all, "LEASH_GRACE=1m")...)
	want := defaults(pid)
	want.grace = time.Minute
	gives(t, []string{fmt.Sprint("--worker-pid=", pid)}, want)
	clean(t, append(all, "LEASH_GRACE= ")...)
	if _, err := parse([]string{fmt.Sprint("--worker-pid=", pid)}, io.Discard); err == nil {
		t.Error("a blank grace was taken")
	}
}

func help(t *testing.T, args string, env ...string) string {
	t.Helper()
	clean(t, env...)
	var out bytes.Buffer
	if _, err := parse(strings.Fields(args), &out); !errors.Is(err, helptext.ErrPrinted) {
		t.Errorf("%s: %v", args, err)
	}
	return out.String()
}

// freePIDs are three PIDs that no process has: the highest are seldom used.
func freePIDs(t *testing.T) (free []int) {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	for pid := atoi(t, strings.TrimSpace(string(b))) - 1; pid > 1 && len(free) < 3; pid-- {
		if unix.Kill(pid, 0) == unix.ESRCH {
			free = append(free, pid)
		}
	}
	if len(free) < 3 {
		t.Fatal("every PID is taken")
	}
	return free
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
