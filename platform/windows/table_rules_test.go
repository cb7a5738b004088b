package windows

import (
	"testing"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/scan"
)

func TestLeashNamed(t *testing.T) {
	for path, want := range map[string]bool{
		`C:\tools\watchdog.exe`: true, `D:\REAPER.EXE`: true, "reaper.exe": true,
		`C:\watchdog.exe\python.exe`: false, `C:\watchdog`: false, `C:\my-reaper.exe`: false, `C:\reaper.exe.txt`: false, "": false,
	} {
		if got := leashNamed(baseOf(path)); got != want {
			t.Errorf("%q: %t", path, got)
		}
	}
}

func TestHolds(t *testing.T) {
	block := []uint16{'A', '=', 'L', 'E', 0, '_', 'R', 'U', 'N', '_', 'I', 'D', '=', 'x', 0}
	for text, want := range map[string]bool{"_RUN_ID=": true, "A": true, "x": true, "=x": true, "LE": true, "LER": false, "_RUN_ID=y": false, "run": false} {
		if got := holds(block, text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
	if holds(nil, "x") || holds(block[:3], "A=LE") {
		t.Error("more is found than there is")
	}
	if got := wide([]byte{0x41, 0, 0x42, 0x30, 9}); len(got) != 2 || got[0] != 'A' || got[1] != 0x3042 {
		t.Errorf("%x", got)
	}
}

// PIDs of another boot or another PID namespace mean no process here.
func TestRecorded(t *testing.T) {
	id := func(pid int) proc.ID { return proc.ID{PID: pid, Start: 7} }
	records := []ledger.Record{
		{Boot: everyBoot, Worker: id(12), Watchdog: id(16)},
		{Boot: "7-7", Worker: id(20), Watchdog: id(24)},
		{Boot: everyBoot, NS: 3, Worker: id(28), Watchdog: id(32)},
		{Boot: everyBoot, Worker: id(16), Watchdog: id(12)}, // a watchdog that is itself guarded
	}
	got := recorded(records)
	if len(got) != 2 || got[id(12)] != &records[0] || got[id(16)] != &records[3] {
		t.Errorf("%v", got)
	}
}

func TestListing(t *testing.T) {
	l := newListing([]listed{
		{entry: entry{pid: 8, ppid: 8, start: 10}}, // names itself its parent
		{entry: entry{pid: 12, ppid: 8, start: 20}, name: "sh.exe"},
		{entry: entry{pid: 16, ppid: 12, start: 30}},
		{entry: entry{pid: 20, ppid: 12, start: 19}}, // its parent's number was another's
		{entry: entry{pid: 24, ppid: 12, start: 20}}, // of the same tick
		{entry: entry{pid: 28, ppid: 99, start: 5}},  // no process has that PID
	})
	children := func(pid int, start uint64) (pids []int) {
		for _, e := range l.childrenOf(proc.ID{PID: pid, Start: start}) {
			pids = append(pids, e.pid)
		}
		return pids
	}
	for _, c := range []struct {
		pid   int
		start uint64
		want  int
	}{{8, 10, 1}, {12, 20, 2}, {12, 31, 0}, {16, 30, 0}, {99, 1, 1}} {
		if got := children(c.pid, c.start); len(got) != c.want {
			t.Errorf("the children of %d@%d are %d", c.pid, c.start, got)
		}
	}
}

// A process with no evidence but its arguments is an orphan if no process has its
// parent's PID, or a younger one has, or one that has ended.
func TestOrphans(t *testing.T) {
	l := newListing([]listed{{entry: entry{pid: 12, ppid: 8, start: 20}, name: "sh.exe"}, {entry: entry{pid: 20, ppid: 8, start: 900}}})
	l.latest = 500
	for _, c := range []struct {
		name  string
		ppid  int
		start uint64
		ended bool
		want  scan.Verdict
	}{
		{"the parent lives", 12, 30, false, scan.Skip},
		{"the parent is as old", 12, 20, false, scan.Skip},
		{"the parent's number is another's", 12, 19, false, scan.End},
		{"the parent has ended, and is held", 12, 30, true, scan.End},
		{"no process has the parent's PID", 16, 30, false, scan.End},
		{"none has, and the process was born at the very end of time", 16, never - 1, false, scan.End},
		{"no parent at all", 0, 30, false, scan.Skip},
		{"the parent is of a time to come: the clock was set back", 20, 30, false, scan.Skip},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &snapshot.Snapshot{Boot: everyBoot, UID: 7, Parents: map[int]snapshot.Process{},
				Records: []ledger.Record{{RunID: "abc1234", UID: 7, Boot: everyBoot, Watchdog: proc.ID{PID: 92}, Worker: proc.ID{PID: 96, Start: 1},
					Parents: []proc.ID{{PID: 99, Start: 1}}}},
				Lives: map[proc.ID]snapshot.Life{{PID: 99, Start: 1}: snapshot.Dead, {PID: 92}: snapshot.Dead, {PID: 96, Start: 1}: snapshot.Dead}}
			s.Procs = []snapshot.Process{{Info: proc.Info{ID: proc.ID{PID: 40, Start: c.start}, PPID: c.ppid, UID: 7, State: 'S'}, ArgRuns: []string{"abc1234"}}}
			s.Parents[c.ppid] = l.parent(c.ppid, func(int) bool { return c.ended })
			runs := scan.Judge(s, scan.Request{})
			if len(runs) != 1 || len(runs[0].Members) != 1 {
				t.Fatalf("runs: %+v", runs)
			}
			if m := runs[0].Members[0]; m.Verdict != c.want {
				t.Errorf("%v: %s", m.Verdict, m.Reason)
			}
		})
	}
}
