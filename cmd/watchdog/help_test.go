//go:build linux

package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"leash/internal/helptext"
)

// commonHelp is in the help of both commands: flags, their defaults, and their variables.
const commonHelp = `
--parent-pid=PID,...     $LEASH_PARENT_PID
--parent-fd=FD
--worker-id=ID           $LEASH_WORKER_ID
--run-id=ID              $LEASH_RUN_ID
--grace=3s               $LEASH_GRACE
--stop-signal="TERM"     $LEASH_STOP_SIGNAL
--kill-mode="mixed"      $LEASH_KILL_MODE
--backend="auto"         $LEASH_BACKEND
--poll-interval=1s       $LEASH_POLL_INTERVAL
--log-format="text"      $LEASH_LOG_FORMAT
--log-level="auto"       $LEASH_LOG_LEVEL
--log-file=FILE          $LEASH_LOG_FILE
--log-fd=FD              $LEASH_LOG_FD
--heartbeat="off"        $LEASH_HEARTBEAT
--heartbeat-interval=2s  $LEASH_HEARTBEAT_INTERVAL
--heartbeat-timeout=10s  $LEASH_HEARTBEAT_TIMEOUT
--max-missed=3           $LEASH_MAX_MISSED
--startup-timeout=0s     $LEASH_STARTUP_TIMEOUT
--notify-socket=SOCKET   $LEASH_NOTIFY_SOCKET
--on-hang-command=CMD    $LEASH_ON_HANG_COMMAND
--on-hang-signal=SIGNAL  $LEASH_ON_HANG_SIGNAL
--on-hang-timeout=5s     $LEASH_ON_HANG_TIMEOUT
--grace-max=0s           $LEASH_GRACE_MAX
-h, --help
--version
`

const runHelp = `
--restart="never"
--max-restarts=3
--sentinel="auto"        $LEASH_SENTINEL
--close-fds
--keep-fd=FD,...
`

func TestHelp(t *testing.T) {
	const guard, run = "watchdog guard --worker-pid=PID [flags]", "watchdog run [flags] -- COMMAND [ARG...]"
	for _, c := range []struct {
		args string
		want []string // words between white space
		not  string
	}{
		{"--help", []string{"Usage: watchdog <command> [flags]", strings.TrimPrefix(guard, "watchdog "), strings.TrimPrefix(run, "watchdog "),
			commonHelp, "--worker-pid=PID", "LEASH_STATE_DIR", "124 125 126 127"}, runHelp},
		{"guard --help", []string{"Usage: " + guard, commonHelp, "--worker-pid=PID", "125"}, runHelp},
		{"run --help", []string{"Usage: " + run, commonHelp, runHelp, "124 125 126 127"}, "--worker-pid=PID"},
	} {
		// The values of the variables make no difference, not even empty ones.
		for _, env := range [][]string{nil, {"LEASH_GRACE=", "LEASH_MAX_MISSED=5"}} {
			text := help(t, c.args, env...)
			for _, words := range c.want {
				for word := range strings.FieldsSeq(words) {
					if !hasWord(text, word) {
						t.Errorf("%s: no %s in\n%s", c.args, word, text)
					}
				}
			}
			for word := range strings.FieldsSeq(c.not) {
				if hasWord(text, word) {
					t.Errorf("%s: %s, which it does not take, in\n%s", c.args, word, text)
				}
			}
			fits(t, c.args, text)
		}
	}
	if help(t, "-h") != help(t, "--help") {
		t.Error("-h and --help differ")
	}
}

// hasWord finds a whole word, whatever brackets and commas are around it.
func hasWord(text, word string) bool {
	for w := range strings.FieldsSeq(text) {
		if w == word || strings.Trim(w, "()[],;.:") == strings.Trim(word, "()[],;.:") {
			return true
		}
	}
	return false
}

func fits(t *testing.T, args, text string) {
	t.Helper()
	if n := strings.Count(text, "\n"); n > helptext.Lines {
		t.Errorf("%s: %d lines do not fit a screen of %d", args, n, helptext.Lines)
	}
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helptext.Columns {
			t.Errorf("%s: a line of %d columns: %s", args, n, line)
		}
	}
}

// Doctor has no flags of its workers.
func TestHelpOfDoctor(t *testing.T) {
	var b strings.Builder
	if _, err := parse([]string{"doctor", "--help"}, &b); err != helptext.ErrPrinted || !strings.Contains(b.String(), "--json") || strings.Contains(b.String(), "--grace") {
		t.Errorf("%v: %s", err, b.String())
	}
}
