//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"leash/internal/testkit"
)

// owners run an example in something that can end while its process lives on: a
// process of the BEAM, a with statement of Python, a thread of Node. A line on
// standard input ends it; then they print DROPPED.
var owners = []struct {
	file    string
	command []string
	needs   []string
}{
	{"run.exs", []string{"elixir", "-e", beamOwner, "run.exs"}, []string{"elixir", "erl"}},
	{"guard.exs", []string{"elixir", "-e", beamOwner, "guard.exs"}, []string{"elixir", "erl"}},
	{"run.py", []string{"python3", "-c", pythonOwner, "run.py"}, nil},
	{"run.mjs", []string{"node", "-e", nodeOwner, "run.mjs"}, []string{"node"}},
}

const beamOwner = `
	[file] = System.argv()
	owner = spawn(fn -> Code.eval_file(file) end)
	monitor = Process.monitor(owner)
	IO.gets("")
	Process.exit(owner, :kill)
	receive do: ({:DOWN, ^monitor, _, _, :killed} -> IO.puts("DROPPED"))
	Process.sleep(:infinity)`

// The exception reaches the with statement as one of the reader's own would.
const pythonOwner = `
import os, runpy, signal, sys, threading

class Dropped(Exception):
    pass

def drop(signum, frame):
    raise Dropped

signal.signal(signal.SIGUSR1, drop)
def ask():
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGUSR1)
threading.Thread(target=ask, daemon=True).start()
try:
    runpy.run_path(sys.argv[1])
except Dropped:
    print("DROPPED", flush=True)
threading.Event().wait()`

const nodeOwner = `
	const { Worker } = require("node:worker_threads");
	const { resolve } = require("node:path");
	const owner = new Worker(resolve(process.argv[1]));
	process.stdin.once("data", async () => {
	  await owner.terminate();
	  console.log("DROPPED");
	});`

// TestExamplesWhoseOwnerEnds ends only what holds the worker. Nothing of it is
// left, and the process lives on.
func TestExamplesWhoseOwnerEnds(t *testing.T) {
	for _, o := range owners {
		t.Run(o.file, func(t *testing.T) {
			testkit.Need(t, append(o.needs, "python3")...)
			watchdog := realPath(t, testkit.Watchdog(t))
			cmd := exec.Command(o.command[0], o.command[1:]...)
			cmd.Dir = examplesDir(t)
			cmd.Env = append(os.Environ(),
				"PATH="+filepath.Dir(watchdog)+":"+os.Getenv("PATH"), "LEASH_LOG_FORMAT=json",
				"ERL_CRASH_DUMP_SECONDS=0") // a node may lose its helper first, at the end of a test
			stdin := input(t, cmd)
			p := testkit.Start(t, cmd)
			p.Stdout.Await("READY")
			started := p.Stderr.AwaitEvent("watchdog.started")
			if got := started.Int("process.parent_pid"); got != p.PID {
				t.Errorf("the watchdog takes %d for the parent, want %d", got, p.PID)
			}
			family := testkit.Descendants(t, p.PID)
			testkit.Adopt(t, family...)
			worker := testkit.Identify(t, started.Int("process.pid"))
			held := append(only(family, executes(watchdog)), worker)

			tell(t, stdin, "drop it")
			p.Stdout.Await("DROPPED")
			testkit.AwaitGone(t, held...)
			testkit.StillAlive(t, p.Ident)
			if ev := p.Stderr.AwaitEvent("watchdog.parent_death_detected"); ev.Str("detected_by") != "lifeline" {
				t.Errorf("detected by %s, want the lifeline", ev.Str("detected_by"))
			}
		})
	}
}
