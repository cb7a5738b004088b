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
)

// clean gives an environment without what the flags read.
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

// defaults are the settings of a guard with nothing but a worker.
func defaults(pid int) settings {
	return settings{
		defaultParent: os.Getppid(), parentFD: -1, logFD: -1, workerPID: pid,
		grace: 3 * time.Second, stopSignal: "TERM", backend: "auto", pollInterval: time.Second,
		logFormat: "text", logLevel: "info",
	}
}

func TestGoodCalls(t *testing.T) {
	// A worker that exists, and is neither we nor those above us.
	const w = "2"
	run := func(words int) settings {
		s := defaults(0)
		s.run, s.commandAt = true, len(os.Args)-words
		return s
	}
	for name, c := range map[string]struct {
		args string
		base settings
		with func(*settings)
	}{
		"guard by default": {"--worker-pid " + w, defaults(2), nil},
		"guard by name":    {"guard --worker-pid=" + w, defaults(2), nil},
		"all of guard": {"--worker-pid=2 --parent-pid=1 --parent-pid 3 --parent-fd=0 --worker-id w.1 --run-id abc1234" +
			" --grace 300s --stop-signal SIGINT --backend poll --poll-interval 20ms" +
			" --log-format json --log-level debug --log-file /x/y", defaults(2), func(s *settings) {
			s.parents, s.parentFD, s.workerID, s.runID = []int{1, 3}, 0, "w.1", "abc1234"
			s.grace, s.stopSignal, s.backend, s.pollInterval = 300*time.Second, "SIGINT", "poll", 20*time.Millisecond
			s.logFormat, s.logLevel, s.logFile = "json", "debug", "/x/y"
		}},
		"an older run ID": {"--worker-pid 2 --run-id 1760151234493767_621181", defaults(2),
			func(s *settings) { s.runID = "1760151234493767_621181" }},
		"no grace":        {"--worker-pid 2 --grace 0s", defaults(2), func(s *settings) { s.grace = 0 }},
		"signal 9":        {"--worker-pid 2 --stop-signal 9", defaults(2), func(s *settings) { s.stopSignal = "9" }},
		"signal in small": {"--worker-pid 2 --stop-signal usr1", defaults(2), func(s *settings) { s.stopSignal = "usr1" }},
		"a log descriptor": {"--worker-pid 2 --log-fd 2", defaults(2),
			func(s *settings) { s.logFD = 2 }},
		"a worker that never was": {"--worker-pid " + freePID(t), defaults(atoi(t, freePID(t))), nil},

		"run":                   {"run -- true", run(1), nil},
		"run without --":        {"run true", run(1), nil},
		"the worker's flags":    {"run -- worker --grace 9s --run-id=x -- y", run(6), nil},
		"its flags, without --": {"run worker --grace 9s", run(3), nil},
		"flags of both": {"run --grace 1s -- worker --grace 9s", run(3),
			func(s *settings) { s.grace = time.Second }},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			want := c.base
			if c.with != nil {
				c.with(&want)
			}
			got, err := parse(strings.Fields(c.args), io.Discard)
			if err != nil || !reflect.DeepEqual(got, &want) {
				t.Errorf("%s gives\n%+v, %v; want\n%+v", c.args, got, err, &want)
			}
		})
	}
}

func TestKeptDescriptors(t *testing.T) {
	clean(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
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
	clean(t, "LEASH_PARENT_PID=1,3", "LEASH_WORKER_ID=w1", "LEASH_RUN_ID=abc1234", "LEASH_GRACE=1m",
		"LEASH_STOP_SIGNAL=QUIT", "LEASH_BACKEND=event", "LEASH_POLL_INTERVAL=2s", "LEASH_LOG_FORMAT=json",
		"LEASH_LOG_LEVEL=warn", "LEASH_LOG_FILE=/x")
	want := defaults(2)
	want.parents, want.workerID, want.runID, want.grace = []int{1, 3}, "w1", "abc1234", time.Minute
	want.stopSignal, want.backend, want.pollInterval = "QUIT", "event", 2*time.Second
	want.logFormat, want.logLevel, want.logFile = "json", "warn", "/x"
	got, err := parse([]string{"--worker-pid=2"}, io.Discard)
	if err != nil || !reflect.DeepEqual(got, &want) {
		t.Errorf("%+v, %v; want\n%+v", got, err, &want)
	}
	// A flag goes before the environment.
	got, err = parse([]string{"--worker-pid=2", "--grace=5s", "--parent-pid=4"}, io.Discard)
	want.grace, want.parents = 5*time.Second, []int{4}
	if err != nil || !reflect.DeepEqual(got, &want) {
		t.Errorf("%+v, %v; want\n%+v", got, err, &want)
	}
	clean(t, "LEASH_LOG_FD=2")
	if got, err = parse([]string{"--worker-pid=2"}, io.Discard); err != nil || got.logFD != 2 {
		t.Errorf("LEASH_LOG_FD: %+v, %v", got, err)
	}
	clean(t, "LEASH_GRACE=soon")
	if _, err = parse([]string{"--worker-pid=2"}, io.Discard); err == nil || !strings.Contains(err.Error(), "--grace") {
		t.Errorf("LEASH_GRACE=soon: %v", err)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"--help", "guard --help", "run --help", "-h"} {
		clean(t)
		var out bytes.Buffer
		_, err := parse(strings.Fields(args), &out)
		if !errors.Is(err, errHelp) {
			t.Errorf("%s: %v", args, err)
		}
		for _, word := range []string{"--grace", "3s", "LEASH_GRACE", "--stop-signal", "LEASH_PARENT_PID"} {
			if !strings.Contains(out.String(), word) {
				t.Errorf("%s says nothing of %s:\n%s", args, word, out.String())
			}
		}
	}
}

// freePID is one that nobody has, and that somebody could have: a zombie's that
// was reaped just now would do, but the highest is seldom given.
func freePID(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	for pid := atoi(t, strings.TrimSpace(string(b))) - 1; pid > 1; pid-- {
		if unix.Kill(pid, 0) == unix.ESRCH {
			return strconv.Itoa(pid)
		}
	}
	t.Fatal("every PID is taken")
	return ""
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
