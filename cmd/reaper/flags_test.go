//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// quiet hides what the environment of the tests says.
func quiet(t *testing.T) {
	t.Helper()
	t.Setenv("LEASH_LOG_FORMAT", "text")
	t.Setenv("LEASH_LOG_LEVEL", "auto")
}

func TestParse(t *testing.T) {
	quiet(t)
	for _, c := range []struct {
		args    []string
		command string
		check   func(*flags) bool
	}{
		{nil, "reap", func(f *flags) bool {
			r := f.Reap
			return r.Grace == 2*time.Second && r.RunID == nil && !r.DryRun && !r.Unclaimed && !r.Json && f.LogFormat == "text" && f.LogLevel == "auto"
		}},
		{[]string{"reap"}, "reap", nil},
		{[]string{"--dry-run", "--unclaimed", "--json"}, "reap", func(f *flags) bool { return f.Reap.DryRun && f.Reap.Unclaimed && f.Reap.Json }},
		{[]string{"reap", "--run-id", "abc1234", "--run-id=1760151234493767_621181"}, "reap", func(f *flags) bool {
			return slices.Equal(f.Reap.RunID, []string{"abc1234", "1760151234493767_621181"})
		}},
		{[]string{"--grace", "0s"}, "reap", func(f *flags) bool { return f.Reap.Grace == 0 }},
		{[]string{"--grace", "24h"}, "reap", func(f *flags) bool { return f.Reap.Grace == 24*time.Hour }},
		{[]string{"--log-format=json", "list", "--log-level", "debug"}, "list", func(f *flags) bool {
			return f.LogFormat == "json" && f.LogLevel == "debug" && !f.List.Json
		}},
		{[]string{"list", "--json"}, "list", func(f *flags) bool { return f.List.Json }},
		{[]string{"explain", "1", "--json"}, "explain", func(f *flags) bool { return f.Explain.PID == 1 && f.Explain.Json }},
		{[]string{"id"}, "id", nil},
	} {
		command, f, err := parse(c.args, io.Discard)
		if err != nil || command != c.command || c.check != nil && !c.check(f) {
			t.Errorf("%q: %q, %+v, %v", c.args, command, f, err)
		}
	}
}

// Each bad call is told in one line that names what was wrong.
func TestParseRefuses(t *testing.T) {
	quiet(t)
	const (
		runID    = "is none: 7 characters of 0-9 and a-z"
		notPlain = "is no whole number: write the digits 0 to 9 alone, without a zero before them"
		noValue  = "the value is empty (an unset variable?): give one, or leave the flag out"
	)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--bogus"}, "unknown flag --bogus"},
		{[]string{"bogus"}, "unexpected argument bogus"},
		{[]string{"--run-id", "a,b"}, `--run-id: "a,b" ` + runID},
		{[]string{"--run-id", "abc1234,xyz9876"}, `--run-id: "abc1234,xyz9876" ` + runID}, // no list: given more than once
		{[]string{"--run-id="}, "--run-id: " + noValue},
		{[]string{"reap", "--run-id", "abc1234", "--run-id", ""}, "--run-id: " + noValue},
		{[]string{"--grace="}, "--grace: " + noValue},
		{[]string{"list", "--log-format", ""}, "--log-format: " + noValue},
		{[]string{"--run-id=abc1234\n"}, `--run-id: "abc1234\n" ` + runID},
		{[]string{"--run-id", "abc1234", "--run-id", "\x1b[2J"}, `--run-id: "\x1b[2J" ` + runID},
		{[]string{"--grace=-1s"}, "--grace: -1s is not between 0s and 24h0m0s"},
		{[]string{"--grace", "24h1ns"}, "--grace: 24h0m0.000000001s is not between 0s and 24h0m0s"},
		{[]string{"--grace", "5"}, `--grace: "5" has no unit: 5s are seconds, 5ms milliseconds, 5m minutes`},
		{[]string{"--log-format", "xml"}, `--log-format: "xml" is neither text nor json`},
		{[]string{"--log-format", "JSON"}, `--log-format: "JSON" is neither text nor json`},
		{[]string{"--log-level", "loud"}, `--log-level: "loud" is none of auto, debug, info, warn and error`},
		{[]string{"list", "--log-level="}, "--log-level: " + noValue},
		{[]string{"list", "--run-id", "abc1234"}, "unknown flag --run-id"},
		{[]string{"explain"}, `expected "<pid>"`},
		{[]string{"explain", "0"}, "a PID is a number above 0"},
		{[]string{"explain", "12x"}, `<pid>: "12x" ` + notPlain},
		{[]string{"explain", "010"}, `<pid>: "010" ` + notPlain},
		{[]string{"explain", "0x10"}, `<pid>: "0x10" ` + notPlain},
		{[]string{"explain", "+5"}, `<pid>: "+5" ` + notPlain},
		{[]string{"explain", "1_0"}, `<pid>: "1_0" ` + notPlain},
		{[]string{"explain", ""}, `<pid>: "" ` + notPlain},
		{[]string{"explain", "1", "2"}, "unexpected argument 2"},
		{[]string{"id", "--json"}, "unknown flag --json"},
	} {
		if _, _, err := parse(c.args, io.Discard); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v, want %s", c.args, err, c.want)
		}
	}
}

// The environment counts where no flag does, and never for who needs none.
func TestParseEnvironment(t *testing.T) {
	for name, bad := range map[string]string{"LEASH_LOG_FORMAT": "xml", "LEASH_LOG_LEVEL": "loud"} {
		t.Run(name, func(t *testing.T) {
			quiet(t)
			t.Setenv(name, bad)
			flag := strings.ReplaceAll(strings.ToLower(strings.Replace(name, "LEASH_", "--", 1)), "_", "-")
			for _, args := range [][]string{nil, {"list"}, {"explain", "1"}} {
				if _, _, err := parse(args, io.Discard); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
					t.Errorf("%q: %v", args, err)
				}
			}
			if _, _, err := parse([]string{"id"}, io.Discard); err != nil {
				t.Errorf("id: %v", err)
			}
			good := map[string]string{"xml": "json", "loud": "warn"}[bad]
			if _, _, err := parse([]string{flag, good}, io.Discard); err != nil {
				t.Errorf("the flag does not count: %v", err)
			}
			t.Setenv(name, good)
			if _, f, err := parse(nil, io.Discard); err != nil || f.LogFormat != good && f.LogLevel != good {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	quiet(t)
	var all bytes.Buffer
	parse([]string{"--help"}, &all)
	for _, want := range []string{"--run-id=ID", "--dry-run", "--grace=2s", "--unclaimed", "--json", "LEASH_LOG_FORMAT", "LEASH_LOG_LEVEL"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("no %s in\n%s", want, all.String())
		}
	}
	for _, args := range [][]string{{"--help"}, {"reap", "--help"}, {"list", "-h"}, {"explain", "--help"}, {"id", "--help"}} {
		var b bytes.Buffer
		if _, _, err := parse(args, &b); !errors.Is(err, errHelp) || !strings.HasPrefix(b.String(), "Usage: reaper") {
			t.Errorf("%q: %v, %q", args, err, b.String())
		}
		for line := range strings.Lines(b.String()) {
			if len(line) > 101 {
				t.Errorf("%q: a long line: %s", args, line)
			}
		}
	}
}

func TestEmptyVariablesSayNothing(t *testing.T) {
	t.Setenv("LEASH_LOG_FORMAT", "")
	t.Setenv("LEASH_LOG_LEVEL", "")
	if _, f, err := parse(nil, io.Discard); err != nil || f.LogFormat != "text" || f.LogLevel != "auto" {
		t.Errorf("%+v, %v", f, err)
	}
}
