//go:build linux

package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	noValue  = "the value is empty (an unset variable?): give one, or leave the flag out"
	notPlain = "is not a whole number: use the digits 0 to 9 only, without a leading zero"
)

// 010 is ten for a person and eight in C: it is refused, since another process might be hit.
func TestNumbersArePlain(t *testing.T) {
	numbers := []string{"010", "0x10", "1_0", "0b11", "0o7", "+5", "-05", "-0", "--5", "-", " 5", "5 ", "1e3", "2.5", "٣", "x"}
	for _, flag := range []string{"--worker-pid", "--parent-pid", "--parent-fd", "--log-fd", "--max-missed"} {
		for _, n := range numbers {
			refused(t, []string{"--worker-pid=1", flag + "=" + n}, fmt.Sprintf("%s: %q %s", flag, n, notPlain))
		}
		refused(t, []string{flag + "=99999999999999999999"}, flag+`: "99999999999999999999" is out of range`)
	}
	for _, flag := range []string{"--keep-fd", "--max-restarts"} {
		refused(t, []string{"run", flag + "=010", "--", "true"}, flag+`: "010" `+notPlain)
	}
	for name, flag := range map[string]string{
		"LEASH_PARENT_PID": "--parent-pid", "LEASH_LOG_FD": "--log-fd", "LEASH_MAX_MISSED": "--max-missed",
	} {
		refused(t, []string{"--worker-pid=1"}, name+`: "010" `+notPlain, name+"=010")
		refused(t, []string{"--worker-pid=1", flag + "=011"}, flag+`: "011" `+notPlain, name+"=010")
	}
	for list, bad := range map[string]string{"2,010": "010", "2,": "", ",2": "", "2,,3": "", "2;3": "2;3", "2, 3": " 3"} {
		refused(t, []string{"--worker-pid=1", "--parent-pid", list}, fmt.Sprintf("--parent-pid: %q %s", bad, notPlain))
	}
}

// The number of a signal is parsed by the same rule.
func TestSignalNumbersArePlain(t *testing.T) {
	for _, s := range []string{"015", "+15", "0x0f", "1_5", "-15", " 15"} {
		refused(t, []string{"--worker-pid=1", "--stop-signal=" + s}, fmt.Sprintf("--stop-signal: %q is not a signal of this system", s))
		refused(t, []string{"--worker-pid=1", "--on-hang-signal=" + s}, fmt.Sprintf("--on-hang-signal: %q is not a signal of this system", s))
	}
}

// A flag with an empty value is probably an unset variable in a script.
func TestEmptyFlagsAreRefused(t *testing.T) {
	seen := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[flags]()) {
		for _, flag := range flagsOf(f) {
			seen++
			for _, given := range [][]string{{flag + "="}, {flag, ""}} {
				args := append(append([]string{"run"}, given...), "--", "true")
				if flag == "--worker-pid" {
					args = given
				}
				refused(t, args, flag+": "+noValue)
			}
		}
	}
	if seen < 26 {
		t.Errorf("only %d flags were tried", seen)
	}
	refused(t, []string{"--worker-pid=1", "--parent-pid=1", "--parent-pid="}, "--parent-pid: "+noValue)
	// The worker's arguments may be empty.
	clean(t)
	gives(t, []string{"run", "--", "true", "--grace", ""}, runDefaults(3))
	gives(t, []string{"run", "true", "", "--run-id="}, runDefaults(3))
}

// flagsOf are the flags of a field of flags, or those of its command.
func flagsOf(f reflect.StructField) (names []string) {
	switch {
	case f.Tag.Get("arg") != "" || f.Type == reflect.TypeFor[[]string]() || f.Type.Kind() == reflect.Bool:
	case f.Tag.Get("help") != "" && f.Type.Kind() != reflect.Struct:
		names = append(names, "--"+dashed(f.Name))
	case f.Name == "Guard" || f.Name == "Run":
		for _, below := range reflect.VisibleFields(f.Type) {
			names = append(names, flagsOf(below)...)
		}
	}
	return names
}

// dashed writes WorkerID as worker-id.
func dashed(name string) string {
	var b strings.Builder
	for i, r := range strings.ReplaceAll(name, "ID", "Id") {
		if i > 0 && r < 'a' {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// There is one log only; a flag takes precedence over the variable of the other.
func TestLogByFlagOrVariable(t *testing.T) {
	const both = "--log-file and --log-fd: give only one of them"
	file, fd := "LEASH_LOG_FILE=/x", "LEASH_LOG_FD=2"
	want := runDefaults(1)
	clean(t, file)
	want.logFD, want.logLevel = 2, "info"
	gives(t, strings.Fields("run --log-fd 2 -- true"), want)
	clean(t, fd)
	want = runDefaults(1)
	want.logFile, want.logLevel = "/y", "info"
	gives(t, strings.Fields("run --log-file=/y -- true"), want)
	clean(t, fd, file)
	gives(t, strings.Fields("run --log-file=/y -- true"), want)
	refused(t, strings.Fields("run -- true"), both, file, fd)
	refused(t, strings.Fields("run --log-file=/y --log-fd=2 -- true"), both)
	refused(t, strings.Fields("run --log-file=/y --log-fd=2 -- true"), both, file)
	// A flag of the worker is not one of the watchdog.
	refused(t, strings.Fields("run -- true --log-fd=2"), both, file, fd)
	// A variable that is ignored must still be valid.
	refused(t, strings.Fields("run --log-file=/y -- true"), "LEASH_LOG_FD: a descriptor is a number from 0 on", "LEASH_LOG_FD=-5")
}

// Variables may be meant for other workers: those for heartbeats are ignored where heartbeats
// are off.
func TestHeartbeatVariablesArePassedOver(t *testing.T) {
	pid := freePIDs(t)[0]
	vars := []string{"LEASH_STARTUP_TIMEOUT=1m", "LEASH_NOTIFY_SOCKET=@x", "LEASH_ON_HANG_SIGNAL=ABRT",
		"LEASH_ON_HANG_COMMAND=true", "LEASH_GRACE_MAX=5s"}
	for _, c := range []struct{ flags, env string }{
		{"", "LEASH_HEARTBEAT="}, {"", "LEASH_HEARTBEAT=off"},
		{"--heartbeat off", "LEASH_HEARTBEAT=notify"}, {"--heartbeat=off", "LEASH_HEARTBEAT=off"},
	} {
		clean(t, append(vars, c.env)...)
		given := strings.Fields(c.flags)
		gives(t, append([]string{fmt.Sprint("--worker-pid=", pid)}, given...), defaults(pid))
		gives(t, append(append([]string{"run"}, given...), "--", "true"), runDefaults(1))
		// Then it does not matter that the longest grace period is shorter than this one.
		want := runDefaults(1)
		want.grace = time.Minute
		gives(t, append(append([]string{"run", "--grace=1m"}, given...), "--", "true"), want)
		// A flag is still an error.
		refused(t, append(append([]string{"run", "--startup-timeout=1m"}, given...), "--", "true"),
			"--startup-timeout: needs --heartbeat notify", append(vars, c.env)...)
	}
}
