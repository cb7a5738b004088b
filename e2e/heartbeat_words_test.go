//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// lastWords is a command as one would write it for a dump. It notes what it is
// told, whether the worker lives, and what it can read.
const lastWords = `#!/bin/sh
{
	echo "$LEASH_WORKER_PID/$LEASH_RUN_ID/$LEASH_WORKER_ID/$LEASH_REASON"
	test -e /proc/$LEASH_WORKER_PID/exe && echo alive
	echo "arguments: $*"
	echo "input: $(wc -c)"
} >>"$NOTES"
echo from the command
echo beside it >&2
`

// noting makes that command and the file of its notes.
func noting(t *testing.T) (command, notes string) {
	t.Helper()
	dir := t.TempDir()
	command, notes = filepath.Join(dir, "dump"), filepath.Join(dir, "notes")
	if err := os.WriteFile(command, []byte(lastWords), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(notes) })
	return command, notes
}

func readNotes(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// The command runs once while the worker still lives, is told who hangs, and
// what it prints goes to the watchdog's standard error.
func TestHangCommandIsTold(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for _, c := range []struct{ more, arguments string }{{"", ""}, {" --pid", "--pid PID"}, {" dump -p", "dump -p PID"}} {
		run(c.arguments, func(t *testing.T) {
			command, notes := noting(t)
			cmd := beating(t, append(patience, "--run-id", "k3x9a2p", "--worker-id", "w 1", "--on-hang-command", command+c.more), "--mute", "--child")
			cmd.Env = append(cmd.Env, "NOTES="+notes)
			p := admit(t, cmd)
			p.hang("gil")
			p.gone(124)
			wasHung(t, p.log, p.worker, 3)
			id := itoa(p.worker.PID)
			want := []string{id + "/k3x9a2p/w 1/heartbeat_timeout", "alive",
				"arguments: " + strings.ReplaceAll(c.arguments, "PID", id), "input: 0"}
			if got := readNotes(t, notes); !slices.Equal(trimmed(got), trimmed(want)) {
				t.Errorf("notes %q, want %q", got, want)
			}
			for _, line := range []string{"from the command", "beside it"} {
				if !strings.Contains(p.Stderr.All(), line) || strings.Contains(p.Stdout.All(), line) {
					t.Errorf("%q is not on the watchdog's standard error", line)
				}
			}
		})
	}
}

func trimmed(lines []string) (all []string) {
	for _, l := range lines {
		all = append(all, strings.TrimSpace(l))
	}
	return all
}

// Beside guard too; and for a worker that is not ready in time the reason is
// another.
func TestHangCommandBesideGuardAndAtStart(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	run("guard", func(t *testing.T) {
		command, notes := noting(t)
		p := alone(t, "@leash-e2e-"+newRunID(), "--mute")
		g := guardPatient(t, p, append(patience, "--on-hang-command", "NOTES="+notes+" "+command)...)
		p.hang("gil")
		testkit.AwaitGone(t, p.worker)
		wasHung(t, g.Stderr, p.worker, 3)
		run := g.Stderr.Events()[0].Str("leash.run_id")
		if got := readNotes(t, notes); got[0] != itoa(p.worker.PID)+"/"+run+"//heartbeat_timeout" || got[1] != "alive" {
			t.Errorf("notes %q", got)
		}
	})
	run("start", func(t *testing.T) {
		command, notes := noting(t)
		cmd := slowShell(t, "--startup-timeout", "300ms", "--on-hang-command", command)
		cmd.Env = append(cmd.Env, "NOTES="+notes)
		p := unmet(t, cmd)
		p.over(124)
		if got := readNotes(t, notes); !strings.HasSuffix(got[0], "/startup_timeout") || got[1] != "alive" {
			t.Errorf("notes %q", got)
		}
	})
}

// A command that never ends is ended with its whole group, and the worker
// after it. So is a worker that ignores its last signal.
func TestLastWordsAreBounded(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	run("command", func(t *testing.T) {
		inTime(t, 300*time.Millisecond, func(limit time.Duration) bool {
			p := runPatient(t, append(patience, "--on-hang-timeout", limit.String(), "--on-hang-command", endless), "--mute", "--child")
			p.hang("gil")
			p.gone(124)
			wasHung(t, p.log, p.worker, 3)
			return ranAndEnded(t, p.Stderr)
		})
	})
	run("command beside guard", func(t *testing.T) { // where nothing else would end it
		inTime(t, 300*time.Millisecond, func(limit time.Duration) bool {
			p := alone(t, "@leash-e2e-"+newRunID(), "--mute")
			g := guardPatient(t, p, append(patience, "--on-hang-timeout", limit.String(), "--on-hang-command", endless)...)
			p.hang("gil")
			testkit.AwaitGone(t, p.worker)
			g.Wait()
			return ranAndEnded(t, g.Stderr)
		})
	})
	run("signal", func(t *testing.T) {
		p := runPatient(t, append(patience, "--on-hang-timeout", "300ms", "--on-hang-signal", "TERM"), "--mute", "--deaf")
		p.hang("gil")
		if s := p.log.AwaitEvent("signal.sent"); s.Str("target") != "process" || s.Str("signal") != "SIGTERM" {
			t.Errorf("the last words come first: %v", s)
		}
		if s := p.log.AwaitEvent("signal.sent"); s.Str("signal") != "SIGCONT" || s.Str("target") != "process" {
			t.Errorf("then it is continued: %v", s)
		}
		if err := p.worker.Signal(unix.SIGKILL); err != nil { // as the grace would end it later
			t.Fatal(err)
		}
		p.gone(124)
	})
	run("command that fails", func(t *testing.T) {
		p := runPatient(t, append(patience, "--on-hang-command", "/no/such/program --pid"), "--mute")
		p.hang("gil")
		p.gone(124)
		wasHung(t, p.log, p.worker, 3)
		if !strings.Contains(p.Stderr.All(), "/no/such/program") {
			t.Error("nothing says what is wrong")
		}
	})
}

// endless is a command with a child; both say who they are, and stay.
const endless = `sleep 1000000 & trap '' TERM; echo "below $!"; echo "command $$"; wait; wait`

// ranAndEnded tells whether that command got as far as to say it, and fails the
// test if anything of it is left.
func ranAndEnded(t *testing.T, said *testkit.Lines) bool {
	t.Helper()
	said.AwaitEnd()
	noneLeft(t, said, "below")
	noneLeft(t, said, "command")
	return len(told(said, "command")) > 0
}

// First the command, then the signal: a dump of a worker that has aborted
// would come too late.
func TestBothLastWords(t *testing.T) {
	t.Parallel()
	command, notes := noting(t)
	cmd := beating(t, append(patience, "--on-hang-signal", "ABRT", "--on-hang-command", command), "--mute", "--child")
	cmd.Env = append(cmd.Env, "NOTES="+notes)
	p := admit(t, cmd)
	p.hang("gil")
	p.gone(124)
	if got := readNotes(t, notes); len(got) != 4 || got[1] != "alive" {
		t.Errorf("notes %q", got)
	}
	stacks(t, p.Stderr, "hold_the_gil")
	text := p.Stderr.All()
	if strings.Index(text, "Fatal Python error") < strings.Index(text, "from the command") {
		t.Error("the signal came before the command")
	}
	if e := named(p.log, "process.terminated"); e[0].Str("signal") != "SIGABRT" {
		t.Errorf("%v", e)
	}
}

// Nobody waits for the last words when the parent dies, TERM comes, or the
// worker ends by itself.
func TestLastWordsThatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for _, why := range []string{"parent died", "TERM", "worker ended"} {
		run(why, func(t *testing.T) {
			parent := sleeper(t)
			p := runPatient(t, append(patience, "--parent-pid", pid(parent), "--on-hang-timeout", "10m",
				"--on-hang-command", `echo "command $$"; exec sleep 1000000`), "--mute", "--child")
			p.hang("gil")
			command := identOf(t, p.Stderr, "command")
			testkit.StillAlive(t, p.worker)
			switch why {
			case "parent died":
				parent.Kill()
			case "TERM":
				p.Signal(unix.SIGTERM)
			default:
				if err := p.worker.Signal(unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			testkit.AwaitGone(t, append(p.tree(), command)...)
			p.Wait()
		})
	}
}
