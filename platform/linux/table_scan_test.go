//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/internal/testkit"
)

func newTestTable(t *testing.T, k *Kernel) *Table {
	t.Helper()
	table, err := NewTable(k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(table.proc); table.wait.loop.file.Close() })
	return table
}

func take(t *testing.T, table *Table, records ...ledger.Record) *snapshot.Snapshot {
	t.Helper()
	for i := range records {
		records[i].Boot, records[i].NS = table.boot, table.ns
	}
	s, err := table.Take(records, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// found is the process in the snapshot; nil if it is not in it.
func found(s *snapshot.Snapshot, pid int) *snapshot.Process {
	i := slices.IndexFunc(s.Procs, func(p snapshot.Process) bool { return p.PID == pid })
	if i < 0 {
		return nil
	}
	return &s.Procs[i]
}

func identity(t *testing.T, k *Kernel, pid int) proc.ID {
	t.Helper()
	info, err := open(t, k, pid).Info()
	if err != nil {
		t.Fatal(err)
	}
	return info.ID
}

func TestTableFindsLabels(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	env := sleeper(t, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1", "LEASH_RUN_OWNER=1:2:a:3")
	old := sleeper(t, "SNAKEPIT_RUN_ID=1760151234493767_621181")
	args := start(t, exec.Command(testkit.NeedPython(t), "-c", pauses, "--snakepit-run-id", "abc1234"))
	args.Stdout.Await("ready")
	plain, dead := sleeper(t), zombie(t)
	hiding := sleeper(t, "LEASH_HANDOVER=x", "LEASH_RUN_ID=abc1234")
	watchdog := start(t, programNamed(t, "watchdog", "--worker-pid", "77"), "LEASH_RUN_ID=abc1234")
	unlabelled := start(t, programNamed(t, "watchdog", "sentinel"))
	s := take(t, table)
	p := found(s, env.PID)
	if p == nil || !slices.Equal(p.EnvRuns, []string{"abc1234"}) || p.Worker != "w1" || p.Owner != "1:2:a:3" ||
		p.Name != "sleep" || !slices.Equal(p.Args, []string{"sleep", "1000000"}) ||
		p.PPID != os.Getpid() || p.UID != uint32(os.Geteuid()) || p.Leash || p.Foreign || p.Mixed {
		t.Errorf("by its environment: %+v", p)
	}
	if p := found(s, old.PID); p == nil || !slices.Equal(p.EnvRuns, []string{"1760151234493767_621181"}) {
		t.Errorf("by the older name: %+v", p)
	}
	if p := found(s, args.PID); p == nil || !slices.Equal(p.ArgRuns, []string{"abc1234"}) || p.EnvRuns != nil {
		t.Errorf("by its arguments: %+v", p)
	} else if parent := s.Parents[p.PPID]; parent.PID != os.Getpid() || parent.Name == "" {
		t.Errorf("its parent: %+v", parent)
	}
	if p := found(s, watchdog.PID); p == nil || !p.Leash || p.Guards != 77 {
		t.Errorf("a watchdog in another folder: %+v", p)
	}
	if p := found(s, unlabelled.PID); p == nil || !p.Leash {
		t.Errorf("without a run ID: %+v", p)
	}
	if p := found(s, hiding.PID); p == nil || p.Leash {
		t.Errorf("a process with a variable of ours: %+v", p)
	}
	if p := found(s, plain.PID); p != nil {
		t.Errorf("without evidence it is in the table: %+v", p)
	}
	if p := found(s, dead.PID); p != nil && len(p.EnvRuns)+len(p.ArgRuns) > 0 {
		t.Errorf("a zombie has no labels: %+v", p)
	}
	if s.Scanned < 6 {
		t.Errorf("%d scanned", s.Scanned)
	}
}

// A child without labels is found by its parent, in either way of reading.
func TestTableFindsDescendants(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	parent := shell(t, "env -i sh -c 'env -i sleep 1000000 & echo $$ $!; wait' & wait", "LEASH_RUN_ID=abc1234")
	child, grandchild, _ := strings.Cut(parent.Stdout.Await(""), " ")
	for _, f := range []string{child, grandchild} {
		pid, _ := strconv.Atoi(f)
		testkit.Adopt(t, testkit.Identify(t, pid))
	}
	for _, way := range []string{"the children of each", "the parent of all"} {
		table.Kernel.children = way == "the children of each"
		s := take(t, table)
		for _, f := range []string{child, grandchild} {
			pid, _ := strconv.Atoi(f)
			if p := found(s, pid); p == nil || len(p.EnvRuns) > 0 {
				t.Errorf("%s: %d is %+v", way, pid, p)
			}
		}
	}
}

// Processes that the ledger names are included, whatever their labels.
func TestTableTakesInWhatIsRecorded(t *testing.T) {
	k := newTestKernel(t)
	table := newTestTable(t, k)
	leader := start(t, exec.Command(testkit.NeedPython(t), "-c", `import subprocess
c = subprocess.Popen(["sh", "-c", "sleep 1000000 & echo $!"], stdout=subprocess.PIPE)
orphan = c.stdout.readline().decode().strip()
d = subprocess.Popen(["sleep", "1000000"])
print(f"{orphan} {d.pid}\n", end="", flush=True)
d.wait()`))
	pids := []int{leader.PID}
	for _, f := range strings.Fields(leader.Stdout.Await("")) {
		pid, _ := strconv.Atoi(f)
		testkit.Adopt(t, testkit.Identify(t, pid))
		pids = append(pids, pid)
	}
	id := identity(t, k, leader.PID)
	s := take(t, table, ledger.Record{RunID: "abc1234", Worker: id, Watchdog: proc.ID{PID: os.Getpid()}, Group: id.PID, Session: 1})
	for i, pid := range pids {
		p := found(s, pid)
		if p == nil || p.PGID != leader.PID {
			t.Fatalf("%d of %d: %+v", i, len(pids), p)
		}
		if i == 0 && p.Inode != id.Inode {
			t.Errorf("the worker's inode is %d, want %d", p.Inode, id.Inode)
		}
	}
	if s.Lives[id] != snapshot.Alive {
		t.Errorf("the worker lives: %v", s.Lives)
	}
}

// A recorded session's processes are included, in whichever groups they are, and those beside
// it are not.
func TestTableTakesInARecordedSession(t *testing.T) {
	k := newTestKernel(t)
	table := newTestTable(t, k)
	p := start(t, exec.Command(testkit.NeedPython(t), "-c", `import os, subprocess
if os.fork():  # the leader of a group cannot lead a session
    os.wait()
os.setsid()
sleep = lambda group: subprocess.Popen(["sleep", "1000000"], process_group=group)
a, b = sleep(0), sleep(0)
print(os.getpid(), a.pid, sleep(a.pid).pid, b.pid, sleep(b.pid).pid, flush=True)
a.wait()`))
	beside := sleeper(t)
	var inside []int
	for _, f := range strings.Fields(p.Stdout.Await("")) {
		pid, _ := strconv.Atoi(f)
		testkit.Adopt(t, testkit.Identify(t, pid))
		inside = append(inside, pid)
	}
	x := table.extras(&snapshot.Snapshot{}, &groups{})
	x.Sessions[inside[0]] = true
	if err := table.inspectAll(x); err != nil {
		t.Fatal(err)
	}
	s := &snapshot.Snapshot{Procs: slices.Concat(table.first.found, table.second.found)}
	for _, pid := range inside {
		if found(s, pid) == nil {
			t.Errorf("%d of %d is missing", pid, inside)
		}
	}
	if found(s, beside.PID) != nil {
		t.Error("a process of another session was taken in")
	}
}

func TestTableSeesOtherNamespaces(t *testing.T) {
	testkit.NeedRoot(t)
	table := newTestTable(t, newTestKernel(t))
	p := start(t, exec.Command("unshare", "-pf", "--kill-child", "sh", "-c", "echo; exec sleep 1000000"), "LEASH_RUN_ID=abc1234")
	p.Stdout.Await("")
	var inner int
	await(t, "a child", func() bool {
		children, _ := table.Kernel.Children(p.PID, nil)
		if len(children) == 1 {
			inner = children[0]
		}
		return inner != 0
	})
	testkit.Adopt(t, testkit.Identify(t, inner))
	s := take(t, table)
	if q := found(s, inner); q == nil || !q.Foreign {
		t.Errorf("inside: %+v", q)
	}
	if q := found(s, p.PID); q == nil || q.Foreign {
		t.Errorf("outside: %+v", q)
	}
}

func TestLife(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		table := newTestTable(t, k)
		p, dead, alive := sleeper(t), zombie(t), testkit.Headless(t, 1)
		id := identity(t, k, p.PID)
		for _, c := range []struct {
			name string
			id   proc.ID
			want snapshot.Life
		}{
			{"a process", id, snapshot.Alive},
			{"its number alone", proc.ID{PID: id.PID}, snapshot.Alive},
			{"another start time", proc.ID{PID: id.PID, Start: id.Start + 1}, snapshot.Dead},
			{"a zombie", proc.ID{PID: dead.PID}, snapshot.Dead},
			{"one without its first thread", proc.ID{PID: alive.PID}, snapshot.Alive},
			{"no process", proc.ID{PID: k.Highest() + 1, Start: 1}, snapshot.Dead},
		} {
			if got := table.Life(c.id); got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}
		if other := (proc.ID{PID: id.PID, Start: id.Start, Inode: id.Inode + 1}); k.pidfs && table.Life(other) != snapshot.Dead {
			t.Error("a process with another inode is another")
		}
	})
}

// The pidfd's inode is read through the handle; the rest is tested by TestTableConforms.
func TestReadBehindTheHandle(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		h, err := newTestTable(t, k).Open(sleeper(t, "LEASH_RUN_ID=abc1234").PID)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if p, err := h.Read(); err != nil || !slices.Equal(p.EnvRuns, []string{"abc1234"}) || k.pidfs && p.Inode == 0 {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestTableWaits(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	if quiet, err := table.Wait(table.Now() + time.Millisecond); quiet || err != nil {
		t.Errorf("nothing is waited for: %t, %v", quiet, err)
	}
	var handles []snapshot.Handle
	for range 3 {
		h, err := table.Open(sleeper(t).PID)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		h.Notify()
		handles = append(handles, h)
	}
	if quiet, err := table.Wait(table.Now() + time.Millisecond); quiet || err != nil {
		t.Errorf("three live: %t, %v", quiet, err)
	}
	for _, h := range handles {
		if h.Over() {
			t.Error("none is over")
		}
		h.Signal(proc.KILL)
	}
	if quiet, err := table.Wait(table.Now() + time.Minute); !quiet || err != nil {
		t.Errorf("all are over: %t, %v", quiet, err)
	}
	for _, h := range handles {
		if !h.Over() {
			t.Error("one was not told of")
		}
	}
}

// A watchdog or a reaper from another folder is known by its name, unless its environment
// names a run.
func TestTableKnowsOthersByName(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, want := range map[string]bool{"watchdog": true, "reaper": true, "watchdogs": false} {
		if err := os.WriteFile(dir+"/"+name, b, 0o755); err != nil {
			t.Fatal(err)
		}
		p := start(t, exec.Command(dir+"/"+name, "1000000"))
		labelled := start(t, exec.Command(dir+"/"+name, "1000000"), "LEASH_RUN_ID=abc1234")
		if q, err := table.Read(p.PID); err != nil || q.Leash != want {
			t.Errorf("%s: %+v, %v", name, q, err)
		}
		if q, err := table.Read(labelled.PID); err != nil || q.Leash {
			t.Errorf("%s of a run: %+v, %v", name, q, err)
		}
	}
}

// What the files of the first thread do not show any more, those of another thread do.
func TestTableFindsProcessWithoutFirstThread(t *testing.T) {
	t.Run("found", func(t *testing.T) {
		table := newTestTable(t, newTestKernel(t))
		t.Setenv("LEASH_RUN_ID", "abc1234")
		p := testkit.Headless(t, 1)
		os.Unsetenv("LEASH_RUN_ID")
		s := take(t, table)
		if q := found(s, p.PID); q == nil || !slices.Equal(q.EnvRuns, []string{"abc1234"}) || len(q.Args) == 0 || q.Dead() {
			t.Errorf("%+v", q)
		}
	})
	// The files of such a thread belong to root, and the process's own user may not read them.
	testkit.AsNobody(t, "TestTableFindsProcessWithoutFirstThread", "found")
}

// The threads of a process without its first thread are listed while the table is read. They
// must not hide a process, nor count as processes. There are two such processes in a row: the
// kernel returns the table in parts, and a part may end between the two.
func TestTableFindsProcessesAfterManyThreads(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	var behind []int
	for range 2 {
		testkit.Headless(t, 140)
		for range 3 {
			behind = append(behind, sleeper(t, "LEASH_RUN_ID=abc1234").PID)
		}
	}
	s := take(t, table)
	for _, pid := range behind {
		if found(s, pid) == nil {
			t.Errorf("%d is not found", pid)
		}
	}
	for _, pid := range slices.Concat(table.first.seen, table.second.seen) {
		if tgid, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil && !strings.Contains(string(tgid), fmt.Sprintf("\nTgid:\t%d\n", pid)) {
			t.Errorf("%d is a thread", pid)
		}
	}
}

// setuidCopy is a program that runs as root for any caller.
func setuidCopy(t *testing.T, program string) string {
	t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "leash-raised") // other users may not enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	copied := filepath.Join(dir, filepath.Base(program))
	if err := errors.Join(os.WriteFile(copied, b, 0o755), os.Chmod(copied, 0o755|os.ModeSetuid), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return copied
}

// The caller of a set-user-ID program wrote its environment.
func TestRaised(t *testing.T) {
	testkit.NeedRoot(t)
	table := newTestTable(t, newTestKernel(t))
	own := sleeper(t)
	if table.first.raised(own.PID, 0) {
		t.Error("an ordinary program")
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program := setuidCopy(t, sleep)
	cmd := exec.Command(program, "1000000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	p := start(t, cmd)
	await(t, "the program", func() bool {
		b, _ := os.ReadFile("/proc/" + itoa(p.PID) + "/comm")
		return string(b) == "sleep\n"
	})
	if !table.first.raised(p.PID, 0) {
		t.Error("one that another user has called")
	}
	if table.first.raised(p.PID, 65534) {
		t.Error("it is that user's own word")
	}
	if !table.first.raised(table.Kernel.Highest()+1, 0) {
		t.Error("what cannot be read is in doubt")
	}
}

// A scan that lacks descriptors reports it, and handles leave some free.
func TestIncompleteTable(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	p := sleeper(t, "LEASH_RUN_ID=abc1234")
	if s := take(t, table); s.Incomplete != nil || found(s, p.PID) == nil {
		t.Fatalf("%v", s.Incomplete)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := unix.Rlimit{Cur: 3, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	s, err := table.Take(nil, nil)
	unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	if err != nil || s.Incomplete == nil || !Scarce(s.Incomplete) {
		t.Errorf("%+v, %v", s, err)
	}
	if s := take(t, table); s.Incomplete != nil {
		t.Errorf("it was torn for a while: %v", s.Incomplete)
	}
	table.most = 2
	if _, err := table.Open(p.PID); !errors.Is(err, unix.EMFILE) {
		t.Errorf("a handle that leaves too few descriptors: %v", err)
	}
}

// A set-user-ID program that then dropped its old user for good cannot be told from any other
// of its new user, and its owner label was set by its caller.
func TestTableDoubtsSetUserID(t *testing.T) {
	testkit.NeedRoot(t)
	table := newTestTable(t, newTestKernel(t))
	python, err := filepath.EvalSymlinks(testkit.NeedPython(t))
	if err != nil {
		t.Fatal(err)
	}
	home := testkit.Start(t, exec.Command(python, "-c", `import sys; print(f"{sys.prefix}\n", end="")`)).Stdout.Await("")
	program := setuidCopy(t, python)
	for _, uid := range []uint32{0, 65534} {
		cmd := exec.Command(program, "-c", "import os\nos.setresuid(0, 0, 0)\n"+pauses)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		p := start(t, cmd, "PYTHONHOME="+home, "LEASH_RUN_ID=abc1234", "LEASH_RUN_OWNER=1:2:a:3")
		p.Stdout.Await("ready")
		q, err := table.Read(p.PID)
		if err != nil || q.UID != 0 || q.Mixed != (uid != 0) {
			t.Errorf("called by user %d: %+v, %v", uid, q, err)
		}
	}
}
