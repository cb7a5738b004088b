package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

// roleVar makes the test binary a helper process with that role.
const roleVar = "LEASH_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVar)
	if hook := os.Getenv("LEASH_TEST_HOOK"); role == "voice" && os.Getenv("LEASH_REASON") != "" {
		role = hook // of a hung worker; its children are given roles
	}
	switch role {
	case "":
		testkit.Main(m)
	case "tree":
		tree()
	case "voice":
		voice()
	case "stay":
		fmt.Println("pid", os.Getpid())
		stay()
	case "polite":
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt)
		fmt.Println("pid", os.Getpid())
		<-c
		os.Exit(42)
	case "copy":
		fmt.Fprintln(os.Stderr, "to standard error")
		io.Copy(os.Stdout, os.Stdin)
		os.Exit(7)
	case "ctrl-c": // to all processes in the console of the process that the argument names
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
		ctrlC(os.Args[1])
	case "parent": // of the watchdog that the arguments start
		cmd := exec.Command(os.Args[1], os.Args[2:]...)
		cmd.Env = append(os.Environ(), roleVar+"=tree")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			os.Exit(99)
		}
		stay()
	default:
		fmt.Println("no such role:", role)
		os.Exit(99)
	}
}

func ctrlC(pid string) {
	kernel32 := windows.NewLazySystemDLL("kernel32.dll")
	kernel32.NewProc("FreeConsole").Call()
	n, _ := strconv.Atoi(pid)
	if ok, _, err := kernel32.NewProc("AttachConsole").Call(uintptr(n)); ok == 0 {
		fmt.Println("attach:", err)
		os.Exit(99)
	}
	if err := windows.GenerateConsoleCtrlEvent(windows.CTRL_C_EVENT, 0); err != nil {
		fmt.Println("send:", err)
		os.Exit(99)
	}
	os.Exit(0)
}

// stay waits for ever; the runtime would report an empty select as a deadlock.
func stay() { windows.SleepEx(windows.INFINITE, false) }

// treeSize is how many processes a tree has.
const treeSize = 4

// tree is a worker that ignores Ctrl-C, with a child, a child in its own process group, and
// an orphan. It starts them again for each line that it reads.
func tree() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // the channel is not read
	if os.Getenv("LEASH_TEST_ORPHAN") != "" {
		child("stay", 0)
		os.Exit(0)
	}
	fmt.Println("pid", os.Getpid())
	for in := bufio.NewReader(os.Stdin); ; {
		child("stay", 0)
		child("stay", windows.CREATE_NEW_PROCESS_GROUP)
		os.Setenv("LEASH_TEST_ORPHAN", "1")
		child("tree", 0).Wait()
		os.Unsetenv("LEASH_TEST_ORPHAN")
		if _, err := in.ReadString('\n'); err != nil {
			stay()
		}
	}
}

func child(role string, flags uint32) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: flags}
	cmd.Stdout = os.Stdout
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(99)
	}
	return cmd
}

// actor is a helper process of a test.
func actor(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	return cmd
}

// started is an actor that has printed its PID.
func started(t *testing.T, role string) *testkit.Proc {
	t.Helper()
	p := testkit.Start(t, actor(role))
	if got := p.Stdout.Await("pid "); got != strconv.Itoa(p.PID) {
		t.Fatalf("it is %s, not %d", got, p.PID)
	}
	return p
}

// watchdog is the program, with a state folder of its own; role is the role of the worker that
// it starts, if any.
func watchdogCommand(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(testkit.Watchdog(t), args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role, "LEASH_LOG_FORMAT=json", "LEASH_STATE_DIR="+state(t))
	return cmd
}

func state(t *testing.T) string { return t.TempDir() + `\state` }

// awaitPIDs identifies the next processes that print their PID.
func awaitPIDs(t *testing.T, out *testkit.Lines, count int) (ids []testkit.Ident) {
	t.Helper()
	for range count {
		pid, err := strconv.Atoi(strings.TrimSpace(out.Await("pid ")))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, testkit.Identify(t, pid))
	}
	testkit.Adopt(t, ids...)
	return ids
}

// A program without a window may start the watchdog without standard streams, or with handle
// values that are only valid in its own process: there is no output then, and the worker is
// started all the same.
func TestWithoutStreams(t *testing.T) {
	for name, stream := range map[string]windows.Handle{"none": 0, "numbers of nothing": 0x7654} {
		t.Run(name, func(t *testing.T) {
			if status := bare(t, stream, watchdogCommand(t, "", "run", "--", "cmd", "/c", "exit 7")); status != 7 {
				t.Errorf("status %d", status)
			}
		})
	}
}

// bare runs a program to its end, without a console and with one handle value for all three
// streams.
func bare(t *testing.T, stream windows.Handle, cmd *exec.Cmd) (status uint32) {
	t.Helper()
	line, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(cmd.Args))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range cmd.Env { // not by package os/exec, which would give it streams
		if name, value, _ := strings.Cut(e, "="); name != "" && os.Getenv(name) != value {
			t.Setenv(name, value)
		}
	}
	si := windows.StartupInfo{Flags: windows.STARTF_USESTDHANDLES, StdInput: stream, StdOutput: stream, StdErr: stream}
	si.Cb = uint32(unsafe.Sizeof(si))
	var pi windows.ProcessInformation
	if err := windows.CreateProcess(nil, line, nil, nil, false, windows.DETACHED_PROCESS, nil, nil, &si, &pi); err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(pi.Process)
	windows.CloseHandle(pi.Thread)
	id := testkit.Identify(t, int(pi.ProcessId))
	testkit.Adopt(t, id)
	testkit.AwaitGone(t, id)
	if err := windows.GetExitCodeProcess(pi.Process, &status); err != nil {
		t.Fatal(err)
	}
	return status
}

// A program in the current folder is started only if PATH has no other of its name: a user
// who may write there must not choose what a plain name means.
func TestProgramOfThisFolder(t *testing.T) {
	here, installed := t.TempDir(), t.TempDir()
	for status, dir := range map[int]string{3: here, 7: installed} {
		if err := os.WriteFile(filepath.Join(dir, "planted.bat"), fmt.Appendf(nil, "@exit %d\r\n", status), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run := func(env ...string) (int, string) {
		cmd := watchdogCommand(t, "", "run", "--log-level", "error", "--", "planted")
		cmd.Dir = here
		cmd.Env = append(cmd.Env, env...)
		status, _, stderr := testkit.Run(t, cmd)
		return status, stderr
	}
	if status, said := run(); status != 3 {
		t.Errorf("here and nowhere else: status %d, %s", status, said)
	}
	if status, said := run("PATH=" + installed); status != 7 {
		t.Errorf("installed too: status %d, %s", status, said)
	}
}

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

// The default parent is the process that started the watchdog.
func TestRunParentDies(t *testing.T) {
	bystander := started(t, "tree")
	others := awaitPIDs(t, bystander.Stdout, treeSize-1)
	cmd := actor("parent")
	cmd.Args = append(cmd.Args, testkit.Watchdog(t), "run", "--grace", "100ms", "--worker-id", "w1", "--", os.Args[0])
	cmd.Env = append(cmd.Env, "LEASH_LOG_FORMAT=json", "LEASH_STATE_DIR="+state(t))
	parent := testkit.Start(t, cmd)
	ids := awaitPIDs(t, parent.Stdout, treeSize)
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

// If the watchdog is killed the whole tree is killed.
func TestRunWatchdogKilled(t *testing.T) {
	bystander := started(t, "stay")
	w := testkit.Start(t, watchdogCommand(t, "tree", "run", "--", os.Args[0]))
	ids := awaitPIDs(t, w.Stdout, treeSize)
	testkit.StillAlive(t, ids...)
	w.Kill()
	testkit.AwaitGone(t, ids...)
	testkit.StillAlive(t, bystander.Ident)
}

// The processes that a worker leaves are ended, and its record is removed.
func TestRunWorkerDies(t *testing.T) {
	cmd := watchdogCommand(t, "tree", "run", "--grace", "100ms", "--", os.Args[0])
	dir := strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "LEASH_STATE_DIR=")
	w := testkit.Start(t, cmd)
	ids := awaitPIDs(t, w.Stdout, treeSize)
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

// A worker with a console of its own gets CTRL_C there, also if the watchdog itself was
// started with CTRL_C ignored.
func TestRunSendsCtrlC(t *testing.T) {
	parent := started(t, "stay")
	cmd := watchdogCommand(t, "polite", "run", "--grace", "5m", "--parent-pid", strconv.Itoa(parent.PID), "--", os.Args[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
	w := testkit.Start(t, cmd)
	awaitPIDs(t, w.Stdout, 1)
	parent.Kill()
	if status := w.Wait(); status != 42 {
		t.Errorf("status %d", status)
	}
	if e := w.Stderr.AwaitEvent("process.cleanup_completed"); e.Str("method") != "stop_signal" {
		t.Error(e)
	}
}

// Ctrl-C in the console of a watchdog ends its worker, which shares it.
func TestCtrlC(t *testing.T) {
	cmd := watchdogCommand(t, "tree", "run", "--grace", "100ms", "--", os.Args[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
	w := testkit.Start(t, cmd)
	ids := awaitPIDs(t, w.Stdout, treeSize)
	if e := w.Stderr.AwaitEvent("watchdog.started"); !strings.HasPrefix(e.Str("containment"), "job,group,") {
		t.Error(e)
	}
	key := actor("ctrl-c")
	key.Args = append(key.Args, strconv.Itoa(w.PID))
	key.SysProcAttr = &syscall.SysProcAttr{} // with Wine only the sender's process group gets it
	if status, out, _ := testkit.Run(t, key); status != 0 {
		t.Fatal(out)
	}
	stoppedWith(t, w.Stderr, "signalled", w.Wait())
	testkit.AwaitGone(t, ids...)
}

// A watchdog below the worker is not part of the tree: it ends its own worker.
func TestWatchdogWithin(t *testing.T) {
	parent := started(t, "stay")
	cmd := watchdogCommand(t, "parent", "run", "--grace", "100ms", "--worker-id", "outer", "--parent-pid", strconv.Itoa(parent.PID),
		"--", os.Args[0], testkit.Watchdog(t), "run", "--grace", "100ms", "--worker-id", "inner", "--", os.Args[0])
	w := testkit.Start(t, cmd)
	ids := awaitPIDs(t, w.Stdout, treeSize)
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
	ids := awaitPIDs(t, w.Stdout, 1)
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
			ids := awaitPIDs(t, worker.Stdout, treeSize)
			w := testkit.Start(t, watchdogCommand(t, "", "guard", "--grace", "100ms", "--backend", backend, "--poll-interval", "20ms",
				"--worker-pid", strconv.Itoa(worker.PID), "--parent-pid", strconv.Itoa(parent.PID)))
			if e := w.Stderr.AwaitEvent("watchdog.started"); e.Str("leash.run_id") != "abc1234" || e.Str("backend") != backend {
				t.Error(e)
			}
			more.Write([]byte("\n")) // processes that are started while it is watched
			ids = append(ids, awaitPIDs(t, worker.Stdout, treeSize-1)...)
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

// If a guard is killed the worker lives on, as on other systems.
func TestGuardWatchdogKilled(t *testing.T) {
	worker := started(t, "tree")
	ids := awaitPIDs(t, worker.Stdout, treeSize-1)
	w := testkit.Start(t, watchdogCommand(t, "", "guard", "--worker-pid", strconv.Itoa(worker.PID)))
	w.Stderr.AwaitEvent("watchdog.started")
	w.Kill()
	w.Wait()
	testkit.StillAlive(t, append(slices.Clone(ids), worker.Ident)...)
}

func TestGuardWithoutAWorker(t *testing.T) {
	worker := started(t, "stay")
	worker.Kill()
	worker.Wait()
	w := testkit.Start(t, watchdogCommand(t, "", "guard", "--worker-pid", strconv.Itoa(worker.PID)))
	if status := w.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	stoppedWith(t, w.Stderr, "worker_exited", 0)
}

// A parent that is dead at the start counts as one that has just exited.
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
