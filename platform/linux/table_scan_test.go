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
	"leash/internal/testkit"
	"leash/scan"
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

func take(t *testing.T, table *Table, records ...ledger.Record) *scan.Snapshot {
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

// found is what the snapshot says of a process; nil if it is not in it.
func found(s *scan.Snapshot, pid int) *scan.Process {
	i := slices.IndexFunc(s.Procs, func(p scan.Process) bool { return p.PID == pid })
	if i < 0 {
		return nil
	}
	return &s.Procs[i]
}

func identity(t *testing.T, k *Kernel, pid int) proc.ID {
	t.Helper()
	info, err := open(t, k, pid).Look()
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
		p.Name != "sleep" || !slices.Equal(p.Args, []string{"sleep", "1000000"}) || p.Memory == 0 ||
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
		t.Errorf("one of which nothing says a run: %+v", p)
	}
	if p := found(s, hiding.PID); p == nil || p.Leash {
		t.Errorf("a process with a variable of ours: %+v", p)
	}
	if p := found(s, plain.PID); p != nil {
		t.Errorf("nothing speaks for %+v", p)
	}
	if p := found(s, dead.PID); p != nil && len(p.EnvRuns)+len(p.ArgRuns) > 0 {
		t.Errorf("a zombie has no labels: %+v", p)
	}
	if s.Scanned < 6 {
		t.Errorf("%d looked at", s.Scanned)
	}
}

// A child without any label is found by its parent, whichever way is taken.
func TestTableFindsDescendants(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	parent := shell(t, "env -i sh -c 'env -i sleep 1000000 & echo $$ $!; wait' & wait", "LEASH_RUN_ID=abc1234")
	child, grandchild, _ := strings.Cut(parent.Stdout.Await(""), " ")
	for _, f := range []string{child, grandchild} {
		pid, _ := strconv.Atoi(f)
		testkit.Adopt(t, testkit.Identify(t, pid))
	}
	for _, way := range []string{"the children of each", "the parent of everybody"} {
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

// What the ledger speaks of is taken in, whatever its labels.
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
	if s.Lives[id] != scan.Alive {
		t.Errorf("the worker lives: %v", s.Lives)
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
		p, dead, alive := sleeper(t), zombie(t), headless(t)
		id := identity(t, k, p.PID)
		for _, c := range []struct {
			name string
			id   proc.ID
			want scan.Life
		}{
			{"a process", id, scan.Alive},
			{"its number alone", proc.ID{PID: id.PID}, scan.Alive},
			{"another start time", proc.ID{PID: id.PID, Start: id.Start + 1}, scan.Dead},
			{"a zombie", proc.ID{PID: dead.PID}, scan.Dead},
			{"one whose first thread has ended", proc.ID{PID: alive.PID}, scan.Alive},
			{"nobody", proc.ID{PID: k.Highest() + 1, Start: 1}, scan.Dead},
		} {
			if got := table.Life(c.id); got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}
		if other := (proc.ID{PID: id.PID, Start: id.Start, Inode: id.Inode + 1}); k.pidfs && table.Life(other) != scan.Dead {
			t.Error("who has another inode is another")
		}
	})
}

// Same is a proof: it needs a process older than the scan, and the same still.
func TestSame(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		table := newTestTable(t, k)
		p := sleeper(t, "LEASH_RUN_ID=abc1234")
		await(t, "the next tick", func() bool { return k.Tick() > identity(t, k, p.PID).Start })
		s := take(t, table)
		seen := found(s, p.PID)
		h, err := table.Open(p.PID)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if !h.Same(seen, s.Tick) {
			t.Error("it is the same process")
		}
		if h.Same(seen, seen.Start) {
			t.Error("a scan as old as the process proves nothing")
		}
		other := *seen
		other.Start--
		if h.Same(&other, s.Tick) {
			t.Error("another start time is another process")
		}
		if now, err := h.Read(); err != nil || !slices.Equal(now.EnvRuns, seen.EnvRuns) || k.pidfs && now.Inode == 0 {
			t.Errorf("read behind the handle: %+v, %v", now, err)
		}
		if err := h.Signal(proc.KILL); err != nil {
			t.Fatal(err)
		}
		p.Wait()
		if h.Same(seen, s.Tick) {
			t.Error("it is gone")
		}
		if _, err := h.Read(); !errors.Is(err, proc.ErrGone) {
			t.Errorf("read of the dead: %v", err)
		}
	})
}

func TestTableWaits(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	if quiet, err := table.Wait(table.Now() + time.Millisecond); quiet || err != nil {
		t.Errorf("nobody is waited for: %t, %v", quiet, err)
	}
	var handles []*TableHandle
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

// A watchdog or a reaper from another folder is known by its name, unless its
// environment says that it is of a run.
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

// What the first thread's files do not show any more, another thread's do.
func TestTableFindsWhoseFirstThreadHasEnded(t *testing.T) {
	t.Run("found", func(t *testing.T) {
		table := newTestTable(t, newTestKernel(t))
		t.Setenv("LEASH_RUN_ID", "abc1234")
		p := headless(t)
		os.Unsetenv("LEASH_RUN_ID")
		s := take(t, table)
		if q := found(s, p.PID); q == nil || !slices.Equal(q.EnvRuns, []string{"abc1234"}) || len(q.Args) == 0 || q.Dead() {
			t.Errorf("%+v", q)
		}
	})
	// The files of such a thread are root's, and may not be read by the process's own user.
	testkit.AsNobody(t, "TestTableFindsWhoseFirstThreadHasEnded", "found")
}

// The threads of such a one are listed while the table is gone through, and take
// nobody else out of it, nor are they taken for processes. Two follow one each: the
// system gives the table in parts, and one part may end between the first and the next.
func TestTableFindsWhoComesBehindManyThreads(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	var behind []int
	for range 2 {
		headlessOf(t, 140)
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

// setuidCopy is a program that runs as root whoever calls it.
func setuidCopy(t *testing.T, program string) string {
	t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "leash-raised") // t.TempDir may be closed to others
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

// The environment of a set-user-ID program was written by whoever called it.
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

// A look that lacks descriptors says so, and handles leave some free.
func TestTornTable(t *testing.T) {
	table := newTestTable(t, newTestKernel(t))
	p := sleeper(t, "LEASH_RUN_ID=abc1234")
	if s := take(t, table); s.Torn != nil || found(s, p.PID) == nil {
		t.Fatalf("%v", s.Torn)
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
	if err != nil || s.Torn == nil || !Scarce(s.Torn) {
		t.Errorf("%+v, %v", s, err)
	}
	if s := take(t, table); s.Torn != nil {
		t.Errorf("it was torn for a while: %v", s.Torn)
	}
	table.most = 2
	if _, err := table.Open(p.PID); !errors.Is(err, unix.EMFILE) {
		t.Errorf("a handle that leaves too few descriptors: %v", err)
	}
}

// A program that was raised and then took all its rights for good looks like
// any other of its new user; what it says of an owner is its caller's word.
func TestTableDoubtsWhoWasRaised(t *testing.T) {
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
