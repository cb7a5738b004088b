package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// hookedVoice is a voiced watchdog with a hang command that has so much time.
func hookedVoice(t *testing.T, role, command, within string) *voiced {
	t.Helper()
	cmd := watchdogCommand(t, "voice", "run", "--heartbeat", "notify", "--grace", "100ms", "--worker-id", "w1",
		"--on-hang-command", command, "--on-hang-timeout", within, "--", os.Args[0])
	cmd.Env = append(cmd.Env, "LEASH_TEST_HOOK="+role)
	return startVoice(t, cmd)
}

// The hang command gets the PID of the worker, and cmd.exe gets the command unchanged.
func TestLastWords(t *testing.T) {
	v := hookedVoice(t, "", `echo words of %LEASH_WORKER_PID% %LEASH_WORKER_ID% %LEASH_REASON% & echo "a  b" & exit 5`, "1h")
	v.sayLast("WATCHDOG=trigger")
	if got := strings.TrimSpace(v.Stderr.Await("words of ")); got != strconv.Itoa(v.worker.PID)+" w1 heartbeat_timeout" {
		t.Errorf("%q", got)
	}
	v.Stderr.Await(`"a  b"`)
	if e := v.Stderr.AwaitEvent("watchdog.warning"); e.Str("error") != "the command ended with status 5" {
		t.Error(e)
	}
	v.endsHung("trigger")
}

// A path with blanks, in quotes, and the PID appended.
func TestLastWordsOfProgram(t *testing.T) {
	dir := t.TempDir() + `\with blanks & more`
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	batch := dir + `\dump it.cmd`
	if err := os.WriteFile(batch, []byte("@echo dumps %1 %2\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := hookedVoice(t, "", `"`+batch+`" --pid`, "1h")
	v.sayLast("WATCHDOG=trigger")
	if got := strings.TrimSpace(v.Stderr.Await("dumps ")); got != "--pid "+strconv.Itoa(v.worker.PID) {
		t.Errorf("%q", got)
	}
	v.endsHung("trigger")
}

// The time of the command and its descendants is bounded, and the worker lives until then.
func TestHookIsBounded(t *testing.T) {
	v := hookedVoice(t, "tree", `"`+os.Args[0]+`"`, "1h")
	v.sayLast("WATCHDOG=trigger")
	ids := awaitPIDs(t, v.Stderr, treeSize)
	testkit.StillAlive(t, append(ids, v.worker)...)
	v.tell("exit 0") // the hang command is not waited for any more
	v.endsHung("trigger")
	testkit.AwaitGone(t, ids...)

	v = hookedVoice(t, "tree", `"`+os.Args[0]+`"`, "2s") // mostly enough to start its whole tree
	v.sayLast("WATCHDOG=trigger")
	v.endsHung("trigger")
	v.Stderr.AwaitEnd() // the command and its descendants have it open too
}

// The outcome is a hang also if the hang signal ends the worker.
func TestHangSignal(t *testing.T) {
	cmd := voiceCommand(t, "--on-hang-signal INT --on-hang-timeout 1h")
	cmd.SysProcAttr = detached
	v := startVoice(t, cmd)
	v.tell("heed 42")
	v.Stdout.Await("heeds")
	v.sayLast("WATCHDOG=trigger")
	if e := v.Stderr.AwaitEvent("signal.sent"); e.Str("signal") != "SIGINT" || e.Str("error") != "" {
		t.Error(e)
	}
	if e := v.Stderr.AwaitEvent("process.terminated"); e.Int("process.exit.code") != 42 {
		t.Error(e)
	}
	v.endsHung("trigger")
}

func TestWrongHeartbeats(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	for want, args := range map[string][]string{
		"--heartbeat notify: guard needs --notify-socket too: what the worker was given as LEASH_HEARTBEAT_PIPE": {"guard", "--worker-pid", pid, "--heartbeat", "notify"},
		`--notify-socket: "@x" is not a pipe of this machine: begin it with \\.\pipe\`:                           {"run", "--heartbeat", "notify", "--notify-socket", "@x", "--", "x"},
		"--notify-socket: the name has 257 characters: it may have 256":                                          {"run", "--heartbeat", "notify", "--notify-socket", `\\.\pipe\` + strings.Repeat("x", 248), "--", "x"},
		`--on-hang-signal: "ABRT" is not a signal of this system`:                                                {"run", "--heartbeat", "notify", "--on-hang-signal", "ABRT", "--", "x"},
	} {
		if status, _, stderr := testkit.Run(t, watchdogCommand(t, "stay", args...)); status != 125 || stderr != "watchdog: "+want {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
	}
}
