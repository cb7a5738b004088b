//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
	"leash/internal/testkit"
)

const ignoringTERM = `trap 'echo term' TERM; echo ready; while :; do sleep 0.01; done`

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

// awaitRecord waits for the record, which no event reports.
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

// The labels of a worker that runs already are its own; a lifeline is no process.
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
	dir, parent, w := stateDir(t), sleeper(t), scriptWorker(t, ignoringTERM)
	g := testkit.Start(t, guarding(t, dir, w, parent, "--grace", "300s"))
	g.Stderr.AwaitEvent("watchdog.started")
	before := onlyRecord(t, dir)
	parent.Kill()
	w.Stdout.Await("term")
	r := awaitRecord(t, dir, "that says so", isEnding)
	if r.Seen < before.Seen {
		t.Errorf("seen at %d, before that at %d", r.Seen, before.Seen)
	}
	before.Ending, before.Seen, before.Counts.ParentDeaths = true, r.Seen, 1
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
	dir, parent, w := stateDir(t), sleeper(t), scriptWorker(t, ignoringTERM)
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
	b := readFile(t, log)
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
	born := ticks() // in the very tick of the first scan is not before it
	awaitCondition(t, "later tick", func() bool { return ticks() > born })
	log := filepath.Join(t.TempDir(), "strace")
	g := testkit.Start(t, traced(guarding(t, dir, w, parent), "-o", log, "-e", "trace=openat"))
	g.Stderr.AwaitEvent("watchdog.started")
	first := onlyRecord(t, dir)
	scans := func() int { return count(t, log, "/proc/"+pid(w)+"/task\"") }
	awaitCondition(t, "three scans of the tree", func() bool { return scans() >= 3 })
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
	b := readFile(t, file)
	return bytes.Count(b, []byte(text))
}

func awaitCondition(t *testing.T, what string, is func() bool) {
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

// awaitStartOrDeath waits for the one or the other.
func awaitStartOrDeath(t *testing.T, p *testkit.Proc) (started bool) {
	t.Helper()
	awaitCondition(t, "start nor end of a watchdog", func() bool {
		select {
		case <-p.Done():
			return true
		default:
			started = strings.Contains(p.Stderr.All(), "watchdog.started")
			return started
		}
	})
	return started
}

// A watchdog that is killed at any system call leaves no record, part of one by
// another name, or a whole one.
func TestKilledAtAnySystemCall(t *testing.T) {
	testkit.Need(t, "strace")
	dir, parent, w := stateDir(t), sleeper(t), scriptWorker(t, stay)
	killAtEach := func(call string) {
		for n := 1; ; n++ {
			g := testkit.Start(t, traced(guarding(t, dir, w, parent),
				"-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+call+":signal=KILL:when="+itoa(n)))
			if awaitStartOrDeath(t, g) { // it needs no more of them
				t.Logf("killed at each of %d calls of %s", n-1, call)
				return
			}
			if _, err := os.Stat(dir); err == nil {
				ledgerOf(t, dir)
			}
		}
	}
	left := func() (whole, unfinished int) {
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		entries, names, _ := ledger.Read(f)
		return len(entries), len(names)
	}
	for _, call := range []string{"openat", "write", "close", "renameat", "mkdirat"} {
		killAtEach(call)
	}
	// strace counts the calls of each thread by itself, and a system call may fall to any
	// thread. So a moment that was missed is met in a later round.
	for round := 0; ; round++ {
		whole, unfinished := left()
		if whole >= 2 && unfinished >= 2 {
			break
		}
		if round == 50 {
			t.Fatalf("%d whole records and %d unfinished ones: the interesting moments were not met", whole, unfinished)
		}
		for _, call := range []string{"write", "renameat"} {
			killAtEach(call)
		}
	}
	testkit.StillAlive(t, w.Ident)
}

// The same by chance, in all that a watchdog's life holds, while others read.
func TestKilledAtRandomMoments(t *testing.T) {
	dir, gone := stateDir(t), sleeper(t)
	gone.Kill()
	gone.Wait()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	reached := map[string]int{}
	for range 120 {
		w := testkit.Start(t, exec.Command("sleep", "1000000"))
		g := testkit.Start(t, guarding(t, dir, w, gone)) // which ends the worker at once
		for at := time.Now().Add(rand.N(40 * time.Millisecond)); time.Now().Before(at); runtime.Gosched() {
			ledgerOf(t, dir)
		}
		if err := g.Ident.Signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
		g.Wait()
		switch text := g.Stderr.AwaitEnd(); {
		case strings.Contains(text, "watchdog.stopped"):
			reached["end"]++
		case strings.Contains(text, "watchdog.started"):
			reached["start"]++
		default:
			reached["nothing"]++
		}
		for _, r := range ledgerOf(t, dir) {
			if r.Watchdog.PID == g.PID && !sameProcess(r.Worker, w.Ident) {
				t.Errorf("%+v is not of worker %v", r, w.Ident)
			}
		}
	}
	t.Logf("what they had logged: %v; left: %d records", reached, len(ledgerOf(t, dir)))
}

// oneWarning fails unless the watchdog said once what is wrong with its ledger.
func oneWarning(t *testing.T, g *testkit.Proc, names string) {
	t.Helper()
	n := 0
	for _, e := range testkit.Events(strings.NewReader(g.Stderr.AwaitEnd())) {
		if e.Name() != "watchdog.warning" {
			continue
		}
		n++
		if e.Str("level") != "WARN" || !strings.Contains(e.Str("error"), names) || !strings.Contains(e.Str("msg"), "LEASH_STATE_DIR") {
			t.Errorf("%v does not name %s", e, names)
		}
	}
	if n != 1 {
		t.Errorf("%d warnings:\n%s", n, g.Stderr.All())
	}
}

// Without a ledger the worker is guarded all the same.
func TestWithoutALedger(t *testing.T) {
	good := stateDir(t)
	if err := os.Mkdir(good, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(dir string) error{
		"open to all": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) },
		"link":        func(dir string) error { return os.Symlink(good, dir) },
		"file":        func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"below a file": func(dir string) error {
			return errors.Join(os.Remove(filepath.Dir(dir)), os.WriteFile(filepath.Dir(dir), nil, 0o600))
		},
		"another's": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, 65534)) },
	} {
		for _, mode := range []string{"guard", "run"} {
			t.Run(name+" "+mode, func(t *testing.T) {
				if name == "another's" {
					testkit.NeedRoot(t)
				}
				dir := stateDir(t)
				if err := spoil(dir); err != nil {
					t.Fatal(err)
				}
				guardedAnyway(t, mode, dir, func(cmd *exec.Cmd) *exec.Cmd { return cmd }, nil)
			})
		}
	}
	if left, err := os.ReadDir(good); err != nil || len(left) > 0 {
		t.Errorf("written through the link: %v, %v", left, err)
	}
}

// guardedAnyway has a watchdog end a stubborn worker with its parent. when
// spoils the ledger of one that runs.
func guardedAnyway(t *testing.T, mode, dir string, wrap func(*exec.Cmd) *exec.Cmd, when func(g *testkit.Proc)) {
	t.Helper()
	parent := sleeper(t)
	var g *testkit.Proc
	var worker testkit.Ident
	if mode == "guard" {
		w := scriptWorker(t, ignoringTERM)
		worker = w.Ident
		g = testkit.Start(t, wrap(guarding(t, dir, w, parent, "--grace", "300ms")))
	} else {
		g = testkit.Start(t, wrap(inDir(watchdog(t, "run", "--parent-pid", pid(parent), "--grace", "300ms", "--",
			"sh", "-c", "echo worker $$;"+ignoringTERM), dir)))
		worker = identOf(t, g.Stdout, "worker")
		g.Stdout.Await("ready")
	}
	g.Stderr.AwaitEvent("watchdog.started")
	if when != nil {
		when(g)
	}
	parent.Kill()
	testkit.AwaitGone(t, worker)
	if status := g.Wait(); status != 0 && mode == "guard" || status != 137 && mode == "run" {
		t.Errorf("status %d", status)
	}
	oneWarning(t, g, filepath.Dir(dir))
}

// mounted has a command run where dir is a small file system of its own.
func mounted(t *testing.T, dir, then string) func(*exec.Cmd) *exec.Cmd {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare", "nsenter", "mount")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return func(cmd *exec.Cmd) *exec.Cmd {
		script := `mount -t tmpfs -o size=16k,mode=0700 none "$0" || exit 9; ` + then + `; exec "$@"`
		c := exec.Command("unshare", append([]string{"-m", "sh", "-c", script, dir}, append([]string{cmd.Path}, cmd.Args[1:]...)...)...)
		c.Env = cmd.Env
		return c
	}
}

func TestFileSystemsThatRefuse(t *testing.T) {
	fill := `cat /dev/zero > "$0/fill" 2> /dev/null`
	readOnly := `mount -o remount,ro "$0" || exit 9`
	within := func(dir, script string) func(*testkit.Proc) {
		return func(g *testkit.Proc) {
			status, _, text := testkit.Run(t, exec.Command("nsenter", "-t", pid(g), "-m", "sh", "-c", script, dir))
			if script == readOnly && status != 0 {
				t.Fatalf("status %d: %s", status, text)
			}
		}
	}
	for _, mode := range []string{"guard", "run"} {
		dir := stateDir(t)
		t.Run("full "+mode, func(t *testing.T) { guardedAnyway(t, mode, dir, mounted(t, dir, fill), nil) })
		t.Run("full later "+mode, func(t *testing.T) { guardedAnyway(t, mode, dir, mounted(t, dir, ":"), within(dir, fill)) })
		t.Run("read-only "+mode, func(t *testing.T) { guardedAnyway(t, mode, dir, mounted(t, dir, readOnly), nil) })
		t.Run("read-only later "+mode, func(t *testing.T) {
			guardedAnyway(t, mode, dir, mounted(t, dir, ":"), within(dir, readOnly))
		})
		t.Run("below a read-only one "+mode, func(t *testing.T) {
			guardedAnyway(t, mode, filepath.Join(dir, "below"), mounted(t, dir, readOnly), nil)
		})
		t.Run("removed later "+mode, func(t *testing.T) {
			own := stateDir(t)
			guardedAnyway(t, mode, own, func(cmd *exec.Cmd) *exec.Cmd { return cmd }, func(*testkit.Proc) {
				if err := os.RemoveAll(own); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// An ordinary user with an empty environment has no place for a state folder:
// that is told, and stops nothing.
func TestNoPlaceForALedger(t *testing.T) {
	program := testkit.Watchdog(t)
	cmd := exec.Command(program, "run", "--log-level", "warn", "--", "/bin/sh", "-c", "exit 3")
	cmd.Env, cmd.Dir = []string{}, "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		b := readFile(t, program)
		dir, err := os.MkdirTemp("", "leash-nowhere-") // t.TempDir is not for other users
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Path = dir + "/watchdog"
		if err := os.WriteFile(cmd.Path, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	status, _, stderr := testkit.Run(t, cmd)
	if status != 3 || !strings.Contains(stderr, "LEASH_STATE_DIR") || strings.Contains(stderr, "goroutine") {
		t.Errorf("status %d:\n%s", status, stderr)
	}
}
