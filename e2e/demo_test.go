//go:build linux

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// idleWatchdog passes for a watchdog in the demo, and guards nothing.
const idleWatchdog = `#!/usr/bin/env python3
import json, os, subprocess, sys
args = sys.argv[1:]
worker = args[args.index("--worker-id") + 1]
event = {"event": "watchdog.started", "leash.worker_id": worker}
os.write(2, json.dumps(event).encode() + b"\n")
if args[0] == "run":
    subprocess.Popen(args[args.index("--") + 1:])
while os.read(0, 64):
    pass
`

func TestDemo(t *testing.T) {
	status, stdout, stderr := testkit.Run(t, demo(t, testkit.Watchdog(t), "--patience", "120"))
	if status != 0 || stderr != "" {
		t.Errorf("status %d, want 0; standard error: %q", status, stderr)
	}
	for _, want := range []string{
		"still running: 8 workers, 8 children, 2 daemons",
		"without Leash   18 of 18 processes",
		"with Leash       0 of 30 processes",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the demo does not say %q:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "\x1b") {
		t.Error("colours, though this is no terminal")
	}
}

// TestDemoTellsTheTruth gives the demo a watchdog that does nothing: it must
// see that everything was left, say so, fail, and clean up all the same.
func TestDemoTellsTheTruth(t *testing.T) {
	testkit.Need(t, "python3")
	status, stdout, _ := testkit.Run(t, demo(t, writeIdleWatchdog(t), "--patience", "1"))
	if want := "with Leash      26 of 26 processes"; status != 1 || !strings.Contains(stdout, want) {
		t.Errorf("status %d, want 1; the demo should say %q:\n%s", status, want, stdout)
	}
	testkit.AwaitGone(t, demoProcesses(t)...)
}

// TestDemoInterrupted ends the demo while the orphans of the first scene live.
// SIGKILL shows that they do not depend on the demo's own cleaning.
func TestDemoInterrupted(t *testing.T) {
	testkit.Need(t, "python3")
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGKILL} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			for range 20 {
				if demoInterrupted(t, sig) {
					return
				}
			}
			t.Error("the demo was always over before it could be interrupted")
		})
	}
}

// demoInterrupted tells whether it was in time: the orphans live for a second.
func demoInterrupted(t *testing.T, sig syscall.Signal) bool {
	t.Helper()
	p := testkit.Start(t, demo(t, writeIdleWatchdog(t)))
	p.Stdout.Await("     1000.0 ms   still running")
	orphans := demoProcesses(t)
	testkit.Adopt(t, orphans...)
	if err := p.Ident.Signal(sig); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Fatal(err)
	}
	status := p.Wait()
	testkit.AwaitGone(t, orphans...)
	if strings.Contains(p.Stdout.AwaitEnd(), "     2000.0 ms") {
		return false
	}
	if len(orphans) != 18 {
		t.Errorf("%d orphans, want 18: %v", len(orphans), orphans)
	}
	if status != 128+int(sig) {
		t.Errorf("status %d, want %d", status, 128+int(sig))
	}
	return true
}

// TestDemoCannotBeShown: no result is claimed where the scene never stood.
func TestDemoCannotBeShown(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"no watchdog", "", "run make demo"},
		{"a watchdog that refuses", "#!/bin/sh\necho no such flag >&2; exit 125\n", "no such flag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			watchdog := filepath.Join(t.TempDir(), "watchdog")
			if tt.script != "" {
				writeScript(t, watchdog, tt.script)
			}
			status, stdout, stderr := testkit.Run(t, demo(t, watchdog))
			if status != 2 || !strings.Contains(stderr, tt.want) {
				t.Errorf("status %d, want 2; standard error %q, want %q", status, stderr, tt.want)
			}
			if strings.Contains(stdout, "with Leash") {
				t.Errorf("the demo gives a result:\n%s", stdout)
			}
			testkit.AwaitGone(t, demoProcesses(t)...)
		})
	}
}

// TestDemoColours prints one line as the demo does.
func TestDemoColours(t *testing.T) {
	testkit.Need(t, "python3")
	const plain, green = "word", "\x1b[32mword\x1b[0m"
	for _, tt := range []struct {
		name, setting, want string
		terminal            bool
	}{
		{"terminal", "TERM=xterm", green, true},
		{"NO_COLOR", "NO_COLOR=1", plain, true},
		{"dumb terminal", "TERM=dumb", plain, true},
		{"pipe", "TERM=xterm", plain, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("python3", "-B", "-c", `import demo; demo.say("word", "g")`)
			cmd.Dir = filepath.Join(testkit.Root(t), "demo")
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), tt.setting}
			var printed *testkit.Lines
			if tt.terminal {
				printed = onTerminal(t, cmd)
			}
			p := testkit.Start(t, cmd)
			if !tt.terminal {
				printed = p.Stdout
			}
			if printed.Await(tt.want) != "" || p.Wait() != 0 {
				t.Errorf("printed %q, want %q", printed.All(), tt.want)
			}
		})
	}
}

// demo is the command behind "make demo".
func demo(t *testing.T, watchdog string, args ...string) *exec.Cmd {
	t.Helper()
	testkit.Need(t, "python3")
	args = append([]string{"-B", "demo/demo.py", "--watchdog", watchdog}, args...)
	cmd := exec.Command("python3", args...)
	cmd.Dir = testkit.Root(t)
	return cmd
}

func writeIdleWatchdog(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "watchdog")
	writeScript(t, path, idleWatchdog)
	return path
}

func writeScript(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// demoProcesses finds the workers of the demo and what belongs to them, also
// once they are orphans: these come to the parent of the test, see
// testkit.Main.
func demoProcesses(t *testing.T) []testkit.Ident {
	t.Helper()
	worker := filepath.Join(testkit.Root(t), "demo", "worker.py")
	var found []testkit.Ident
	for _, id := range testkit.Descendants(t, os.Getppid()) {
		if strings.Contains(id.String(), worker) {
			found = append(found, id)
		}
	}
	return found
}

// onTerminal connects the command's output to a new terminal and returns what
// is printed there.
func onTerminal(t *testing.T, cmd *exec.Cmd) *testkit.Lines {
	t.Helper()
	ours, theirs := testkit.Terminal(t)
	cmd.Stdout = theirs
	return testkit.Collect(t, ours)
}
