package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"leash/internal/testkit"
)

func hookedVoice(t *testing.T, role, command string, flags ...string) *voiced {
	t.Helper()
	args := append([]string{"run", "--heartbeat", "notify", "--grace", "100ms", "--worker-id", "w1", "--on-hang-command", command}, flags...)
	cmd := watchdogCommand(t, "voice", append(args, "--", os.Args[0])...)
	cmd.Env = append(cmd.Env, "LEASH_TEST_HOOK="+role)
	return startVoice(t, cmd)
}

// The command knows of whom it is to ask, and cmd.exe reads it as it is.
func TestLastWords(t *testing.T) {
	v := hookedVoice(t, "", `echo words of %LEASH_WORKER_PID% %LEASH_WORKER_ID% %LEASH_REASON% & echo "a  b" & exit 5`)
	v.say("WATCHDOG=trigger")
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
	v := hookedVoice(t, "", `"`+batch+`" --pid`)
	v.say("WATCHDOG=trigger")
	if got := strings.TrimSpace(v.Stderr.Await("dumps ")); got != "--pid "+strconv.Itoa(v.worker.PID) {
		t.Errorf("%q", got)
	}
	v.endsHung("trigger")
}

// It is bounded, with all that it starts, and the worker lives until then.
func TestHookIsBounded(t *testing.T) {
	v := hookedVoice(t, "tree", `"`+os.Args[0]+`"`, "--on-hang-timeout", "60s")
	v.say("WATCHDOG=trigger")
	ids := printed(t, v.Stderr, treeSize)
	testkit.StillAlive(t, append(ids, v.worker)...)
	v.tell("exit 0") // what nobody waits for any more
	v.endsHung("trigger")
	testkit.AwaitGone(t, ids...)

	v = hookedVoice(t, "tree", `"`+os.Args[0]+`"`, "--on-hang-timeout", "2s")
	v.say("WATCHDOG=trigger")
	ids = printed(t, v.Stderr, treeSize)
	v.endsHung("trigger")
	testkit.AwaitGone(t, ids...)
}

// Who ends himself because of the signal hung nevertheless.
func TestHangSignal(t *testing.T) {
	cmd := watchdogCommand(t, "polite", "run", "--heartbeat", "notify", "--startup-timeout", "1s", "--on-hang-signal", "INT",
		"--on-hang-timeout", "60s", "--", os.Args[0])
	cmd.SysProcAttr = detached
	w := testkit.Start(t, cmd)
	printed(t, w.Stdout, 1)
	if e := w.Stderr.AwaitEvent("process.terminated"); e.Int("process.exit.code") != 42 {
		t.Error(e)
	}
	if status := w.Wait(); status != hung {
		t.Errorf("status %d", status)
	}
}

func TestWrongHeartbeats(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	for want, args := range map[string][]string{
		"--heartbeat notify: guard needs --notify-socket too: what the worker was given as LEASH_HEARTBEAT_PIPE": {"guard", "--worker-pid", pid, "--heartbeat", "notify"},
		`--notify-socket: "@x" is no pipe of this machine: begin it with \\.\pipe\`:                              {"run", "--heartbeat", "notify", "--notify-socket", "@x", "--", "x"},
		"--notify-socket: the name has 257 characters: it may have 256":                                          {"run", "--heartbeat", "notify", "--notify-socket", `\\.\pipe\` + strings.Repeat("x", 248), "--", "x"},
		`--on-hang-signal: "ABRT" is no signal of this system`:                                                   {"run", "--heartbeat", "notify", "--on-hang-signal", "ABRT", "--", "x"},
	} {
		if status, _, stderr := testkit.Run(t, watchdogCommand(t, "stay", args...)); status != 125 || stderr != "watchdog: "+want {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
	}
}
