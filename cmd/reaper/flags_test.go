//go:build linux

package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// quiet clears the variables that the reaper reads.
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

// The environment counts where no flag does, and never for a command that needs none.
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

func TestEmptyVariablesSayNothing(t *testing.T) {
	t.Setenv("LEASH_LOG_FORMAT", "")
	t.Setenv("LEASH_LOG_LEVEL", "")
	if _, f, err := parse(nil, io.Discard); err != nil || f.LogFormat != "text" || f.LogLevel != "auto" {
		t.Errorf("%+v, %v", f, err)
	}
}
