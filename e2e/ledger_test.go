//go:build linux

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
	"leash/internal/testkit"
)

const deaf = `trap 'echo term' TERM; echo ready; while :; do sleep 0.01; done`

// inDir has a command keep its ledger there.
func inDir(cmd *exec.Cmd, dir string) *exec.Cmd {
	cmd.Env = append(cmd.Env, "LEASH_STATE_DIR="+dir)
	return cmd
}

func guarding(t *testing.T, dir string, worker, parent *testkit.Proc, more ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{"guard", "--worker-pid", pid(worker), "--parent-pid", pid(parent)}, more...)
	return inDir(watchdog(t, args...), dir)
}

// ledgerOf reads every record; whatever else is there fails the test.
func ledgerOf(t *testing.T, dir string) (all []ledger.Record) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, _, problems := ledger.Read(f)
	for _, p := range problems {
		t.Errorf("a file of the ledger: %v", p)
	}
	for _, e := range entries {
		all = append(all, e.Record)
	}
	return all
}

func onlyRecord(t *testing.T, dir string) ledger.Record {
	t.Helper()
	all := ledgerOf(t, dir)
	if len(all) != 1 {
		t.Fatalf("%d records", len(all))
	}
	return all[0]
}

// awaitRecord waits for the record that nobody tells of.
func awaitRecord(t *testing.T, dir, what string, is func(ledger.Record) bool) ledger.Record {
	t.Helper()
	for end := time.Now().Add(testkit.Patience); ; runtime.Gosched() {
		r := onlyRecord(t, dir)
		if is(r) {
			return r
		}
		if time.Now().After(end) {
			t.Fatalf("no record %s: %+v", what, r)
		}
	}
}

func isEnding(r ledger.Record) bool { return r.Ending }

// sameProcess reports whether a recorded identity is this process.
func sameProcess(id proc.ID, p testkit.Ident) bool { return id.PID == p.PID && id.Start == p.Start }

// inodeOf is that of a pidfd, where the kernel gives each process one.
func inodeOf(t *testing.T, pid int) uint64 {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || fs.Type != unix.PID_FS_MAGIC || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

func ticks() uint64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano()) / 1e7
}

// checkRecord compares what the ledger says with what the system says.
func checkRecord(t *testing.T, r ledger.Record, parent, watchdog, worker testkit.Ident) {
	t.Helper()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	ns, _ := os.Readlink("/proc/self/ns/pid")
	want := ledger.Record{
		RunID: "abc1234", WorkerID: "w 1", Parents: []proc.ID{{PID: parent.PID, Start: parent.Start, Inode: inodeOf(t, parent.PID)}},
		Watchdog: proc.ID{PID: watchdog.PID, Start: watchdog.Start, Inode: inodeOf(t, watchdog.PID)},
		Worker:   proc.ID{PID: worker.PID, Start: worker.Start, Inode: inodeOf(t, worker.PID)},
		Boot:     strings.TrimSpace(string(boot)), Cgroup: r.Cgroup, Started: r.Started, Seen: r.Seen, UID: uint32(os.Geteuid()),
	}
	want.Group, _ = unix.Getpgid(worker.PID)
	want.Session, _ = unix.Getsid(worker.PID)
	want.NS, _ = strconv.ParseUint(strings.Trim(ns, "pid:[]"), 10, 64)
	if !reflect.DeepEqual(r, want) {
		t.Errorf("the record says\n%+v, not\n%+v", r, want)
	}
	if age := time.Since(r.Started); age < 0 || age > testkit.Patience {
		t.Errorf("it began %v ago", age)
	}
	if r.Seen < worker.Start || r.Seen > ticks() {
		t.Errorf("seen at %d, born at %d, now %d", r.Seen, worker.Start, ticks())
	}
}

func TestRecordOfGuard(t *testing.T) {
	dir, parent, w := stateDir(t), sleeper(t), scriptWorker(t, stay)
	g := testkit.Start(t, guarding(t, dir, w, parent, "--run-id", "abc1234", "--worker-id", "w 1"))
	g.Stderr.AwaitEvent("watchdog.started")
	r := onlyRecord(t, dir)
	checkRecord(t, r, parent.Ident, g.Ident, w.Ident)
	if r.Cgroup != "" {
		t.Errorf("cgroup %s, which is not the worker's own", r.Cgroup)
	}
	parent.Kill()
	g.Stderr.AwaitEvent("process.cleanup_completed")
	if left := ledgerOf(t, dir); left != nil {
		t.Errorf("nothing is left of the worker but %+v", left)
	}
	if status := g.Wait(); status != 0 || strings.Contains(g.Stderr.AwaitEnd(), "watchdog.warning") {
		t.Errorf("status %d", status)
	}
}

func TestRecordOfRun(t *testing.T) {
	dir, parent := stateDir(t), sleeper(t)
	g := testkit.Start(t, inDir(watchdog(t, "run", "--parent-pid", pid(parent), "--run-id", "abc1234", "--worker-id", "w 1", "--",
		"sh", "-c", `echo worker $$; echo owner $LEASH_RUN_OWNER; exec sleep 1000000`), dir))
	g.Stderr.AwaitEvent("watchdog.started")
	w := identOf(t, g.Stdout, "worker")
	r := onlyRecord(t, dir)
	checkRecord(t, r, parent.Ident, g.Ident, w)
	cgroups, _ := os.ReadFile("/proc/" + itoa(w.PID) + "/cgroup")
	if own := filepath.Base(r.Cgroup); r.Cgroup != "" && !bytes.Contains(cgroups, []byte(own+"\n")) {
		t.Errorf("cgroup %s, but the worker is in\n%s", r.Cgroup, cgroups)
	}
	text := g.Stdout.Await("owner ")
	want := owner.Owner{PID: parent.PID, Start: parent.Start, Boot: r.Boot, NS: r.NS}
	if o, ok := owner.Parse(text); !ok || o != want {
		t.Errorf("LEASH_RUN_OWNER=%s, not %s", text, want)
	}
	parent.Kill()
	g.Stderr.AwaitEvent("process.cleanup_completed")
	if left := ledgerOf(t, dir); left != nil {
		t.Errorf("nothing is left of the worker but %+v", left)
	}
}

// The labels of a worker that runs already are its own; a lifeline is nobody.
func TestRecordWithoutFlags(t *testing.T) {
	dir := stateDir(t)
	cmd := exec.Command("sh", "-c", stay)
	cmd.Env = append(os.Environ(), "LEASH_RUN_ID=own1234", "LEASH_WORKER_ID=mine")
	w := testkit.Start(t, cmd)
	w.Stdout.Await("ready")
	guard := inDir(watchdog(t, "guard", "--worker-pid", pid(w), "--parent-fd", "0"), dir)
	in, err := guard.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	g := testkit.Start(t, guard)
	g.Stderr.AwaitEvent("watchdog.started")
	if r := onlyRecord(t, dir); r.RunID != "own1234" || r.WorkerID != "mine" || r.Parents != nil || !sameProcess(r.Worker, w.Ident) {
		t.Errorf("%+v", r)
	}
	in.Close()
	g.Wait()
}

func TestEndingIsWrittenDown(t *testing.T) {
	dir, parent, w := stateDir(t), sleeper(t), scriptWorker(t, deaf)
	g := testkit.Start(t, guarding(t, dir, w, parent, "--grace", "300s"))
	g.Stderr.AwaitEvent("watchdog.started")
	before := onlyRecord(t, dir)
	parent.Kill()
	w.Stdout.Await("term")
	r := awaitRecord(t, dir, "that says so", isEnding)
	if r.Seen < before.Seen {
		t.Errorf("seen at %d, before that at %d", r.Seen, before.Seen)
	}
	before.Ending, before.Seen = true, r.Seen
	if !reflect.DeepEqual(r, before) {
		t.Errorf("%+v became %+v", before, r)
	}
	w.Kill()
	if status := g.Wait(); status != 0 || ledgerOf(t, dir) != nil {
		t.Errorf("status %d, and left is %+v", status, ledgerOf(t, dir))
	}
}

// Then it is ending from the start, and the dead are known by number only.
func TestRecordWithAParentDeadAtStart(t *testing.T) {
	dir, parent, w := stateDir(t), sleeper(t), scriptWorker(t, deaf)
	parent.Kill()
	parent.Wait()
	g := testkit.Start(t, guarding(t, dir, w, parent, "--grace", "300s"))
	g.Stderr.AwaitEvent("watchdog.started")
	if r := onlyRecord(t, dir); !r.Ending || len(r.Parents) != 1 || r.Parents[0] != (proc.ID{PID: parent.PID}) {
		t.Errorf("%+v", r)
	}
	w.Stdout.Await("term")
	w.Kill()
	g.Wait()
}

// Nothing comes between a parent's death and the signals.
func TestSignalsGoBeforeTheRecord(t *testing.T) {
	testkit.Need(t, "strace")
	// A tree that grows would be written down too.
	dir, parent, w := stateDir(t), sleeper(t), scriptWorker(t, "trap '' TERM; echo ready; exec sleep 1000000")
	log := filepath.Join(t.TempDir(), "strace")
	g := testkit.Start(t, traced(guarding(t, dir, w, parent, "--grace", "300s"), "-o", log, "-e", "trace=openat,pidfd_send_signal"))
	g.Stderr.AwaitEvent("watchdog.started")
	parent.Kill()
	awaitRecord(t, dir, "of an ending", isEnding)
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	writes := regexp.MustCompile(`(?m)^.*\.worker\.new".*$`).FindAllIndex(b, -1)
	signal := regexp.MustCompile(`pidfd_send_signal\(.*SIGTERM`).FindIndex(b)
	if len(writes) != 2 || signal == nil || signal[0] < writes[0][0] || signal[0] > writes[1][0] {
		t.Errorf("writes at %v, the signal at %v of\n%s", writes, signal, b)
	}
	w.Kill()
	g.Wait()
}

// traced has strace run a command, which stays a process of its own.
func traced(cmd *exec.Cmd, flags ...string) *exec.Cmd {
	args := append(append(flags, "-f", "-qq", cmd.Path), cmd.Args[1:]...)
	s := exec.Command("strace", args...)
	s.Env = cmd.Env
	return s
}

// A survey that finds the tree grown writes the record anew, and no other.
func TestGrownTreeIsWrittenDown(t *testing.T) {
	py := testkit.NeedPython(t)
	testkit.Need(t, "strace")
	dir, parent := stateDir(t), sleeper(t)
	cmd := exec.Command(py, "-c", `
import subprocess, sys
dead = subprocess.Popen(["true"], stdout=subprocess.PIPE)
dead.stdout.read()  # a zombie from now on
subprocess.Popen(["sleep", "1000000"])
print("ready\n", end="", flush=True)
sys.stdin.readline()
print(f"child {subprocess.Popen(['sleep', '1000000']).pid}\n", end="", flush=True)
sys.stdin.readline()
`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w := testkit.Start(t, cmd)
	w.Stdout.Await("ready")
	born := ticks() // in the very tick of the first look is not before it
	awaitThat(t, "later tick", func() bool { return ticks() > born })
	log := filepath.Join(t.TempDir(), "strace")
	g := testkit.Start(t, traced(guarding(t, dir, w, parent), "-o", log, "-e", "trace=openat"))
	g.Stderr.AwaitEvent("watchdog.started")
	first := onlyRecord(t, dir)
	looks := func() int { return count(t, log, "/proc/"+pid(w)+"/task\"") }
	awaitThat(t, "three looks at the tree", func() bool { return looks() >= 3 })
	if n := count(t, log, ".worker.new"); n != 1 {
		t.Errorf("%d writes, and nothing has changed", n)
	}
	in.Write([]byte("\n"))
	child := identOf(t, w.Stdout, "child")
	r := awaitRecord(t, dir, "of a grown tree", func(r ledger.Record) bool { return r.Seen > first.Seen && r.Seen >= child.Start })
	if n := count(t, log, ".worker.new"); n != 2 {
		t.Errorf("%d writes, and the tree grew once", n)
	}
	first.Seen = r.Seen
	if !reflect.DeepEqual(r, first) {
		t.Errorf("%+v became %+v", first, r)
	}
}

func count(t *testing.T, file, text string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte(text))
}

func awaitThat(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(testkit.Patience); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

// What survives stays on record.
func TestRecordOfSurvivorsIsKept(t *testing.T) {
	t.Parallel()
	frozen := freezer(t)
	dir, parent, w := stateDir(t), sleeper(t), scriptWorker(t, stay)
	g := testkit.Start(t, guarding(t, dir, w, parent, "--grace", "0s"))
	g.Stderr.AwaitEvent("watchdog.started")
	freeze(t, frozen, w.Ident)
	parent.Kill()
	if status := g.Wait(); status != 1 {
		t.Errorf("status %d", status)
	}
	if r := onlyRecord(t, dir); !r.Ending || !sameProcess(r.Worker, w.Ident) {
		t.Errorf("%+v", r)
	}
}
