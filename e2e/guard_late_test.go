//go:build linux

package e2e

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"leash/internal/ledger"
	"leash/internal/testkit"
)

// zombie starts a worker that ends at once and is not reaped while its parent
// lives. kind is setsid or setpgid, of which it leads something, or none.
func zombie(t *testing.T, kind string) (parent *testkit.Proc, stdin io.Writer, worker int, children map[string]testkit.Ident) {
	t.Helper()
	cmd := exec.Command(testkit.NeedPython(t), "-c", `
import os, signal, subprocess, sys
kind = sys.argv[1]
say = lambda text: os.write(1, (text + "\n").encode())
r, w = os.pipe()
worker = os.fork()
if worker == 0:
    if kind == "setsid": os.setsid()
    if kind == "setpgid": os.setpgid(0, 0)
    deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
    env = dict(os.environ, LEASH_RUN_ID="k3x9a2p", LEASH_WORKER_ID="w1")
    say(f"plain {subprocess.Popen(['sleep', '1000000']).pid}")
    say(f"deaf {subprocess.Popen(deaf).pid}")
    say(f"group {subprocess.Popen(['sleep', '1000000'], process_group=0).pid}")
    say(f"labelled {subprocess.Popen(['sleep', '1000000'], start_new_session=True, env=env).pid}")
    say(f"far {subprocess.Popen(['sleep', '1000000'], start_new_session=True).pid}")
    os._exit(0)
os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
say(f"worker {worker}")
for line in sys.stdin:
    os.waitpid(worker, 0)
    say("reaped")
    # The next worker of the same name, and what it starts.
    env = dict(os.environ, LEASH_RUN_ID="k3x9a2p", LEASH_WORKER_ID="w1")
    script = "echo next $$; setsid sleep 1000000 & echo below $!; wait"
    subprocess.Popen(["sh", "-c", script], start_new_session=True, env=env)
signal.pause()
`, kind)
	stdin = input(t, cmd)
	parent = testkit.Start(t, cmd)
	children = map[string]testkit.Ident{}
	for _, name := range []string{"plain", "deaf", "group", "labelled", "far"} {
		children[name] = identOf(t, parent.Stdout, name)
		testkit.Adopt(t, children[name])
	}
	id := parent.Stdout.Await("worker ")
	for _, c := range id {
		worker = 10*worker + int(c-'0')
	}
	return parent, stdin, worker, children
}

// A worker that has ended and was not reaped holds its group and session: what
// is in them is ended, and nothing else.
func TestGuardOfAZombie(t *testing.T) {
	for _, c := range []struct {
		kind  string
		flags []string
		ends  []string
	}{
		{"setsid", nil, []string{"plain", "deaf", "group"}},
		{"setpgid", nil, []string{"plain", "deaf"}},
		{"none", nil, nil},
		{"setsid", []string{"--run-id", "k3x9a2p", "--worker-id", "w1"}, []string{"plain", "deaf", "group", "labelled"}},
		{"none", []string{"--run-id", "k3x9a2p", "--worker-id", "w1"}, []string{"labelled"}},
		{"none", []string{"--run-id", "k3x9a2p", "--worker-id", "w2"}, nil},
	} {
		t.Run(c.kind+strings.Join(c.flags, ""), func(t *testing.T) {
			parent, _, worker, children := zombie(t, c.kind)
			bystander := sleeper(t)
			status, _, stderr := testkit.Run(t, watchdog(t, append([]string{"guard", "--worker-pid", itoa(worker),
				"--parent-pid", pid(parent), "--grace", "100ms"}, c.flags...)...))
			if status != 0 || !strings.Contains(stderr, `"outcome":"worker_exited"`) {
				t.Errorf("status %d\n%s", status, stderr)
			}
			for name, id := range children {
				if want := contains(c.ends, name); id.Alive() == want {
					t.Errorf("%s is to end: %t, and it is alive: %t", name, want, id.Alive())
				}
			}
			testkit.StillAlive(t, parent.Ident, bystander.Ident)
		})
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// Of a worker that was reaped only its labels are left. They count if the call
// itself gave both; variables may be those of a worker that started the watchdog.
func TestGuardOfAReapedWorkersLabels(t *testing.T) {
	for _, c := range []struct {
		flags, env []string
		ends       bool
	}{
		{[]string{"--run-id", "k3x9a2p", "--worker-id", "w1"}, nil, true},
		{[]string{"--run-id=k3x9a2p"}, []string{"LEASH_WORKER_ID=w1"}, false},
		{nil, []string{"LEASH_RUN_ID=k3x9a2p", "LEASH_WORKER_ID=w1"}, false},
		{[]string{"--run-id", "k3x9a2p", "--worker-id", "w2"}, nil, false},
		{nil, nil, false},
	} {
		parent, stdin, worker, children := zombie(t, "setsid")
		tell(t, stdin, "reap")
		parent.Stdout.Await("reaped")
		next, below := identOf(t, parent.Stdout, "next"), identOf(t, parent.Stdout, "below")
		cmd := watchdog(t, append([]string{"guard", "--worker-pid", itoa(worker), "--parent-pid", pid(parent), "--grace", "100ms"}, c.flags...)...)
		cmd.Env = append(cmd.Env, c.env...)
		status, _, stderr := testkit.Run(t, cmd)
		if status != 0 || !strings.Contains(stderr, `"outcome":"worker_exited"`) {
			t.Errorf("%v: status %d\n%s", c, status, stderr)
		}
		if children["labelled"].Alive() == c.ends {
			t.Errorf("%v: it is alive: %t\n%s", c, children["labelled"].Alive(), stderr)
		}
		testkit.StillAlive(t, next, below, parent.Ident, children["plain"], children["deaf"], children["far"])
	}
}

// A wrapper executes the worker a while after guard has begun. The labels of its
// last program count: for what escaped, in the events and in the ledger.
func TestLabelsThatComeLate(t *testing.T) {
	py := testkit.NeedPython(t)
	for _, c := range []struct {
		name, first string
		flags       []string
		ends        bool
	}{
		{"without a scan between", "", nil, true},
		{"outer labels", "0uter00", nil, true},
		{"other flags", "", []string{"--worker-id", "w9"}, false},
		{"the same flags", "", []string{"--run-id", "k3x9a2p", "--worker-id", "w1"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			cmd := exec.Command("sh", "-c", `echo ready; read line; exec env LEASH_RUN_ID=k3x9a2p LEASH_WORKER_ID=w1 "$@"`,
				"wrapper", py, "-c", strings.Replace(daemon, "ready", "worker", 1))
			if c.first != "" {
				cmd.Env = append(os.Environ(), "LEASH_RUN_ID="+c.first, "LEASH_WORKER_ID=w0")
			}
			stdin := input(t, cmd)
			w := testkit.Start(t, cmd)
			w.Stdout.Await("ready")
			parent := sleeper(t)
			g := watchdog(t, append([]string{"guard", "--worker-pid", pid(w), "--parent-pid", pid(parent)}, c.flags...)...)
			g.Env = append(g.Env, "LEASH_STATE_DIR="+state)
			dog := testkit.Start(t, g)
			first := dog.Stderr.AwaitEvent("watchdog.started").Str("leash.run_id")
			tell(t, stdin, "go")
			w.Stdout.Await("worker")
			stray := identOf(t, w.Stdout, "daemon")
			if c.first != "" {
				if first != c.first {
					t.Errorf("the run ID of the wrapper is %q", first)
				}
				// Whoever had both labels at first is looked at again at the next scan.
				awaitRecord(t, state, "of the new labels", func(r ledger.Record) bool {
					return r.RunID == "k3x9a2p" && r.WorkerID == "w1"
				})
			}
			parent.Kill()
			dog.Wait()
			if stray.Alive() == c.ends {
				t.Errorf("the daemon is to end: %t, and it is alive: %t", c.ends, stray.Alive())
			}
			last := dog.Stderr.AwaitEvent("watchdog.stopped").Str("leash.run_id")
			if last != "k3x9a2p" || first == last && len(c.flags) < 4 {
				t.Errorf("the run ID was %q and is %q", first, last)
			}
		})
	}
}
