package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

// The workers here are CPython, with all that it does to start and to stop.

// runID is the run of these tests, and of no others: on Windows itself packages are tested side by side.
const runID = "e2e1234"

// python calls a script beside those of other peers.
func python(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(testkit.Python(t), append([]string{"-u", peer(t, script)}, args...)...)
	cmd.Env = append(os.Environ(), "LEASH_LOG_FORMAT=json", "LEASH_GRACE=500ms", "LEASH_STATE_DIR="+t.TempDir()+`\state`)
	return cmd
}

// stateOf is the state folder of such a call.
func stateOf(cmd *exec.Cmd) string {
	return strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "LEASH_STATE_DIR=")
}

// worker plays a mode of the worker's script.
func worker(t *testing.T, args ...string) *exec.Cmd { return python(t, "windows_worker.py", args...) }

func peer(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "testdata", "peers", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// spec is a worker that windows_parent.py starts.
type spec struct {
	Way     string            `json:"way"`
	ID      string            `json:"id"`
	Args    []string          `json:"args"`
	Env     map[string]string `json:"env,omitempty"`
	Flags   []string          `json:"flags,omitempty"`
	Console bool              `json:"console,omitempty"`
}

// labelled is a worker of the run.
func labelled(way, id string, args ...string) spec {
	s := spec{Way: way, ID: id, Args: args}
	if way == "run" {
		s.Flags = []string{"--run-id", runID}
	} else {
		s.Env = map[string]string{"LEASH_RUN_ID": runID, "LEASH_WORKER_ID": id}
	}
	return s
}

// parentOf starts them.
func parentOf(t *testing.T, watchdog string, specs ...spec) *exec.Cmd {
	t.Helper()
	args := []string{watchdog, peer(t, "windows_worker.py")}
	for _, s := range specs {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, string(text))
	}
	return python(t, "windows_parent.py", args...)
}

// watched is the watchdog with these flags before the command, in the
// command's own environment.
func watched(t *testing.T, cmd *exec.Cmd, flags ...string) *exec.Cmd {
	t.Helper()
	args := append(append([]string{"run"}, flags...), "--")
	dog := exec.Command(testkit.Watchdog(t), append(args, cmd.Args...)...)
	dog.Env = cmd.Env
	return dog
}

// awaitRoles waits until processes of a worker have printed their PID, one for
// each role.
func awaitRoles(t *testing.T, out *testkit.Lines, workerID string, roles ...string) (ids []testkit.Ident) {
	t.Helper()
	for _, role := range roles {
		line := regexp.MustCompile(`^pid ` + workerID + ` ` + role + ` (\d+)$`)
		pid, err := strconv.Atoi(out.AwaitMatch(line)[1])
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, testkit.Identify(t, pid))
	}
	testkit.Adopt(t, ids...)
	return ids
}

// awaitPIDs waits until each has printed its PID.
func awaitPIDs(t *testing.T, procs ...*testkit.Proc) (ids []testkit.Ident) {
	t.Helper()
	for _, p := range procs {
		p.Stdout.Await("pid ")
		ids = append(ids, p.Ident)
	}
	return ids
}

// bystanders are almost of the run: nothing may happen to them.
func bystanders(t *testing.T) (ids []testkit.Ident) {
	t.Helper()
	text := worker(t, "text", "see --run-id="+runID, "LEASH_RUN_ID="+runID)
	other := worker(t, "other")
	other.Env = append(other.Env, "LEASH_RUN_ID=xyz9876", "LEASH_WORKER_ID=w1", "NOT_LEASH_RUN_ID="+runID)
	var procs []*testkit.Proc
	for _, cmd := range []*exec.Cmd{text, other, worker(t, "plain")} {
		procs = append(procs, testkit.Start(t, cmd))
	}
	return awaitPIDs(t, procs...)
}

// Whatever a Python worker starts ends with its parent: children, a pool, a
// process that has left console and group, all of which ignore Ctrl-C.
func TestPythonTree(t *testing.T) {
	for _, way := range []string{"run", "guard"} {
		t.Run(way, func(t *testing.T) {
			strangers := bystanders(t)
			parent := testkit.Start(t, parentOf(t, testkit.Watchdog(t), labelled(way, "w1", "tree")))
			roles := []string{"worker", "child", "detached", "pool", "pool", "watchdog"}
			switch got := parent.Stdout.Await("breakaway "); {
			case got == "allowed" && way == "run":
				t.Error("a child may break away from the job")
			case got == "allowed":
				roles = append(roles, "breakaway")
			}
			ids := awaitRoles(t, parent.Stdout, "w1", roles...)
			if e := parent.Stderr.AwaitEvent("watchdog.started"); e.Str("leash.run_id") != runID || e.Int("process.parent_pid") != parent.PID {
				t.Error(e)
			}
			testkit.StillAlive(t, ids...)
			parent.Kill()
			if e := parent.Stderr.AwaitEvent("process.cleanup_completed"); e.Int("survivors") != 0 {
				t.Error(e)
			}
			testkit.AwaitGone(t, ids...)
			testkit.StillAlive(t, strangers...)
		})
	}
}

// Lines pass at once, both ways, and the status is the worker's own.
func TestPythonStreamsAndStatus(t *testing.T) {
	cmd := watched(t, worker(t, "echo", "7"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w := testkit.Start(t, cmd)
	for _, line := range []string{"one", "two"} {
		if _, err := in.Write([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
		w.Stdout.Await("echo " + line)
	}
	in.Close()
	if status := w.Wait(); status != 7 {
		t.Errorf("status %d", status)
	}
	w.Stderr.Await("to standard error")
	if e := w.Stderr.AwaitEvent("watchdog.stopped"); e.Str("outcome") != "worker_exited" || e.Int("exit_status") != 7 {
		t.Error(e)
	}
}

// A worker in a console of its own gets Ctrl-C as KeyboardInterrupt, and may end by
// itself.
func TestPythonGetsCtrlC(t *testing.T) {
	alone := &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS}
	t.Run("run", func(t *testing.T) {
		parent := testkit.Start(t, worker(t, "parent"))
		awaitPIDs(t, parent)
		cmd := watched(t, worker(t, "polite"), "--grace", "5m", "--parent-pid", strconv.Itoa(parent.PID))
		cmd.SysProcAttr = alone
		w := testkit.Start(t, cmd)
		awaitRoles(t, w.Stdout, "-", "worker", "child")
		parent.Kill()
		if status := w.Wait(); status != 42 {
			t.Errorf("status %d", status)
		}
		w.Stdout.Await("interrupted")
		endedPolitely(t, w)
	})
	t.Run("ignores Ctrl-C", func(t *testing.T) {
		parent := testkit.Start(t, worker(t, "parent"))
		awaitPIDs(t, parent)
		cmd := watched(t, worker(t, "tree"), "--grace", "300ms", "--parent-pid", strconv.Itoa(parent.PID))
		cmd.SysProcAttr = alone
		w := testkit.Start(t, cmd)
		ids := awaitRoles(t, w.Stdout, "-", "worker", "child", "detached", "pool", "pool")
		parent.Kill()
		if e := w.Stderr.AwaitEvent("signal.sent"); e.Str("signal") != "SIGTERM" || e.Int("target_pid") != ids[0].PID || e.Str("error") != "" {
			t.Errorf("expected the stop signal to be sent, but got %v", e)
		}
		if e := w.Stderr.AwaitEvent("process.cleanup_completed"); e.Str("method") != "job" || e.Int("survivors") != 0 {
			t.Error(e)
		}
		if status := w.Wait(); status != 137 {
			t.Errorf("status %d", status)
		}
		testkit.AwaitGone(t, ids...)
	})
	t.Run("guard", func(t *testing.T) {
		parent := testkit.Start(t, worker(t, "parent"))
		awaitPIDs(t, parent)
		cmd := worker(t, "polite")
		cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
		p := testkit.Start(t, cmd)
		awaitRoles(t, p.Stdout, "-", "worker", "child")
		dog := exec.Command(testkit.Watchdog(t), "guard", "--grace", "5m",
			"--worker-pid", strconv.Itoa(p.PID), "--parent-pid", strconv.Itoa(parent.PID))
		dog.Env, dog.SysProcAttr = cmd.Env, alone
		w := testkit.Start(t, dog)
		w.Stderr.AwaitEvent("watchdog.started")
		parent.Kill()
		if status := p.Wait(); status != 42 {
			t.Errorf("status %d", status)
		}
		p.Stdout.Await("interrupted")
		endedPolitely(t, w)
	})
}

func endedPolitely(t *testing.T, w *testkit.Proc) {
	t.Helper()
	if e := w.Stderr.AwaitEvent("process.cleanup_completed"); e.Str("method") != "stop_signal" || e.Int("survivors") != 0 {
		t.Error(e)
	}
}
