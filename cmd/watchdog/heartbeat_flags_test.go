//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGoodHeartbeats(t *testing.T) {
	pid := freePIDs(t)[0]
	name := strings.Repeat("n", 107)
	path := "/" + name[1:]
	for args, with := range map[string]func(*settings){
		"--heartbeat off": func(*settings) {},
		"--heartbeat notify --notify-socket=@leash":   func(s *settings) { s.heartbeat, s.notifySocket = "notify", "@leash" },
		"--heartbeat=notify --notify-socket " + path:  func(s *settings) { s.heartbeat, s.notifySocket = "notify", path },
		"--heartbeat=notify --notify-socket @" + name: func(s *settings) { s.heartbeat, s.notifySocket = "notify", "@"+name },
		"--heartbeat notify --heartbeat-interval 500ms --heartbeat-timeout 1s --max-missed 2 --startup-timeout 2m" +
			" --notify-socket /n --on-hang-signal ABRT --on-hang-command true --on-hang-timeout 1m --grace-max 1h": func(s *settings) {
			s.heartbeat, s.beatInterval, s.beatTimeout, s.maxMissed = "notify", 500*time.Millisecond, time.Second, 2
			s.startupTimeout, s.notifySocket, s.onHangSignal, s.onHangCommand = 2*time.Minute, "/n", "ABRT", "true"
			s.onHangTimeout, s.graceMax = time.Minute, time.Hour
		},
		// The least and the most.
		"--heartbeat-interval 1ms --heartbeat-timeout 1ms --max-missed 1 --startup-timeout 0 --on-hang-timeout 0s --grace-max 0": func(s *settings) {
			s.beatInterval, s.beatTimeout, s.maxMissed, s.onHangTimeout = time.Millisecond, time.Millisecond, 1, 0
		},
		"--heartbeat notify --notify-socket /n --heartbeat-interval 1h --heartbeat-timeout 24h --max-missed 1000 --startup-timeout 24h" +
			" --on-hang-timeout 24h --grace 24h --grace-max 24h --on-hang-signal 9": func(s *settings) {
			const day = 24 * time.Hour
			s.heartbeat, s.notifySocket, s.beatInterval, s.beatTimeout, s.maxMissed = "notify", "/n", time.Hour, day, 1000
			s.startupTimeout, s.onHangTimeout, s.grace, s.graceMax, s.onHangSignal = day, day, day, day, "9"
		},
		// Without effect while heartbeats are off, but not misleading.
		"--heartbeat-interval 1s --heartbeat-timeout 9s --max-missed 4 --on-hang-timeout 1s": func(s *settings) {
			s.beatInterval, s.beatTimeout, s.maxMissed, s.onHangTimeout = time.Second, 9*time.Second, 4, time.Second
		},
	} {
		clean(t)
		guard, run := defaults(pid), runDefaults(1)
		with(&guard)
		with(&run)
		gives(t, append([]string{fmt.Sprint("--worker-pid=", pid)}, strings.Fields(args)...), guard)
		gives(t, slices.Concat([]string{"run"}, strings.Fields(args), []string{"--", "true"}), run)
	}
}

func TestGoodRuns(t *testing.T) {
	for args, with := range map[string]func(*settings){
		"--heartbeat notify":                      func(s *settings) { s.heartbeat = "notify" },
		"--restart never --max-restarts 0":        func(s *settings) { s.maxRestarts = 0 },
		"--restart on-failure":                    func(s *settings) { s.restart = "on-failure" },
		"--restart=always --max-restarts=1000000": func(s *settings) { s.restart, s.maxRestarts = "always", 1000000 },
	} {
		clean(t, "LEASH_RESTART=always", "LEASH_MAX_RESTARTS=7") // these are not read
		want := runDefaults(1)
		with(&want)
		gives(t, slices.Concat([]string{"run"}, strings.Fields(args), []string{"--", "true"}), want)
	}
	// One argument, whatever is in it.
	clean(t)
	want := runDefaults(1)
	want.heartbeat, want.onHangCommand = "notify", "echo 'a  b'\n\"$LEASH_WORKER_PID\", -p"
	gives(t, []string{"run", "--heartbeat=notify", "--on-hang-command", want.onHangCommand, "--", "true"}, want)
}

func TestHeartbeatEnvironment(t *testing.T) {
	pid := freePIDs(t)[0]
	clean(t, "LEASH_HEARTBEAT=notify", "LEASH_HEARTBEAT_INTERVAL=3s", "LEASH_HEARTBEAT_TIMEOUT=20s", "LEASH_MAX_MISSED=5",
		"LEASH_STARTUP_TIMEOUT=1m", "LEASH_NOTIFY_SOCKET=/run/n", "LEASH_ON_HANG_SIGNAL=QUIT",
		"LEASH_ON_HANG_COMMAND=py-spy dump, --pid", "LEASH_ON_HANG_TIMEOUT=7s", "LEASH_GRACE_MAX=5m")
	with := func(s settings) settings {
		s.heartbeat, s.beatInterval, s.beatTimeout, s.maxMissed = "notify", 3*time.Second, 20*time.Second, 5
		s.startupTimeout, s.notifySocket, s.onHangSignal = time.Minute, "/run/n", "QUIT"
		s.onHangCommand, s.onHangTimeout, s.graceMax = "py-spy dump, --pid", 7*time.Second, 5*time.Minute
		return s
	}
	worker := fmt.Sprint("--worker-pid=", pid)
	want := with(defaults(pid))
	gives(t, []string{worker}, want)
	gives(t, []string{"run", "--", "true"}, with(runDefaults(1)))
	want.maxMissed, want.notifySocket = 1, "@n"
	gives(t, []string{worker, "--max-missed=1", "--notify-socket=@n"}, want)

	refused(t, []string{worker, "--startup-timeout=1s"}, "--startup-timeout: needs --heartbeat notify")
	for env, line := range map[string]string{
		"LEASH_HEARTBEAT=on":          `LEASH_HEARTBEAT: "on" is neither off nor notify`,
		"LEASH_MAX_MISSED=0":          "LEASH_MAX_MISSED: 0 is not between 1 and 1000",
		"LEASH_NOTIFY_SOCKET=x":       `LEASH_NOTIFY_SOCKET: "x" is a relative path: begin a path with / and a name with @`,
		"LEASH_STARTUP_TIMEOUT=25h":   "LEASH_STARTUP_TIMEOUT: 25h0m0s is not between 0s and 24h0m0s",
		"LEASH_ON_HANG_SIGNAL=FOO":    `LEASH_ON_HANG_SIGNAL: "FOO" is not a signal of this system`,
		"LEASH_ON_HANG_TIMEOUT=never": `LEASH_ON_HANG_TIMEOUT: "never" is not a duration, or is too long: write it like 3s, 500ms or 5m`,
	} {
		refused(t, []string{worker}, line, env)
		refused(t, []string{"run", "--", "true"}, line, env)
	}
}

// Errors of both commands.
func TestBadHeartbeats(t *testing.T) {
	const relative = " is a relative path: begin a path with / and a name with @"
	long := strings.Repeat("n", 108)
	for _, c := range []struct{ args, want string }{
		{"--heartbeat on", `--heartbeat: "on" is neither off nor notify`},
		{"--heartbeat=", "--heartbeat: " + noValue},
		{"--heartbeat Notify", `--heartbeat: "Notify" is neither off nor notify`},
		{"--heartbeat-interval 0s", "--heartbeat-interval: 0s is not between 1ms and 1h0m0s"},
		{"--heartbeat-interval=-2s", "--heartbeat-interval: -2s is not between 1ms and 1h0m0s"},
		{"--heartbeat-interval 999us", "--heartbeat-interval: 999µs is not between 1ms and 1h0m0s"},
		{"--heartbeat-interval 61m --heartbeat-timeout 2h", "--heartbeat-interval: 1h1m0s is not between 1ms and 1h0m0s"},
		{"--heartbeat-interval 2", `--heartbeat-interval: "2" has no unit: 2s are seconds, 2ms milliseconds, 2m minutes`},
		{"--heartbeat-timeout 0s", "--heartbeat-timeout: 0s is not between 1ms and 24h0m0s"},
		{"--heartbeat-timeout 24h1s", "--heartbeat-timeout: 24h0m1s is not between 1ms and 24h0m0s"},
		{"--heartbeat-timeout 1s", "--heartbeat-interval: 2s is longer than --heartbeat-timeout, 1s: shorten the one or lengthen the other"},
		{"--heartbeat-interval 11s", "--heartbeat-interval: 11s is longer than --heartbeat-timeout, 10s: shorten the one or lengthen the other"},
		{"--heartbeat-interval 5ms --heartbeat-timeout 4ms --heartbeat notify",
			"--heartbeat-interval: 5ms is longer than --heartbeat-timeout, 4ms: shorten the one or lengthen the other"},
		{"--max-missed 0", "--max-missed: 0 is not between 1 and 1000"},
		{"--max-missed=-1", "--max-missed: -1 is not between 1 and 1000"},
		{"--max-missed 1001", "--max-missed: 1001 is not between 1 and 1000"},
		{"--max-missed 2.5", `--max-missed: "2.5" ` + notPlain},
		{"--startup-timeout=-1s", "--startup-timeout: -1s is not between 0s and 24h0m0s"},
		{"--startup-timeout 25h", "--startup-timeout: 25h0m0s is not between 0s and 24h0m0s"},
		{"--on-hang-timeout=-1ns", "--on-hang-timeout: -1ns is not between 0s and 24h0m0s"},
		{"--on-hang-timeout 1441m", "--on-hang-timeout: 24h1m0s is not between 0s and 24h0m0s"},
		{"--on-hang-signal FOO", `--on-hang-signal: "FOO" is not a signal of this system`},
		{"--on-hang-signal 0", `--on-hang-signal: "0" is not a signal of this system`},
		{"--on-hang-signal 65", `--on-hang-signal: "65" is not a signal of this system`},
		{"--grace-max=-1s", "--grace-max: -1s is not between 0s and 24h0m0s"},
		{"--grace-max 24h1s", "--grace-max: 24h0m1s is not between 0s and 24h0m0s"},
		{"--grace-max 2s --heartbeat notify", "--grace-max: 2s is shorter than --grace, 3s: lengthen it, or leave it out"},
		{"--grace-max 9s --grace 10s --heartbeat notify", "--grace-max: 9s is shorter than --grace, 10s: lengthen it, or leave it out"},
		{"--notify-socket notify", `--notify-socket: "notify"` + relative},
		{"--notify-socket ./n", `--notify-socket: "./n"` + relative},
		{"--notify-socket ../@n --heartbeat notify", `--notify-socket: "../@n"` + relative},
		{"--notify-socket vsock:2:99", `--notify-socket: "vsock:2:99"` + relative},
		{"--notify-socket " + long, `--notify-socket: "` + long + `"` + relative},
		{"--notify-socket @", "--notify-socket: @ alone is not a name: add one after it"},
		{"--notify-socket @" + long, "--notify-socket: the name after @ is 108 bytes long: 107 are allowed"},
		{"--notify-socket /" + long, "--notify-socket: the path is 109 bytes long: 107 are allowed"},
		{"--notify-socket /" + long[1:], "--notify-socket: the path is 108 bytes long: 107 are allowed"},
		{"--notify-socket /" + strings.Repeat("ä", 54), "--notify-socket: the path is 109 bytes long: 107 are allowed"},
		{"--notify-socket /a\x00b", `--notify-socket: "/a\x00b" holds a NUL byte`},
		{"--notify-socket @\x00", `--notify-socket: "@\x00" holds a NUL byte`},

		{"--startup-timeout 1s", "--startup-timeout: needs --heartbeat notify"},
		{"--notify-socket /n --heartbeat off", "--notify-socket: needs --heartbeat notify"},
		{"--on-hang-signal ABRT", "--on-hang-signal: needs --heartbeat notify"},
		{"--on-hang-command true", "--on-hang-command: needs --heartbeat notify"},
		{"--grace-max 3s", "--grace-max: needs --heartbeat notify"},
	} {
		args := strings.Fields(c.args)
		refused(t, append([]string{"--worker-pid=1"}, args...), c.want)
		refused(t, slices.Concat([]string{"run"}, args, []string{"--", "true"}), c.want)
	}
}

// Errors of one command only.
func TestBadGuardsAndRuns(t *testing.T) {
	const socket = "--heartbeat notify: guard needs --notify-socket too: what the worker was given as NOTIFY_SOCKET"
	for args, want := range map[string]string{
		"--worker-pid=1 --heartbeat notify":                   socket,
		"guard --worker-pid=1 --heartbeat=notify":             socket,
		"--worker-pid=1 --restart never":                      "unknown flag --restart",
		"run --restart sometimes -- true":                     `--restart: "sometimes" is none of never, on-failure and always`,
		"run --restart= -- true":                              "--restart: " + noValue,
		"run --restart on_failure --heartbeat notify -- true": `--restart: "on_failure" is none of never, on-failure and always`,
		"run --max-restarts=-1 -- true":                       "--max-restarts: -1 is not between 0 and 1000000",
		"run --restart always --max-restarts 1000001 -- true": "--max-restarts: 1000001 is not between 0 and 1000000",
		"run --restart always --max-restarts always -- true":  `--max-restarts: "always" ` + notPlain,
		"run --restart -- true":                               "--restart: the value is missing: never, on-failure or always",
		"run --restarts always -- true":                       `unknown flag --restarts, did you mean "--restart"?`,
	} {
		refused(t, strings.Fields(args), want)
	}
	refused(t, []string{"--worker-pid=1"}, socket, "LEASH_HEARTBEAT=notify", "LEASH_NOTIFY_SOCKET=")
}
