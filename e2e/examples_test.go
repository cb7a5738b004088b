//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"leash/internal/testkit"
)

// example is one program of examples/, as a reader would start it.
type example struct {
	file    string
	command []string
	needs   []string
}

var examples = []example{
	{"run.exs", []string{"elixir", "run.exs"}, []string{"elixir", "erl"}},
	{"guard.exs", []string{"elixir", "guard.exs"}, []string{"elixir", "erl"}},
	{"run.py", []string{"python3", "run.py"}, nil},
	{"run.mjs", []string{"node", "run.mjs"}, []string{"node"}},
	{"run.go", nil, nil}, // built by the test: go run would be one more process
	{"run.sh", []string{"sh", "run.sh"}, nil},
}

// awaitExample waits until an example's worker is watched, with the example itself as
// its parent, and returns all that runs below.
func awaitExample(t *testing.T, p *testkit.Proc) (started testkit.Event, family []testkit.Ident) {
	t.Helper()
	p.Stdout.Await("READY")
	started = p.Stderr.AwaitEvent("watchdog.started")
	if got := started.Int("process.parent_pid"); got != p.PID {
		t.Errorf("expected the watchdog to watch the example, process %d, but its parent is %d", p.PID, got)
	}
	family = testkit.Descendants(t, p.PID)
	testkit.Adopt(t, family...)
	return started, family
}

// TestExamples kills each example in the midst of its life: its worker and its
// watchdog must go with it.
func TestExamples(t *testing.T) {
	for _, ex := range examples {
		t.Run(ex.file, func(t *testing.T) {
			testkit.Need(t, append(ex.needs, "python3")...)
			watchdog := realPath(t, testkit.Watchdog(t))
			p := testkit.Start(t, ex.cmd(t, watchdog))
			started, family := awaitExample(t, p)
			if n := len(only(family, executes(watchdog))); n != 1+sentinels(ex.file) {
				t.Errorf("%d watchdogs among %v, want one, and a sentinel under run", n, family)
			}
			worker := started.Int("process.pid")
			isWorker := func(id testkit.Ident) bool { return id.PID == worker && isPython(id) }
			if n := len(only(family, isWorker)); n != 1 {
				t.Errorf("the worker %d is not among %v", worker, family)
			}

			p.Kill()
			testkit.AwaitGone(t, family...)
		})
	}
}

// sentinels is how many processes there are beside the watchdog.
func sentinels(file string) int {
	if strings.HasPrefix(file, "run.") {
		return 1
	}
	return 0
}

// TestWorkerAloneStays is the same scene without a watchdog. It shows that the
// worker of the examples does not end by itself, and that no BEAM ends it.
func TestWorkerAloneStays(t *testing.T) {
	const port = `
		python = System.find_executable("python3")
		port = Port.open({:spawn_executable, python}, [:binary, line: 99, args: ["worker.py"]])
		receive do: ({^port, {:data, {:eol, "READY"}}} -> IO.puts("READY"))
		Process.sleep(:infinity)`
	for _, parent := range [][]string{
		{"sh", "-c", "python3 worker.py & wait"},
		{"elixir", "-e", port},
	} {
		t.Run(parent[0], func(t *testing.T) {
			testkit.Need(t, "python3", parent[0])
			cmd := exec.Command(parent[0], parent[1:]...)
			cmd.Dir = examplesDir(t)
			p := testkit.Start(t, cmd)
			p.Stdout.Await("READY")
			family := testkit.Descendants(t, p.PID)
			testkit.Adopt(t, family...)
			workers := only(family, isPython)
			if len(workers) != 1 {
				t.Fatalf("%d workers, want 1: %v", len(workers), workers)
			}
			p.Kill()
			p.Wait()
			testkit.StayAlive(t, 500*time.Millisecond, workers...)
		})
	}
}

// TestExamplesAreComplete keeps the list above and the folder alike.
func TestExamplesAreComplete(t *testing.T) {
	want := map[string]bool{"README.md": true, "worker.py": true}
	for _, ex := range examples {
		want[ex.file] = true
	}
	entries, err := os.ReadDir(examplesDir(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !want[e.Name()] && !e.IsDir() {
			t.Errorf("examples/%s is not tested", e.Name())
		}
		delete(want, e.Name())
	}
	delete(want, "README.md") // the text may stand in the README of the project
	for name := range want {
		t.Errorf("examples/%s is missing", name)
	}
}

// TestReadmeShowsTheExamples compares the code blocks with the files.
func TestReadmeShowsTheExamples(t *testing.T) {
	name, shown := shownExamples(t)
	for _, ex := range examples {
		code := readFile(t, filepath.Join(examplesDir(t), ex.file))
		block, ok := shown[ex.file]
		if !ok {
			t.Errorf("%s does not show examples/%s", name, ex.file)
		} else if block != string(code) {
			t.Errorf("%s differs from examples/%s; it shows:\n%s", name, ex.file, block)
		}
		delete(shown, ex.file)
	}
	for file := range maps.Keys(shown) {
		t.Errorf("%s shows examples/%s, which is no example", name, file)
	}
}

// shownExamples reads the code blocks of the README, or of the one in
// examples/ where the first shows none.
func shownExamples(t *testing.T) (name string, shown map[string]string) {
	for _, name = range []string{"README.md", "examples/README.md"} {
		text, err := os.ReadFile(filepath.Join(testkit.Root(t), name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if shown = markedBlocks(string(text)); len(shown) > 0 {
			return name, shown
		}
	}
	t.Fatal("no README shows any example")
	return
}

var markedBlock = regexp.MustCompile("(?s)<!-- examples/([^ ]+) -->\n```[a-z]*\n(.*?)```\n")

// markedBlocks finds the code blocks that follow a marker with a file's name.
func markedBlocks(text string) map[string]string {
	shown := map[string]string{}
	for _, m := range markedBlock.FindAllStringSubmatch(text, -1) {
		shown[m[1]] = m[2]
	}
	return shown
}

// cmd is the command of the example, with the watchdog in its PATH.
func (ex example) cmd(t *testing.T, watchdog string) *exec.Cmd {
	t.Helper()
	command := ex.command
	if command == nil {
		command = []string{testkit.Build(t, "./examples")}
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = examplesDir(t)
	cmd.Env = append(os.Environ(),
		"PATH="+filepath.Dir(watchdog)+":"+os.Getenv("PATH"),
		"LEASH_LOG_FORMAT=json")
	return cmd
}

// realPath is the path as the kernel names it in /proc/PID/exe.
func realPath(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

func examplesDir(t *testing.T) string { return filepath.Join(testkit.Root(t), "examples") }

// only picks those of the processes that the caller searches for.
func only(ids []testkit.Ident, is func(testkit.Ident) bool) []testkit.Ident {
	return slices.DeleteFunc(slices.Clone(ids), func(id testkit.Ident) bool { return !is(id) })
}

// executes reports whether a process executes this very file.
func executes(file string) func(testkit.Ident) bool {
	return func(id testkit.Ident) bool { return executable(id) == file }
}

func isPython(id testkit.Ident) bool {
	return strings.HasPrefix(filepath.Base(executable(id)), "python")
}

func executable(id testkit.Ident) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", id.PID))
	return path
}

// owners run an example in something that can end while its process keeps running: a
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

// TestExamplesWhenTheOwnerEnds ends only what holds the worker. Nothing of it is
// left, and the process keeps running.
func TestExamplesWhenTheOwnerEnds(t *testing.T) {
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
			started, family := awaitExample(t, p)
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
