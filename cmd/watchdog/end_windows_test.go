package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

// stoppedWith is the last record of a watchdog.
func stoppedWith(t *testing.T, log *testkit.Lines, outcome string, status int) {
	t.Helper()
	e := log.AwaitEvent("watchdog.stopped")
	if e.Str("outcome") != outcome || e.Int("exit_status") != status {
		t.Errorf("%v, not %s with %d", e, outcome, status)
	}
}

func TestRunStatusAndStreams(t *testing.T) {
	cmd := watchdogCommand(t, "copy", "run", "--log-level", "error", "--", os.Args[0])
	cmd.Stdin = strings.NewReader("in\nand out\n")
	status, stdout, stderr := testkit.Run(t, cmd)
	if status != 7 || stdout != "in\nand out" || stderr != "to standard error" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

func TestWrongCalls(t *testing.T) {
	plain := t.TempDir() + `\plain.txt`
	if err := os.WriteFile(plain, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		args   []string
	}{
		{125, []string{"guard"}},
		{125, []string{"guard", "--worker-pid", "0"}},
		{125, []string{"guard", "--worker-pid", "4294967296"}},
		{125, []string{"guard", "--worker-pid", strconv.Itoa(os.Getpid()), "--parent-pid", strconv.Itoa(os.Getpid())}},
		{125, []string{"guard", "--worker-pid", strconv.Itoa(os.Getpid())}}, // an ancestor
		{125, []string{"run", "--stop-signal", "USR1", "--", os.Args[0]}},
		{125, []string{"run", "--keep-fd", "12344", "--", os.Args[0]}},
		{126, []string{"run", "--", plain}},
		{127, []string{"run", "--", "no-such-program"}},
		{127, []string{"run", "--", t.TempDir() + `\no-such-program.exe`}},
	} {
		status, _, stderr := testkit.Run(t, watchdogCommand(t, "stay", c.args...))
		if status != c.status || strings.Count(stderr, "\n") > 0 || !strings.HasPrefix(stderr, "watchdog: ") {
			t.Errorf("%q: status %d, %q", c.args, status, stderr)
		}
	}
}

// The default parent is the one that started the watchdog.
func TestRunParentDies(t *testing.T) {
	bystander := started(t, "tree")
	others := printed(t, bystander.Stdout, treeSize-1)
	cmd := actor("parent")
	cmd.Args = append(cmd.Args, testkit.Watchdog(t), "run", "--grace", "100ms", "--worker-id", "w1", "--", os.Args[0])
	cmd.Env = append(cmd.Env, "LEASH_LOG_FORMAT=json", "LEASH_STATE_DIR="+state(t))
	parent := testkit.Start(t, cmd)
	ids := printed(t, parent.Stdout, treeSize)
	if e := parent.Stderr.AwaitEvent("watchdog.started"); !strings.HasPrefix(e.Str("containment"), "job,") || e.Int("process.parent_pid") != parent.PID {
		t.Error(e)
	}
	parent.Kill()
	if e := parent.Stderr.AwaitEvent("watchdog.parent_death_detected"); e.Str("detected_by") != "handle" || e.Int("process.parent_pid") != parent.PID {
		t.Error(e)
	}
	if e := parent.Stderr.AwaitEvent("process.cleanup_completed"); e.Str("method") != "job" || e.Int("survivors") != 0 {
		t.Error(e)
	}
	stoppedWith(t, parent.Stderr, "parent_died", 137)
	testkit.AwaitGone(t, ids...)
	testkit.StillAlive(t, append(others, bystander.Ident)...)
}

// A watchdog that is killed takes the whole tree along.
func TestRunWatchdogKilled(t *testing.T) {
	bystander := started(t, "stay")
	w := testkit.Start(t, watchdogCommand(t, "tree", "run", "--", os.Args[0]))
	ids := printed(t, w.Stdout, treeSize)
	testkit.StillAlive(t, ids...)
	w.Kill()
	testkit.AwaitGone(t, ids...)
	testkit.StillAlive(t, bystander.Ident)
}

// What a worker leaves behind ends with it, and its record goes.
func TestRunWorkerDies(t *testing.T) {
	cmd := watchdogCommand(t, "tree", "run", "--grace", "100ms", "--", os.Args[0])
	dir := strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "LEASH_STATE_DIR=")
	w := testkit.Start(t, cmd)
	ids := printed(t, w.Stdout, treeSize)
	w.Stderr.AwaitEvent("watchdog.started")
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("the ledger: %v, %v", files, err)
	}
	if err := ids[0].Kill(); err != nil {
		t.Fatal(err)
	}
	stoppedWith(t, w.Stderr, "worker_exited", w.Wait())
	testkit.AwaitGone(t, ids...)
	if files, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) || len(files) != 0 {
		t.Errorf("the ledger: %v, %v", files, err)
	}
}

// A worker with a console of its own is asked there, also if the watchdog itself
// was started deaf to CTRL_C.
func TestRunAsks(t *testing.T) {
	parent := started(t, "stay")
	cmd := watchdogCommand(t, "polite", "run", "--grace", "5m", "--parent-pid", strconv.Itoa(parent.PID), "--", os.Args[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
	w := testkit.Start(t, cmd)
	printed(t, w.Stdout, 1)
	parent.Kill()
	if status := w.Wait(); status != 42 {
		t.Errorf("status %d", status)
	}
	if e := w.Stderr.AwaitEvent("process.cleanup_completed"); e.Str("method") != "stop_signal" {
		t.Error(e)
	}
}

// Ctrl-C in the console of a watchdog ends his worker, which shares it.
func TestCtrlC(t *testing.T) {
	cmd := watchdogCommand(t, "tree", "run", "--grace", "100ms", "--", os.Args[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
	w := testkit.Start(t, cmd)
	ids := printed(t, w.Stdout, treeSize)
	if e := w.Stderr.AwaitEvent("watchdog.started"); !strings.HasPrefix(e.Str("containment"), "job,group,") {
		t.Error(e)
	}
	key := actor("ctrl-c")
	key.Args = append(key.Args, strconv.Itoa(w.PID))
	key.SysProcAttr = &syscall.SysProcAttr{} // to Wine, everybody is everybody in the sender's group
	if status, out, _ := testkit.Run(t, key); status != 0 {
		t.Fatal(out)
	}
	stoppedWith(t, w.Stderr, "signalled", w.Wait())
	testkit.AwaitGone(t, ids...)
}

// A watchdog among the worker's own is no part of the tree: he sees to his own.
func TestWatchdogWithin(t *testing.T) {
	parent := started(t, "stay")
	cmd := watchdogCommand(t, "parent", "run", "--grace", "100ms", "--worker-id", "outer", "--parent-pid", strconv.Itoa(parent.PID),
		"--", os.Args[0], testkit.Watchdog(t), "run", "--grace", "100ms", "--worker-id", "inner", "--", os.Args[0])
	w := testkit.Start(t, cmd)
	ids := printed(t, w.Stdout, treeSize)
	parent.Kill()
	w.Wait()
	for range 2 { // the inner one too
		w.Stderr.AwaitEvent("watchdog.stopped")
	}
	for _, e := range w.Stderr.Events() {
		if e.Name() == "process.cleanup_completed" && e.Int("survivors") != 0 {
			t.Error(e)
		}
	}
	testkit.AwaitGone(t, ids...)
}

func TestRunLifeline(t *testing.T) {
	cmd := watchdogCommand(t, "stay", "run", "--grace", "100ms", "--parent-fd", "0", "--", os.Args[0])
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w := testkit.Start(t, cmd)
	ids := printed(t, w.Stdout, 1)
	lifeline.Close()
	if e := w.Stderr.AwaitEvent("watchdog.parent_death_detected"); e.Str("detected_by") != "lifeline" {
		t.Error(e)
	}
	w.Wait()
	testkit.AwaitGone(t, ids...)
}

func TestGuardParentDies(t *testing.T) {
	for _, backend := range []string{"event", "poll"} {
		t.Run(backend, func(t *testing.T) {
			bystander, parent := started(t, "stay"), started(t, "stay")
			cmd := actor("tree")
			cmd.Env = append(cmd.Env, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1")
			more, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			worker := testkit.Start(t, cmd)
			ids := printed(t, worker.Stdout, treeSize)
			w := testkit.Start(t, watchdogCommand(t, "", "guard", "--grace", "100ms", "--backend", backend, "--poll-interval", "20ms",
				"--worker-pid", strconv.Itoa(worker.PID), "--parent-pid", strconv.Itoa(parent.PID)))
			if e := w.Stderr.AwaitEvent("watchdog.started"); e.Str("leash.run_id") != "abc1234" || e.Str("backend") != backend {
				t.Error(e)
			}
			more.Write([]byte("\n")) // what is born while it is watched
			ids = append(ids, printed(t, worker.Stdout, treeSize-1)...)
			testkit.StillAlive(t, ids...)
			parent.Kill()
			if status := w.Wait(); status != 0 {
				t.Errorf("status %d", status)
			}
			stoppedWith(t, w.Stderr, "parent_died", 0)
			testkit.AwaitGone(t, ids...)
			testkit.StillAlive(t, bystander.Ident)
		})
	}
}

// A guard that is killed leaves the worker alone, as on other systems.
func TestGuardWatchdogKilled(t *testing.T) {
	worker := started(t, "tree")
	ids := printed(t, worker.Stdout, treeSize-1)
	w := testkit.Start(t, watchdogCommand(t, "", "guard", "--worker-pid", strconv.Itoa(worker.PID)))
	w.Stderr.AwaitEvent("watchdog.started")
	w.Kill()
	w.Wait()
	testkit.StillAlive(t, append(slices.Clone(ids), worker.Ident)...)
}

func TestGuardOfNobody(t *testing.T) {
	worker := started(t, "stay")
	worker.Kill()
	worker.Wait()
	w := testkit.Start(t, watchdogCommand(t, "", "guard", "--worker-pid", strconv.Itoa(worker.PID)))
	if status := w.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	stoppedWith(t, w.Stderr, "worker_exited", 0)
}

// A parent that is dead at the start is one that has just died.
func TestParentDeadAtStart(t *testing.T) {
	parent, worker := started(t, "stay"), started(t, "stay")
	parent.Kill()
	parent.Wait()
	w := testkit.Start(t, watchdogCommand(t, "", "guard", "--grace", "100ms", "--worker-pid", strconv.Itoa(worker.PID),
		"--parent-pid", strconv.Itoa(parent.PID)))
	if e := w.Stderr.AwaitEvent("watchdog.parent_death_detected"); e.Str("detected_by") != "start" {
		t.Error(e)
	}
	w.Wait()
	testkit.AwaitGone(t, worker.Ident)
}
