//go:build linux

package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"leash/internal/helptext"
)

func TestHelp(t *testing.T) {
	quiet(t)
	const (
		common = `--log-format="text" ($LEASH_LOG_FORMAT) --log-level="auto" ($LEASH_LOG_LEVEL) --help --version`
		reap   = "--run-id=ID --worker-id=ID --dry-run --grace=2s --unclaimed --unguarded --json"
	)
	for args, want := range map[string]string{
		"--help":         "Usage: reaper <command> [flags] reap list explain who metrics doctor id LEASH_STATE_DIR 0 1 125 " + common + " " + reap,
		"-h":             "Usage: reaper <command> [flags]",
		"reap --help":    "Usage: reaper reap [flags] 0 1 125 " + common + " " + reap,
		"list --help":    "Usage: reaper list [flags] --json " + common,
		"explain --help": "Usage: reaper explain [flags] PID --json " + common,
		"who --help":     "Usage: reaper who [flags] TARGET tcp:PORT udp:PORT gpu:N --end --json 0 1 125 " + common,
		"metrics --help": "Usage: reaper metrics [flags] --output=FILE 0 125 " + common,
		"doctor --help":  "Usage: reaper doctor [flags] --json --help 0 1 125",
		"id --help":      "Usage: reaper id [flags]",
	} {
		var b bytes.Buffer
		if _, _, err := parse(strings.Fields(args), &b); !errors.Is(err, helptext.ErrPrinted) {
			t.Errorf("%s: %v", args, err)
		}
		has := map[string]bool{}
		for word := range strings.FieldsSeq(b.String()) {
			has[word], has[strings.Trim(word, "(),;.:")] = true, true
		}
		for word := range strings.FieldsSeq(want) {
			if !has[word] {
				t.Errorf("%s: no %s in\n%s", args, word, b.String())
			}
		}
		if n := strings.Count(b.String(), "\n"); n > helptext.Lines {
			t.Errorf("%s: %d lines do not fit a screen of %d", args, n, helptext.Lines)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helptext.Columns {
				t.Errorf("%s: a line of %d columns: %s", args, n, line)
			}
		}
	}
}
