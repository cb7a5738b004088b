package hosttest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"leash/internal/proc"
	"leash/scan"
)

// Table is the table of processes as the reaper uses it (reap.Table, but for
// Open, whose result each system names itself).
type Table interface {
	Take(held []scan.Held) (*scan.Snapshot, error)
	Life(proc.ID) scan.Life
	Tick() uint64
	Now() time.Duration
	Wait(until time.Duration) (quiet bool, err error)
}

// TableHandle is reap.Handle.
type TableHandle interface {
	Look() (proc.Info, error)
	Same(p *scan.Process, tick uint64) bool
	Read() (scan.Process, error)
	Inode() uint64
	Signal(proc.Signal) error
	Notify()
	Over() bool
	Close()
}

// TableSystem is a table, and the means to set a scene in it.
type TableSystem interface {
	Table() Table
	Open(pid int) (TableHandle, error)
	// Self is the PID of those processes' parent.
	Self() int
	// Labelled starts a process that says this of itself.
	Labelled(t *testing.T, l Labels) Process
	// Unused is a number that nobody has.
	Unused() int
	// Reuse starts one with this number, if that can be had.
	Reuse(t *testing.T, pid int) (Process, bool)
	// Await waits for what happens soon.
	Await(t *testing.T, what string, is func() bool)
}

// Labels are what a process says of itself; empty ones it does not.
type Labels struct {
	Run, Owner, Worker string // in its environment
	ArgRun             string // behind --run-id
}

// Words are the arguments and variables that say it.
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

// Wordless is a TableSystem whose processes have no arguments but --run-id and
// no worker ID.
type Wordless interface{ Wordless() }

// Blind is a TableSystem in which nobody tells of ends: Wait has its caller look
// again and again.
type Blind interface{ Blind() bool }

const (
	tableRun  = "conf0rm"
	otherRun  = "0therun"
	someOwner = "4242:4243:0:0"
)

// ConformTable checks that a table is one as package reap expects it. Each part
// opens a system of its own. except names the parts that make no sense on it.
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

func taken(t *testing.T, s TableSystem) *scan.Snapshot {
	t.Helper()
	snapshot, err := s.Table().Take(nil)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func find(s *scan.Snapshot, pid int) *scan.Process {
	for i := range s.Procs {
		if s.Procs[i].PID == pid {
			return &s.Procs[i]
		}
	}
	return nil
}

// found is a process of a look; the test fails if it is not there.
func found(t *testing.T, s *scan.Snapshot, pid int) *scan.Process {
	t.Helper()
	p := find(s, pid)
	if p == nil {
		t.Fatalf("process %d is not in the snapshot", pid)
	}
	return p
}

func openedTable(t *testing.T, s TableSystem, pid int) TableHandle {
	t.Helper()
	h, err := s.Open(pid)
	if err != nil {
		t.Fatalf("Open(%d): %v", pid, err)
	}
	t.Cleanup(h.Close)
	return h
}

func over(h TableHandle) bool {
	info, err := h.Look()
	return errors.Is(err, proc.ErrGone) || err == nil && info.Dead()
}

func tableEnvironment(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun, Owner: someOwner, Worker: "w 1"})
	snapshot := taken(t, s)
	got := found(t, snapshot, p.PID())
	if !slices.Equal(got.EnvRuns, []string{tableRun}) || got.Owner != someOwner || len(got.ArgRuns) > 0 {
		t.Errorf("%+v", got)
	}
	if got.PPID != s.Self() || got.Start == 0 || got.UID != snapshot.UID || got.Dead() || got.Leash || got.Foreign || got.Mixed || got.Barred != "" {
		t.Errorf("%+v", got)
	}
	if _, ok := s.(Wordless); !ok && (got.Worker != "w 1" || len(got.Args) == 0 || got.Name == "") {
		t.Errorf("%+v", got)
	}
	if snapshot.Boot == "" || snapshot.Torn != nil {
		t.Errorf("boot %q, torn %v", snapshot.Boot, snapshot.Torn)
	}
}

func tableArguments(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{ArgRun: tableRun})
	snapshot := taken(t, s)
	got := found(t, snapshot, p.PID())
	if !slices.Equal(got.ArgRuns, []string{tableRun}) || len(got.EnvRuns) > 0 || got.Owner != "" {
		t.Errorf("%+v", got)
	}
	if _, ok := s.(Wordless); !ok && !strings.Contains(strings.Join(got.Args, " "), "--run-id "+tableRun) {
		t.Errorf("%q", got.Args)
	}
	parent, ok := snapshot.Parents[s.Self()]
	if !ok || parent.PID != s.Self() || parent.Start > got.Start {
		t.Errorf("its parent is %+v", parent)
	}
}

// Who says nothing, and is no child of one who does, is not taken in.
func tableUnlabelled(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{})
	if got := find(taken(t, s), p.PID()); got != nil && len(got.EnvRuns)+len(got.ArgRuns) > 0 {
		t.Errorf("%+v", got)
	}
}

func tableDescendant(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{ArgRun: tableRun})
	child := p.Fork(t)
	snapshot := taken(t, s)
	got := found(t, snapshot, child)
	if got.PPID != p.PID() || got.Start < found(t, snapshot, p.PID()).Start {
		t.Errorf("%+v", got)
	}
}

func tableLife(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun})
	id := found(t, taken(t, s), p.PID()).ID
	for name, c := range map[string]struct {
		id   proc.ID
		want scan.Life
	}{
		"itself":                 {id, scan.Alive},
		"its number alone":       {proc.ID{PID: id.PID}, scan.Alive},
		"another, one tick more": {proc.ID{PID: id.PID, Start: id.Start + 1}, scan.Dead},
		"another, one tick less": {proc.ID{PID: id.PID, Start: id.Start - 1}, scan.Dead},
		"a number nobody has":    {proc.ID{PID: s.Unused(), Start: 1}, scan.Dead},
	} {
		if got := s.Table().Life(c.id); got != c.want {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
	p.End(t)
	if got := s.Table().Life(id); got != scan.Dead {
		t.Errorf("after its end: %v", got)
	}
	p.Reap(t)
	if got := s.Table().Life(id); got != scan.Dead {
		t.Errorf("when nothing of it is left: %v", got)
	}
}

// older has the clock pass the start of a process, and looks then.
func older(t *testing.T, s TableSystem, pid int) *scan.Snapshot {
	t.Helper()
	start := found(t, taken(t, s), pid).Start
	s.Await(t, "the next tick", func() bool { return s.Table().Tick() > start })
	return taken(t, s)
}

func tableSame(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun})
	other := s.Labelled(t, Labels{Run: tableRun})
	snapshot := older(t, s, p.PID())
	seen := found(t, snapshot, p.PID())
	h := openedTable(t, s, p.PID())
	if !h.Same(seen, snapshot.Tick) {
		t.Error("it is not the same")
	}
	if h.Same(seen, seen.Start) {
		t.Error("who may have been born when the look began is taken for the same")
	}
	wrong := *seen
	wrong.Start--
	if h.Same(&wrong, snapshot.Tick) {
		t.Error("one with another start time is taken for the same")
	}
	if openedTable(t, s, other.PID()).Same(seen, snapshot.Tick) && found(t, snapshot, other.PID()).Start != seen.Start {
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
	snapshot := older(t, s, p.PID())
	seen := *found(t, snapshot, p.PID())
	h := openedTable(t, s, p.PID())
	p.End(t)
	if !over(h) {
		t.Error("it has ended, and lives")
	}
	p.Reap(t)
	if _, err := h.Look(); !errors.Is(err, proc.ErrGone) {
		t.Errorf("Look: %v", err)
	}
	if _, err := h.Read(); !errors.Is(err, proc.ErrGone) {
		t.Errorf("Read: %v", err)
	}
	if h.Same(&seen, snapshot.Tick) {
		t.Error("nobody is taken for the same")
	}
	if err := h.Signal(proc.KILL); !errors.Is(err, proc.ErrGone) {
		t.Errorf("Signal: %v", err)
	}
	if got := find(taken(t, s), p.PID()); got != nil && got.Start == seen.Start {
		t.Errorf("it is in the table: %+v", got)
	}
	if other, err := s.Open(p.PID()); err == nil {
		if info, err := other.Look(); err == nil && info.Start == seen.Start {
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
	s.Await(t, "the end of who was sent SIGKILL", func() bool { return over(h) })
	if over(b) {
		t.Error("the one beside it ended too")
	}
}

// The ends of those who are no children of ours are told too, and only when the
// last has ended it is quiet.
func tableWait(t *testing.T, s TableSystem) {
	p := s.Labelled(t, Labels{Run: tableRun})
	handles := []TableHandle{openedTable(t, s, p.PID()), openedTable(t, s, p.Fork(t)), openedTable(t, s, p.Fork(t))}
	for _, h := range handles {
		h.Notify()
		h.Notify() // once more changes nothing
	}
	table := s.Table()
	for _, h := range handles {
		if quiet, err := table.Wait(table.Now()); quiet || err != nil {
			t.Errorf("quiet: %t, %v; and not all have ended", quiet, err)
		}
		if h.Over() {
			t.Error("it is over, and lives")
		}
		if err := h.Signal(proc.KILL); err != nil {
			t.Fatal(err)
		}
		s.Await(t, "the end of one", func() bool { return over(h) })
	}
	quiet, err := table.Wait(table.Now() + longWait)
	if !quiet || err != nil {
		t.Errorf("quiet: %t, %v; and all have ended", quiet, err)
	}
	b, ok := s.(Blind)
	blind := ok && b.Blind()
	for i, h := range handles {
		if !h.Over() && !blind {
			t.Errorf("the end of number %d was not told", i)
		}
		h.Notify() // of who has ended
	}
	if quiet, err := table.Wait(table.Now()); err != nil {
		t.Errorf("quiet: %t, %v", quiet, err)
	}
}

// A handle never stands for the next owner of a number, nor does what was seen.
func tableReuse(t *testing.T, s TableSystem) {
	var snapshot *scan.Snapshot
	var seen scan.Process
	var h TableHandle
	var again Process
	ok := false
	for try := 0; try < reuseTries && !ok; try++ {
		p := s.Labelled(t, Labels{Run: tableRun})
		snapshot = older(t, s, p.PID())
		seen = *found(t, snapshot, p.PID())
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
	if h.Same(&seen, snapshot.Tick) || h2.Same(&seen, snapshot.Tick) {
		t.Error("another is taken for the same")
	}
	if over(h2) {
		t.Error("the next owner of the number has ended")
	}
	if got := s.Table().Life(seen.ID); got != scan.Dead {
		t.Errorf("the first is %v", got)
	}
}
