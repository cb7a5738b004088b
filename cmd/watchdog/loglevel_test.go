//go:build linux

package main

import (
	"io"
	"strings"
	"testing"
)

// guard writes events, and so does run if they were asked for.
func TestAutoLevel(t *testing.T) {
	for _, c := range []struct{ flags, env, run, guard string }{
		{"", "", "warn", "info"},
		{"", "LEASH_LOG_FORMAT=", "warn", "info"},
		{"", "LEASH_LOG_LEVEL=auto", "warn", "info"},
		{"--log-level auto", "", "warn", "info"},
		{"--log-format text", "", "info", "info"},
		{"--log-format=json", "", "info", "info"},
		{"--log-fd 2", "", "info", "info"},
		{"--log-file=/x", "", "info", "info"},
		{"", "LEASH_LOG_FORMAT=text", "info", "info"},
		{"", "LEASH_LOG_FILE=/x", "info", "info"},
		{"", "LEASH_LOG_FD=2", "info", "info"},
		{"--log-level auto", "LEASH_LOG_FD=2", "info", "info"},
		{"--log-level error", "LEASH_LOG_FORMAT=json", "error", "error"},
		{"--log-level info", "", "info", "info"},
		{"--log-format json", "LEASH_LOG_LEVEL=warn", "warn", "warn"},
		{"", "LEASH_LOG_LEVEL=debug", "debug", "debug"},
		{"--log-level auto --log-format json", "LEASH_LOG_LEVEL=debug", "info", "info"},
	} {
		clean(t)
		if c.env != "" {
			clean(t, c.env)
		}
		for command, want := range map[string]string{"run": c.run, "guard --worker-pid 1": c.guard} {
			args := append(strings.Fields(command), strings.Fields(c.flags)...)
			if command == "run" {
				args = append(args, "--", "true", "--log-format", "json")
			}
			s, err := parse(args, io.Discard)
			if err != nil || s.logLevel != want {
				t.Errorf("%q, %s: %+v, %v; want %s", args, c.env, s, err, want)
			}
		}
	}
}
