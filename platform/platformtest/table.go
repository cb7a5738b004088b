package platformtest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

// Table is the process table that the reaper uses (reap.System without the ledger).
type Table interface {
	Take(held []snapshot.Held) (*snapshot.Snapshot, error)
	Life(proc.ID) snapshot.Life
	Open(pid int) (snapshot.Handle, error)
	Tick() uint64
	Now() time.Duration
	Wait(until time.Duration) (quiet bool, err error)
}

// SystemTable is the process table of one system, to which package platform adds the ledger.
type SystemTable interface {
	Take(records []ledger.Record, held []snapshot.Held) (*snapshot.Snapshot, error)
	Life(proc.ID) snapshot.Life
	Open(pid int) (snapshot.Handle, error)
	Tick() uint64
	Now() time.Duration
	Wait(until time.Duration) (quiet bool, err error)
}

// WithoutLedger is a system's table with an empty ledger. It implements reap.System.
type WithoutLedger struct {
	SystemTable
	NoLedger
}

// Take reads the processes, and no records.
func (w WithoutLedger) Take(held []snapshot.Held) (*snapshot.Snapshot, error) {
	return w.SystemTable.Take(nil, held)
}

// Table implements TableSystem.
func (w WithoutLedger) Table() Table { return w }

// NoLedger makes a Table a reap.System: its ledger is empty, so there is nothing to remove.
type NoLedger struct{}

func (NoLedger) RemoveRecord(int) error            { return nil }
func (NoLedger) RemoveUnfinished(int) error        { return nil }
func (NoLedger) RemoveLeaves(func(uint64) bool)    {}
func (NoLedger) NamespaceEnded() func(uint64) bool { return func(uint64) bool { return false } }

// TableSystem is a table, and the means to start processes for a test.
type TableSystem interface {
	Table() Table
	// Self is the PID of the parent of those processes.
	Self() int
	// Labelled starts a process with these labels.
	Labelled(t *testing.T, l Labels) Process
	// Unused is a PID that no process has.
	Unused() int
	// Reuse starts a process with this PID; false if the system cannot.
	Reuse(t *testing.T, pid int) (Process, bool)
	// Await waits until is returns true, and fails the test if that takes too long.
	Await(t *testing.T, what string, is func() bool)
}

// Labels are the labels of a process; empty ones are not set.
type Labels struct {
	Run, Owner, Worker string // in its environment
	ArgRun             string // behind --run-id
}

// Words are the arguments and variables that set the labels.
func (l Labels) Words() (args, env []string) {
	if l.ArgRun != "" {
		args = []string{"--run-id", l.ArgRun}
	}
	for _, v := range [][2]string{{"LEASH_RUN_ID", l.Run}, {"LEASH_RUN_OWNER", l.Owner}, {"LEASH_WORKER_ID", l.Worker}} {
		if v[1] != "" {
			env = append(env, v[0]+"="+v[1])
		}
	}
	return args, env
}

// Wordless is a TableSystem with processes that have no arguments but --run-id and no worker ID.
type Wordless interface{ Wordless() }

// Blind is a TableSystem in which exits are not noticed: Wait returns, and its caller scans
// again.
type Blind interface{ Blind() bool }

const (
	tableRun  = "conf0rm"
	otherRun  = "0therun"
	someOwner = "4242:4243:0:0"
)

// ConformTable checks that a table behaves as package reap expects. Each part opens a system
// of its own. except names the parts that do not apply to it.
func ConformTable(t *testing.T, open func(t *testing.T) TableSystem, except ...string) {
	parts[TableSystem]{
		{"Environment", tableEnvironment},
		{"Arguments", tableArguments},
		{"Unlabelled", tableUnlabelled},
		{"Descendant", tableDescendant},
		{"Life", tableLife},
		{"Same", tableSame},
		{"ReadAnew", tableReadAnew},
		{"Gone", tableGone},
		{"Kill", tableKill},
		{"Wait", tableWait},
		{"Reuse", tableReuse},
	}.run(t, open, except)
}

func taken(t *testing.T, s TableSystem) *snapshot.Snapshot {
	t.Helper()
	snap, err := s.Table().Take(nil)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func find(s *snapshot.Snapshot, pid int) *snapshot.Process {
	for i := range s.Procs {
		if s.Procs[i].PID == pid {
			return &s.Procs[i]
		}
	}
	return nil
}

// found is a process in a snapshot; the test fails if it is not there.
func found(t *testing.T, s *snapshot.Snapshot, pid int) *snapshot.Process {
	t.Helper()
	p := find(s, pid)
	if p == nil {
		t.Fatalf("process %d is not in the snapshot", pid)
	}
	return p
}

func openedTable(t *testing.T, s TableSystem, pid int) snapshot.Handle {
	t.Helper()
	h, err := s.Table().Open(pid)
	if err != nil {
		t.Fatalf("Open(%d): %v", pid, err)
	}
	t.Cleanup(h.Close)
	return h
}

func over(h snapshot.Handle) bool {
	info, err := h.Info()
	return errors.Is(err, proc.ErrGone) || err == nil && info.Dead()
}

func tableEnvironment(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun, Owner: someOwner, Worker: "w 1"})
	snap := taken(t, s)
	got := found(t, snap, p.PID())
	if !slices.Equal(got.EnvRuns, []string{tableRun}) || got.Owner != someOwner || len(got.ArgRuns) > 0 {
		t.Errorf("%+v", got)
	}
	if got.PPID != s.Self() || got.Start == 0 || got.UID != snap.UID || got.Dead() || got.Leash || got.Foreign || got.Mixed || got.Denied != "" {
		t.Errorf("%+v", got)
	}
	if _, ok := s.(Wordless); !ok && (got.Worker != "w 1" || len(got.Args) == 0 || got.Name == "") {
		t.Errorf("%+v", got)
	}
	if snap.Boot == "" || snap.Incomplete != nil {
		t.Errorf("boot %q, torn %v", snap.Boot, snap.Incomplete)
	}
}

func tableArguments(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{ArgRun: tableRun})
	snap := taken(t, s)
	got := found(t, snap, p.PID())
	if !slices.Equal(got.ArgRuns, []string{tableRun}) || len(got.EnvRuns) > 0 || got.Owner != "" {
		t.Errorf("%+v", got)
	}
	if _, ok := s.(Wordless); !ok && !strings.Contains(strings.Join(got.Args, " "), "--run-id "+tableRun) {
		t.Errorf("%q", got.Args)
	}
	parent, ok := snap.Parents[s.Self()]
	if !ok || parent.PID != s.Self() || parent.Start > got.Start {
		t.Errorf("its parent is %+v", parent)
	}
}

// A process without labels, which is no child of one with labels, is not included.
func tableUnlabelled(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{})
	if got := find(taken(t, s), p.PID()); got != nil && len(got.EnvRuns)+len(got.ArgRuns) > 0 {
		t.Errorf("%+v", got)
	}
}

func tableDescendant(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{ArgRun: tableRun})
	child := p.Fork(t)
	snap := taken(t, s)
	got := found(t, snap, child)
	if got.PPID != p.PID() || got.Start < found(t, snap, p.PID()).Start {
		t.Errorf("%+v", got)
	}
}

func tableLife(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun})
	id := found(t, taken(t, s), p.PID()).ID
	for name, c := range map[string]struct {
		id   proc.ID
		want snapshot.Life
	}{
		"itself":                 {id, snapshot.Alive},
		"its number alone":       {proc.ID{PID: id.PID}, snapshot.Alive},
		"another, one tick more": {proc.ID{PID: id.PID, Start: id.Start + 1}, snapshot.Dead},
		"another, one tick less": {proc.ID{PID: id.PID, Start: id.Start - 1}, snapshot.Dead},
		"a PID no process has":   {proc.ID{PID: s.Unused(), Start: 1}, snapshot.Dead},
	} {
		if got := s.Table().Life(c.id); got != c.want {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
	p.End(t)
	if got := s.Table().Life(id); got != snapshot.Dead {
		t.Errorf("after its exit: %v", got)
	}
	p.Reap(t)
	if got := s.Table().Life(id); got != snapshot.Dead {
		t.Errorf("after it was reaped: %v", got)
	}
}

// older waits until the clock has passed the start of a process, and takes a snapshot then.
func older(t *testing.T, s TableSystem, pid int) *snapshot.Snapshot {
	t.Helper()
	start := found(t, taken(t, s), pid).Start
	s.Await(t, "the next tick", func() bool { return s.Table().Tick() > start })
	return taken(t, s)
}

func tableSame(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun})
	other := s.Labelled(t, Labels{Run: tableRun})
	snap := older(t, s, p.PID())
	seen := found(t, snap, p.PID())
	h := openedTable(t, s, p.PID())
	if !h.Same(seen, snap.Tick) {
		t.Error("it is not taken for the same")
	}
	if h.Same(seen, seen.Start) {
		t.Error("a process that may have started when the scan began is taken for the same")
	}
	wrong := *seen
	wrong.Start--
	if h.Same(&wrong, snap.Tick) {
		t.Error("one with another start time is taken for the same")
	}
	if openedTable(t, s, other.PID()).Same(seen, snap.Tick) && found(t, snap, other.PID()).Start != seen.Start {
		t.Error("another process is taken for the same")
	}
}

func tableReadAnew(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun, Owner: someOwner})
	seen := found(t, taken(t, s), p.PID())
	h := openedTable(t, s, p.PID())
	got, err := h.Read()
	if err != nil || got.PID != seen.PID || got.Start != seen.Start || got.PPID != seen.PPID || got.UID != seen.UID ||
		got.Owner != someOwner || !slices.Equal(got.EnvRuns, seen.EnvRuns) {
		t.Errorf("%+v, %v; seen was %+v", got, err, seen)
	}
}

func tableGone(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun})
	snap := older(t, s, p.PID())
	seen := *found(t, snap, p.PID())
	h := openedTable(t, s, p.PID())
	p.End(t)
	if !over(h) {
		t.Error("it has ended, but counts as alive")
	}
	p.Reap(t)
	if _, err := h.Info(); !errors.Is(err, proc.ErrGone) {
		t.Errorf("Info: %v", err)
	}
	if _, err := h.Read(); !errors.Is(err, proc.ErrGone) {
		t.Errorf("Read: %v", err)
	}
	if h.Same(&seen, snap.Tick) {
		t.Error("a process that has ended is taken for the same")
	}
	if err := h.Signal(proc.KILL); !errors.Is(err, proc.ErrGone) {
		t.Errorf("Signal: %v", err)
	}
	if got := find(taken(t, s), p.PID()); got != nil && got.Start == seen.Start {
		t.Errorf("it is in the table: %+v", got)
	}
	if other, err := s.Table().Open(p.PID()); err == nil {
		if info, err := other.Info(); err == nil && info.Start == seen.Start {
			t.Errorf("it can be opened: %+v", info)
		}
		other.Close()
	} else if !errors.Is(err, proc.ErrGone) {
		t.Errorf("Open: %v", err)
	}
}

func tableKill(t *testing.T, s TableSystem) {
	p, bystander := s.Labelled(t, Labels{Run: tableRun}), s.Labelled(t, Labels{Run: otherRun})
	h, b := openedTable(t, s, p.PID()), openedTable(t, s, bystander.PID())
	if err := h.Signal(proc.Signal{}); err != nil || over(h) {
		t.Fatalf("a probe: %v", err)
	}
	if err := h.Signal(proc.KILL); err != nil {
		t.Fatal(err)
	}
	s.Await(t, "the end of the process that was sent SIGKILL", func() bool { return over(h) })
	if over(b) {
		t.Error("the bystander ended too")
	}
}

// Exits of processes that are no children of this process are noticed too. Wait returns true
// only when the last has ended.
func tableWait(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun})
	handles := []snapshot.Handle{openedTable(t, s, p.PID()), openedTable(t, s, p.Fork(t)), openedTable(t, s, p.Fork(t))}
	for _, h := range handles {
		h.Notify()
		h.Notify() // a second call changes nothing
	}
	table := s.Table()
	for _, h := range handles {
		if quiet, err := table.Wait(table.Now()); quiet || err != nil {
			t.Errorf("quiet: %t, %v; but not all have ended", quiet, err)
		}
		if h.Over() {
			t.Error("it is over, but alive")
		}
		if err := h.Signal(proc.KILL); err != nil {
			t.Fatal(err)
		}
		s.Await(t, "the end of one", func() bool { return over(h) })
	}
	quiet, err := table.Wait(table.Now() + longWait)
	if !quiet || err != nil {
		t.Errorf("quiet: %t, %v; but all have ended", quiet, err)
	}
	b, ok := s.(Blind)
	blind := ok && b.Blind()
	for i, h := range handles {
		if !h.Over() && !blind {
			t.Errorf("the exit of number %d was not reported", i)
		}
		h.Notify() // of a process that has ended
	}
	if quiet, err := table.Wait(table.Now()); err != nil {
		t.Errorf("quiet: %t, %v", quiet, err)
	}
}

// A handle, or a process in a snapshot, never stands for the next process with its PID.
func tableReuse(t *testing.T, s TableSystem) {
	var snap *snapshot.Snapshot
	var seen snapshot.Process
	var h snapshot.Handle
	var again Process
	ok := false
	for try := 0; try < reuseTries && !ok; try++ {
		p := s.Labelled(t, Labels{Run: tableRun})
		snap = older(t, s, p.PID())
		seen = *found(t, snap, p.PID())
		h = openedTable(t, s, p.PID())
		p.End(t)
		p.Reap(t)
		again, ok = s.Reuse(t, p.PID())
	}
	if !ok {
		lack(t, "this system gives out the numbers that it likes")
	}
	h2 := openedTable(t, s, again.PID())
	if err := h.Signal(proc.KILL); !errors.Is(err, proc.ErrGone) {
		t.Errorf("a signal by the old handle: %v", err)
	}
	if _, err := h.Read(); !errors.Is(err, proc.ErrGone) {
		t.Errorf("read by the old handle: %v", err)
	}
	if h.Same(&seen, snap.Tick) || h2.Same(&seen, snap.Tick) {
		t.Error("another is taken for the same")
	}
	if over(h2) {
		t.Error("the next process with the PID has ended")
	}
	if got := s.Table().Life(seen.ID); got != snapshot.Dead {
		t.Errorf("the first is %v", got)
	}
}
