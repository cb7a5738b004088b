//go:build windows

package windows

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	win "golang.org/x/sys/windows"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/internal/testkit"
	"leash/scan"
)

func find(s *snapshot.Snapshot, pid int) *snapshot.Process {
	for i := range s.Procs {
		if s.Procs[i].PID == pid {
			return &s.Procs[i]
		}
	}
	return nil
}

func take(t *testing.T, table *Table, records ...ledger.Record) *snapshot.Snapshot {
	t.Helper()
	for i := range records {
		records[i].Boot, records[i].UID, records[i].RunID = everyBoot, table.UID(), "abc1234"
	}
	s, err := table.Take(records, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func identity(t *testing.T, table *Table, pid int) proc.ID {
	t.Helper()
	return opened(t, table.Kernel, pid).id()
}

// What the table alone tells is told of every process.
func TestTableTells(t *testing.T) {
	table := newTestTable(t)
	a := start(t, "fork", 0, "LEASH_RUN_ID=abc1234")
	s := take(t, table)
	p := find(s, a.PID())
	if p == nil || !strings.HasSuffix(p.Name, ".exe") || p.UID != table.UID() || p.UID == 0 || s.UID != p.UID || s.Scanned < 2 {
		t.Fatalf("%+v", p)
	}
	l, err := table.list()
	if err != nil {
		t.Fatal(err)
	}
	if e := l.all[l.by[a.PID()]]; e.name != p.Name {
		t.Errorf("%+v", e)
	}
	again, err := table.Read(a.PID())
	if err != nil || again.ID != p.ID || !slices.Equal(again.EnvRuns, p.EnvRuns) {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := table.Read(maxPID &^ 3); !errors.Is(err, proc.ErrGone) {
		t.Errorf("of no process: %v", err)
	}
}

// A recorded worker is taken in whatever it says, another of its number is not.
func TestTableTakesInTheRecorded(t *testing.T) {
	table := newTestTable(t)
	worker, other, dog := start(t, "fork", 0), start(t, "fork", 0), start(t, "fork", 0)
	child := worker.fork(t, "plain")
	id, wrong := identity(t, table, worker.PID()), identity(t, table, other.PID())
	wrong.Start--
	table.Kernel.group = func(*handle) int { return id.PID } // as Windows says, and Wine does not
	s := take(t, table, ledger.Record{Worker: id, Watchdog: identity(t, table, dog.PID())}, ledger.Record{Worker: wrong, Watchdog: proc.ID{PID: 8}})
	for pid, want := range map[int]bool{worker.PID(): true, child: true, dog.PID(): true, other.PID(): false} {
		if got := find(s, pid) != nil; got != want {
			t.Errorf("%d is in the snapshot: %t", pid, got)
		}
	}
	// A console's group is evidence for no process but the worker itself.
	if find(s, id.PID).PGID != id.PID || find(s, child).PGID != 0 {
		t.Errorf("groups %d and %d", find(s, id.PID).PGID, find(s, child).PGID)
	}
	if s.Lives[id] != snapshot.Alive || s.Lives[wrong] != snapshot.Dead {
		t.Errorf("%v", s.Lives)
	}
}

// onlyLook is an access list that lets all users query a process.
var onlyLook = fmt.Sprintf("D:P(A;;%#x;;;WD)", win.PROCESS_QUERY_LIMITED_INFORMATION|win.SYNCHRONIZE)

// closeTo gives a process an access list.
func closeTo(t *testing.T, pid int, list string) {
	t.Helper()
	h, err := win.OpenProcess(win.WRITE_DAC, false, uint32(pid))
	if err != nil {
		t.Fatal(err)
	}
	defer win.CloseHandle(h)
	sd, err := win.SecurityDescriptorFromString(list)
	if err != nil {
		t.Fatal(err)
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		t.Fatal(err)
	}
	if err := win.SetSecurityInfo(h, win.SE_KERNEL_OBJECT, win.DACL_SECURITY_INFORMATION, nil, nil, dacl, nil); err != nil {
		t.Fatal(err)
	}
}

// A process that may not be opened is not judged, and not dead. If a record names it that
// is told, with the reason.
func TestTableDenied(t *testing.T) {
	for name, list := range map[string]string{
		"nothing":              "D:P",
		"to be queried":        onlyLook,
		"to be read, not more": fmt.Sprintf("D:P(A;;%#x;;;WD)", win.PROCESS_QUERY_INFORMATION|win.PROCESS_VM_READ|win.SYNCHRONIZE),
	} {
		t.Run(name, func(t *testing.T) {
			table := newTestTable(t)
			a := start(t, "fork", 0, "LEASH_RUN_ID=abc1234")
			child := start(t, "fork", 0, "LEASH_RUN_ID=abc1234")
			grandchild := child.fork(t, "plain")
			id := identity(t, table, a.PID())
			closeTo(t, a.PID(), list)
			closeTo(t, grandchild, list)
			if h, err := table.Kernel.openWith(a.PID(), wanted[:1]); err == nil {
				h.Close()
				testkit.Skip(t, "this system lets its owner in all the same")
			}
			if p := find(take(t, table), a.PID()); p != nil {
				t.Errorf("no record names it, and it is judged: %+v", p)
			}
			s := take(t, table, ledger.Record{Worker: id, Watchdog: proc.ID{PID: 8}, Group: id.PID})
			p := find(s, id.PID)
			if p == nil || !strings.HasPrefix(p.Denied, "access denied: ") || p.ID != id {
				t.Fatalf("%+v", p)
			}
			if p := find(s, grandchild); p == nil || p.Denied == "" {
				t.Errorf("what a member started: %+v", p)
			}
			for _, r := range scan.Judge(s, scan.Request{RunIDs: []string{"abc1234"}}) {
				for _, m := range r.Members {
					if refused := m.PID == id.PID || m.PID == grandchild; refused && (m.Verdict != scan.Skip || m.Reason != m.Denied) {
						t.Errorf("%+v", m)
					}
				}
			}
			if table.Life(id) != snapshot.Alive || table.Life(proc.ID{PID: id.PID, Start: id.Start + 1}) != snapshot.Dead {
				t.Error("its life can be told")
			}
		})
	}
}

// Programs of our name are never of a run, unless they say so themselves.
func TestTableKnowsLeash(t *testing.T) {
	table := newTestTable(t)
	dir := t.TempDir()
	run := func(name string, env ...string) int {
		exe := filepath.Join(dir, name)
		copyFile(t, os.Args[0], exe)
		cmd := exec.Command(exe, "guard", "--worker-pid", "4242")
		cmd.Env = append(append(os.Environ(), roleVar+"=sleep"), env...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return cmd.Process.Pid
	}
	named, labelled, other := run("Watchdog.exe"), run("reaper.exe", "LEASH_RUN_ID=abc1234"), run("worker.exe", "LEASH_RUN_ID=abc1234")
	s := take(t, table)
	if p := find(s, named); p == nil || !p.Leash || p.Guards != 4242 {
		t.Errorf("%+v", p)
	}
	if p := find(s, labelled); p == nil || !p.Leash || p.Guards != 4242 { // the tests' program has the mark of ours
		t.Errorf("%+v", p)
	}
	if p := find(s, other); p == nil || p.Leash || p.Guards != 0 {
		t.Errorf("%+v", p)
	}
	table.Kernel.exe = filepath.Join(dir, "WORKER.exe") // it is beside us now
	if p := find(take(t, table), other); p == nil || !p.Leash {
		t.Errorf("%+v", p)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

// A process that is held when it ends has ended, though its PID and name stay.
func TestTableKnowsTheDead(t *testing.T) {
	table := newTestTable(t)
	a := start(t, "fork", 0, "LEASH_RUN_ID=abc1234")
	id := identity(t, table, a.PID())
	a.End(t, table.Kernel) // and is held by a handle of package os
	if table.Life(id) != snapshot.Dead || !table.ended(id.PID) {
		t.Error("it lives")
	}
	if p := find(take(t, table), id.PID); p != nil {
		t.Errorf("it is in the snapshot: %+v", p)
	}
}

// More handles are waited for than one call of the system can wait for.
func TestTableWaitsForMany(t *testing.T) {
	table := newTestTable(t)
	actors := []actor{start(t, "fork", 0), start(t, "fork", 0), start(t, "fork", 0)}
	var handles []snapshot.Handle
	for i := range 2*perWaiter + 3 {
		h, err := table.Open(actors[i%len(actors)].PID())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Close)
		h.Notify()
		handles = append(handles, h)
	}
	for _, h := range handles[:len(actors)] {
		if quiet, err := table.Wait(table.Now()); quiet || err != nil {
			t.Errorf("%t, %v, and not all have ended", quiet, err)
		}
		if err := h.Signal(proc.KILL); err != nil {
			t.Error(err)
		}
	}
	if quiet, err := table.Wait(table.Now() + late); !quiet || err != nil {
		t.Fatalf("%t, %v", quiet, err)
	}
	for i, h := range handles {
		if !h.Over() {
			t.Errorf("number %d is not over", i)
		}
	}
	if exit := handles[0].(*tableHandle).exit(); exit.Signal != proc.KILL {
		t.Errorf("%+v", exit)
	}
}

// A handle that is closed while it is waited for is waited for no more.
func TestTableForgets(t *testing.T) {
	table := newTestTable(t)
	a, b := start(t, "fork", 0), start(t, "fork", 0)
	first, err := table.Open(a.PID())
	if err != nil {
		t.Fatal(err)
	}
	second, err := table.Open(b.PID())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Notify()
	second.Notify()
	first.Close()
	first.Close() // once more does no harm
	if table.Kernel.mine(a.PID()) || !table.Kernel.mine(b.PID()) {
		t.Error("a process with a handle is ours to signal")
	}
	second.Signal(proc.KILL)
	if quiet, err := table.Wait(table.Now() + late); !quiet || err != nil {
		t.Errorf("%t, %v: the first still lives, and is not waited for", quiet, err)
	}
	if quiet, err := table.Wait(table.Now() + time.Millisecond); quiet || err != nil {
		t.Errorf("%t, %v: nothing is waited for", quiet, err)
	}
}

func TestUsers(t *testing.T) {
	sid := func(text string) *win.SID {
		s, err := win.StringToSid(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var u users
	seen := make(map[uint32]string)
	for _, c := range []struct {
		sid  string
		want uint32
	}{
		{"S-1-5-21-1-2-3-1001", 1001}, {"S-1-5-21-1-2-4-1001", 1002}, {"S-1-5-21-1-2-3-1002", 1003}, {"S-1-5-18", 18},
		{"S-1-1-0", 1}, {"S-1-3-0", 2}, {"S-1-5-21-1-2-3-4294967295", 3},
	} {
		for range 2 {
			if got := u.number(sid(c.sid)); got != c.want {
				t.Errorf("%s is %d, not %d", c.sid, got, c.want)
			}
		}
		if other := seen[c.want]; other != "" || c.want == 0 || c.want == nobody {
			t.Errorf("%s has the number of %q", c.sid, other)
		}
		seen[c.want] = c.sid
	}
}

// The reaper judges each process by itself: an event for one must not reach another of
// its group.
func TestTableSignalsOneByOne(t *testing.T) {
	if table := newTestTable(t); !table.Kernel.oneByOne {
		t.Error("whole groups are signalled")
	}
}
