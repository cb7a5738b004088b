//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"testing"
)

// Wrong calls of new users, and the hints for them.
func TestHints(t *testing.T) {
	const start = "; to start a worker: watchdog run -- "
	const guards = "guard, the default command, needs --worker-pid" + start
	for _, c := range []struct {
		args []string
		want string
		env  string
	}{
		{[]string{"--", "sleep", "1"}, guards + "sleep 1", ""},
		{[]string{"--grace", "1s", "--", "sleep", "1"}, guards + "sleep 1", ""},
		{[]string{"--", "sh", "-c", "echo 'a'"}, guards + `sh -c 'echo '\''a'\'''`, ""},
		{[]string{"--", "a", "b", "c", "d"}, guards + "a b c ...", ""},
		{[]string{"--", strings.Repeat("x", 80)}, guards + "...", ""},
		{[]string{"guard", "--", "sleep", "1"}, "missing flags: --worker-pid=PID", ""},
		{[]string{"sleep", "1"}, "sleep is not a command of watchdog (guard, run, pool, doctor)" + start + "sleep 1", ""},
		{[]string{"--grace", "1s", "sleep", "1"}, "sleep is not a command of watchdog (guard, run, pool, doctor)" + start + "sleep 1", ""},
		{[]string{"sleep", "--", "1"}, "sleep is not a command of watchdog (guard, run, pool, doctor)" + start + "sleep 1", ""},
		{[]string{"rum", "--", "sleep", "1"}, "rum is not a command of watchdog (guard, run, pool, doctor)" + start + "rum sleep 1", ""},
		{[]string{"guard", "sleep", "1"}, "sleep is not an argument of guard" + start + "sleep 1", ""},
		{[]string{"guard", "4711"}, "unexpected argument 4711: name the worker by its flag: watchdog guard --worker-pid 4711", ""},
		{[]string{"4711"}, "unexpected argument 4711: name the worker by its flag: watchdog guard --worker-pid 4711", ""},

		{[]string{"run", "--heartbeat", "--", "x"}, "--heartbeat: the value is missing: off or notify", ""},
		{[]string{"run", "--heartbeat", "--grace", "1s", "--", "x"}, `--heartbeat: the value is missing before "--grace": off or notify`, ""},
		{[]string{"run", "--restart", "--", "x"}, "--restart: the value is missing: never, on-failure or always", ""},
		{[]string{"run", "--grace", "--", "x"}, "--grace: the value is missing: write --grace=3s", ""},
		{[]string{"run", "--grace", "--", "x"}, "--grace: the value is missing: write --grace=3s", "LEASH_GRACE=5s"},
		{[]string{"run", "--graec", "3s", "--", "x"}, `unknown flag --graec, did you mean "--grace"?`, ""},
		{[]string{"run", "--graec=3s", "x"}, `unknown flag --graec, did you mean "--grace"?`, ""},
		{[]string{"run", "-grace", "3s", "--", "x"}, `unknown flag -g, did you mean one of "--grace", "--grace-max"?`, ""},
		{[]string{"run", "--restrat", "always", "--", "x"}, `unknown flag --restrat, did you mean "--restart"?`, ""},
		{[]string{"--graec", "3s", "--worker-pid=1"}, `unknown flag --graec, did you mean "--grace"?`, ""},

		{[]string{"run", "--", "x"}, `LEASH_LOG_LEVEL: "quiet" is none of auto, debug, info, warn and error`, "LEASH_LOG_LEVEL=quiet"},
		{[]string{"run", "--log-level=loud", "--", "x"}, `--log-level: "loud" is none of auto, debug, info, warn and error`, "LEASH_LOG_LEVEL=quiet"},
		{[]string{"run", "--", "x"}, `LEASH_GRACE: "3" has no unit: 3s are seconds, 3ms milliseconds, 3m minutes`, "LEASH_GRACE=3"},
		{[]string{"run", "--grace=3", "--", "x"}, `--grace: "3" has no unit: 3s are seconds, 3ms milliseconds, 3m minutes`, "LEASH_GRACE=5s"},
		{[]string{"run", "--", "x"}, `LEASH_BACKEND: "kqueue" is none of auto, event and poll`, "LEASH_BACKEND=kqueue"},
		{[]string{"run", "--", "x"}, `LEASH_SENTINEL: "on" is neither auto nor off`, "LEASH_SENTINEL=on"},
		{[]string{"run", "--sentinel=yes", "--", "x"}, `--sentinel: "yes" is neither auto nor off`, "LEASH_SENTINEL=on"},
		{[]string{"run", "--", "x"}, "LEASH_PARENT_PID: a PID is a number above 0", "LEASH_PARENT_PID=0"},
	} {
		var env []string
		if c.env != "" {
			env = []string{c.env}
		}
		refused(t, c.args, c.want, env...)
	}
}

// A whole line in one argument is not found, and the error has a hint.
func TestHintAtTheQuotes(t *testing.T) {
	for name, want := range map[string]string{
		"python3 worker.py": "run: python3 worker.py: executable file not found in $PATH; it is one word with spaces in it: " +
			"leave out the quotes: watchdog run -- python3 worker.py",
		"python3": "run: python3: executable file not found in $PATH",
	} {
		if err := commandFailed(name, exec.ErrNotFound); err.Error() != want {
			t.Errorf("%s; want %s", err, want)
		}
	}
	if err := commandFailed("/a b/c", fmt.Errorf("x: %w", fs.ErrPermission)); strings.Contains(err.Error(), "quotes") {
		t.Errorf("%s: a hint, although the command was found", err)
	}
}
