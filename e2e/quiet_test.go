//go:build linux

package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// plainly is a command line of the watchdog, for which nobody asked for events.
func plainly(t testing.TB, args ...string) *exec.Cmd {
	cmd := exec.Command(testkit.Watchdog(t), args...)
	for _, e := range cmd.Environ() {
		if !strings.HasPrefix(e, "LEASH_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "LEASH_STATE_DIR="+stateDir(t))
	return cmd
}

// What goes as it should is not worth a word.
func TestQuietLives(t *testing.T) {
	for args, want := range map[string]int{
		"run -- true":                             0,
		"run true":                                0,
		"run --log-level auto -- true":            0,
		"run -- sh -c 'exit 3'":                   3,
		"run --grace 100ms -- sh -c 'kill -9 $$'": 137,
		"run -- sh -c '(trap : TERM; sleep 1000000) 2>/dev/null & exit 4'": 4,
		"run -- sh -c 'setsid sleep 1000000 & exit 5'":                     5,
	} {
		cmd := plainly(t, words(t, args)...)
		if status, stdout, stderr := testkit.Run(t, cmd); status != want || stdout != "" || stderr != "" {
			t.Errorf("%s: status %d, stdout %q, stderr %q", args, status, stdout, stderr)
		}
	}
	for _, args := range []string{"run --log-level info -- true", "run --log-format text -- true", "run --log-fd 2 -- true"} {
		if _, _, stderr := testkit.Run(t, plainly(t, words(t, args)...)); !strings.Contains(stderr, "event=watchdog.started") {
			t.Errorf("%s: stderr %q", args, stderr)
		}
	}
}

// words splits as the shell does.
func words(t *testing.T, line string) []string {
	t.Helper()
	_, out, _ := testkit.Run(t, exec.Command("sh", "-c", "for w in "+line+`; do printf '%s\n' "$w"; done`))
	return strings.Split(out, "\n")
}

// A parent's death that ends something is one line, a warning.
func TestParentsDeathIsOneLine(t *testing.T) {
	for name, worker := range map[string]string{
		"one":         "echo ready; exec sleep 1000000",
		"a tree":      "sleep 1000000 & setsid sleep 1000000 & echo ready; exec sleep 1000000",
		"unheard":     "trap '' TERM; echo ready; while :; do sleep 0.1; done",
		"by the TERM": "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done",
	} {
		t.Run(name, func(t *testing.T) {
			parent := sleeper(t)
			w := testkit.Start(t, plainly(t, "run", "--parent-pid", pid(parent), "--grace", "300ms", "--worker-id", "w1", "--", "sh", "-c", worker))
			w.Stdout.Await("ready")
			parent.Kill()
			w.Wait()
			text := w.Stderr.AwaitEnd()
			if strings.Count(text, "level=") != 1 || !strings.Contains(text, "level=WARN") || !strings.Contains(text, "leash.worker_id=w1") ||
				!strings.Contains(text, "event=watchdog.parent_death_detected") || !strings.Contains(text, "process.parent_pid="+pid(parent)) {
				t.Errorf("%q", text)
			}
		})
	}
}

// A parent that never was, or has ended before, is told too: else there is
// nothing but a status.
func TestParentThatIsNotThereIsTold(t *testing.T) {
	parent := sleeper(t)
	parent.Kill()
	parent.Wait()
	status, stdout, stderr := testkit.Run(t, plainly(t, "run", "--parent-pid", pid(parent), "--", "echo", "started"))
	if status != 128+15 || stdout != "" || strings.Count(stderr, "level=") != 1 || !strings.Contains(stderr, "level=WARN") ||
		!strings.Contains(stderr, "process.parent_pid="+pid(parent)) || !strings.Contains(stderr, "no worker is started") {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

// guard tells of its watch.
func TestGuardIsHeard(t *testing.T) {
	w, parent := sleeper(t), sleeper(t)
	g := testkit.Start(t, plainly(t, "guard", "--worker-pid", pid(w), "--parent-pid", pid(parent)))
	g.Stderr.AwaitMatch(match("event=watchdog.started"))
	parent.Kill()
	g.Wait()
	if text := g.Stderr.AwaitEnd(); !strings.Contains(text, "event=watchdog.stopped") || strings.Count(text, "level=WARN") != 1 {
		t.Errorf("%q", text)
	}
}

// The reaper prints its report; its events come when they are asked for.
func TestReaperIsQuiet(t *testing.T) {
	for _, c := range []struct {
		args string
		env  string
		told bool
	}{
		{"--dry-run", "", false}, {"--dry-run --log-level auto", "", false}, {"--dry-run --log-level info", "", true},
		{"--dry-run --log-format text", "", true}, {"--dry-run", "LEASH_LOG_FORMAT=text", true}, {"--dry-run", "LEASH_LOG_LEVEL=info", true},
	} {
		cmd := exec.Command(testkit.Reaper(t), strings.Fields(c.args)...)
		cmd.Env = plainly(t).Env
		if c.env != "" {
			cmd.Env = append(cmd.Env, c.env)
		}
		status, stdout, stderr := testkit.Run(t, cmd)
		if status != 0 || stdout == "" || strings.Contains(stderr, "event=reaper.started") != c.told || !c.told && stderr != "" {
			t.Errorf("%+v: status %d, stdout %q, stderr %q", c, status, stdout, stderr)
		}
	}
}
