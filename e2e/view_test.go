//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"leash/internal/testkit"
)

// refuses: both programs say this in one line, start nothing and signal no process.
const refuses = `
sleep 1000000 & worker=$!
"$1" guard --worker-pid $worker --parent-pid $$; echo "guard $?"
"$1" guard --worker-pid $worker --parent-pid 4000000; echo "guard $?"
"$1" run -- echo STARTED; echo "run $?"
"$2"; echo "reaper $?"
"$2" --dry-run; echo "reaper $?"
kill -0 $worker && echo alive; kill -9 $worker; { wait $worker; } 2>/dev/null; echo "worker $?"`

const refused = "guard 125\nguard 125\nrun 125\nreaper 125\nreaper 125\nalive\nworker 137"

// Where /proc is that of the PID namespace above, its numbers are of others.
func TestProcOfAnotherNamespace(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare")
	seen(t, "is not that of this PID namespace", "unshare", "--pid", "--fork", "--kill-child", "sh", "-c", refuses)
}

func TestNoProc(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare", "mount")
	seen(t, "/proc cannot be read; mount it", "unshare", "--mount", "--pid", "--fork", "--kill-child",
		"sh", "-c", "mount -t tmpfs none /proc || exit\n"+refuses)
}

func seen(t *testing.T, why string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], append(command[1:], "sh", testkit.Watchdog(t), testkit.Reaper(t))...)
	cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+stateDir(t))
	_, stdout, stderr := testkit.Run(t, cmd)
	if stdout != refused {
		t.Errorf("%q", stdout)
	}
	lines := strings.Split(stderr, "\n")
	for _, line := range lines {
		if !strings.Contains(line, why) {
			t.Errorf("a line of another kind: %q", line)
		}
	}
	if len(lines) != 5 {
		t.Errorf("%d lines for 5 calls:\n%s", len(lines), stderr)
	}
}

// With subset=pid nothing tells this boot from another: that is why there is no
// record, and no fault of the folder's.
func TestProcWithoutItsSystemPart(t *testing.T) {
	inSpace(t, "subset=pid", func(t *testing.T) {
		status, stdout, stderr := testkit.Run(t, plainly(t, "run", "--", "sh", "-c", "echo started; exit 3"))
		if status != 3 || stdout != "started" || strings.Count(stderr, "level=") != 1 || !strings.Contains(stderr, "subset=pid") ||
			strings.Contains(stderr, "LEASH_STATE_DIR") {
			t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
		}
		status, _, stderr = testkit.Run(t, exec.Command(testkit.Reaper(t), "--dry-run"))
		if status != 125 || !strings.Contains(stderr, "subset=pid") || strings.Contains(stderr, "\n") {
			t.Errorf("status %d, stderr %q", status, stderr)
		}
	})
}

// The threads of the kernel are shown as processes.
func TestKernelThreadsAreRefused(t *testing.T) {
	if b, err := os.ReadFile("/proc/2/comm"); err != nil || string(b) != "kthreadd\n" {
		testkit.Skip(t, "there are no kernel threads in this PID namespace")
	}
	w := sleeper(t)
	for flag, args := range map[string][]string{
		"--worker-pid": {"guard", "--worker-pid", "2"},
		"--parent-pid": {"guard", "--worker-pid", pid(w), "--parent-pid", "2"},
	} {
		status, _, stderr := testkit.Run(t, watchdog(t, args...))
		if status != 125 || !strings.HasPrefix(stderr, "watchdog: "+flag+": 2 is a thread of the kernel") || strings.Contains(stderr, "\n") {
			t.Errorf("%q: status %d, %q", args, status, stderr)
		}
	}
	testkit.StillAlive(t, w.Ident)
}

// What steers a terminal is shown, not written.
func TestErrorLinesArePlain(t *testing.T) {
	const evil = "a\x1b[2J\nb\xff"
	for _, cmd := range []*exec.Cmd{
		plainly(t, evil), plainly(t, "run", "--", evil), plainly(t, "run", "--"+evil, "--", "true"), plainly(t, "run", "--grace", evil, "--", "true"),
		plainly(t, "run", "--log-file", "/none/"+evil, "--", "true"), plainly(t, "guard", "--worker-pid", evil),
		exec.Command(testkit.Reaper(t), evil), exec.Command(testkit.Reaper(t), "--"+evil), exec.Command(testkit.Reaper(t), "--run-id", evil),
	} {
		status, _, stderr := testkit.Run(t, cmd)
		if status != 125 && status != 127 || strings.ContainsAny(stderr, "\x1b\n") || !utf8.ValidString(stderr) || !strings.Contains(stderr, `\x1b[2J\nb`) {
			t.Errorf("%q: status %d, %q", cmd.Args, status, stderr)
		}
	}
}

// A parent that only adopted the watchdog says nothing by its death.
func TestAdoptedWatchdogWarns(t *testing.T) {
	testkit.Need(t, "setsid")
	const orphaned = `setsid -f sh -c '
		while [ "$(ps -o ppid= -p $$ | tr -d " ")" = '$$' ]; do :; done; exec "$0" "$@"' "$0" "$@" & wait`
	inOwnSpace(t, func(t *testing.T) {
		start := func(script string, args ...string) string {
			cmd := exec.Command("sh", append([]string{"-c", script, testkit.Watchdog(t)}, args...)...)
			cmd.Env = plainly(t).Env
			p := testkit.Start(t, cmd)
			p.Stdout.AwaitEnd()
			return p.Stderr.AwaitEnd()
		}
		const warning = "no death will ever end this worker"
		text := start(orphaned, "run", "--", "true")
		if strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, warning) || !strings.Contains(text, "--parent-pid") {
			t.Errorf("%q", text)
		}
		if text := start(orphaned, "run", "--parent-pid", "1", "--", "true"); text != "" {
			t.Errorf("PID 1 was named: %q", text)
		}
		if text := start(`"$0" "$@"; :`, "run", "--", "true"); text != "" {
			t.Errorf("the shell lives: %q", text)
		}
	})
	// A program that is PID 1 and starts its worker itself.
	testkit.NeedRoot(t)
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", `"$0" run -- echo started; :`, testkit.Watchdog(t))
	cmd.Env = plainly(t).Env
	if status, stdout, stderr := testkit.Run(t, cmd); status != 0 || stdout != "started" || stderr != "" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}
