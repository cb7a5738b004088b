package darwin

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/scan"
)

func newTestTable(t *testing.T, w *world, uid uint32) *Table {
	t.Helper()
	table, err := newTable(w.kernel(), w, uid)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func take(t *testing.T, table *Table, records []ledger.Record, held []snapshot.Held) *snapshot.Snapshot {
	t.Helper()
	s, err := table.Take(records, held)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func found(s *snapshot.Snapshot) (pids []int) {
	for i := range s.Procs {
		pids = append(pids, s.Procs[i].PID)
	}
	slices.Sort(pids)
	return pids
}

func process(t *testing.T, s *snapshot.Snapshot, pid int) snapshot.Process {
	t.Helper()
	for _, p := range s.Procs {
		if p.PID == pid {
			return p
		}
	}
	t.Fatalf("%d is not in the snapshot", pid)
	return snapshot.Process{}
}

func args(path string, argv, env []string) [][]byte {
	return [][]byte{image{argc: -1, path: path, args: argv, env: env, apple: apple}.bytes()}
}

func TestTakeFindsLabels(t *testing.T) {
	w := newWorld(t)
	for _, p := range w.procs {
		p.args = args("/sbin/launchd", []string{"x"}, nil)
	}
	w.born(100, self).args = args("/x/python3", []string{"python3", "w.py"},
		[]string{"LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1", "LEASH_RUN_OWNER=90:5:8d0c:0", "SNAKEPIT_RUN_ID=old1234"})
	w.born(101, 100).args = args("/x/child", []string{"child"}, nil)
	w.born(102, 101).args = args("/x/grandchild", []string{"grandchild"}, nil)
	w.born(109, 101).args = args("/x/grandchild", []string{"grandchild"}, []string{"LEASH_RUN_ID=abc1234"})
	w.born(103, 1).args = args("/x/w", []string{"w", "--run-id", "arg1234"}, nil)
	w.born(104, 1).args = args("/x/bystander", []string{"bystander"}, []string{"A=--run-id=abc1234"})
	w.born(105, 1).args = args("/x/sh", []string{"sh", "-c", "grep --run-id=abc1234"}, nil)
	other := w.born(106, 1)
	other.args, other.UID = args("/x/w", []string{"w"}, []string{"LEASH_RUN_ID=abc1234"}), 502
	w.born(110, 104).args = [][]byte{labels} // both speak: its parent does not matter
	dead := w.born(107, 1)
	dead.args = args("/x/w", []string{"w"}, []string{"LEASH_RUN_ID=abc1234"})
	w.zombie(dead)
	kernel := w.born(108, 0)
	kernel.Flags, kernel.args = flagSystem, other.args

	s := take(t, newTestTable(t, w, 501), nil, nil)
	if got := found(s); !slices.Equal(got, []int{100, 101, 102, 103, 109, 110}) {
		t.Errorf("%v", got)
	}
	p := process(t, s, 100)
	if !slices.Equal(p.EnvRuns, []string{"abc1234", "old1234"}) || p.Worker != "w1" || p.Owner != "90:5:8d0c:0" ||
		!slices.Equal(p.Args, []string{"python3", "w.py"}) || p.SID != 100 || p.Mixed || p.Leash {
		t.Errorf("%+v", p)
	}
	if p := process(t, s, 103); !slices.Equal(p.ArgRuns, []string{"arg1234"}) {
		t.Errorf("%+v", p)
	}
	if parent, ok := s.Parents[1]; !ok || parent.PID != 1 || len(s.Parents) != 1 {
		t.Errorf("%+v", s.Parents)
	}
	if s.Unread != 0 || s.Incomplete != nil || s.NS != 0 || s.UID != 501 || s.Boot == "" || len(s.Protected) != 2 {
		t.Errorf("%+v", s)
	}
	if got := found(take(t, newTestTable(t, w, 0), nil, nil)); !slices.Equal(got, []int{100, 101, 102, 103, 106, 109, 110}) {
		t.Errorf("for root: %v", got)
	}
}

// The clock was set back since a parent was started, which lives: its child is no
// orphan, and it is not ended for its arguments alone.
func TestParentOfATimeToCome(t *testing.T) {
	w := newWorld(t)
	w.born(100, 1).args = args("/bin/sh", []string{"sh"}, nil)
	w.clock -= 1000
	w.born(101, 100).args = args("/x/grep", []string{"grep", "--run-id", "abc1234"}, nil)
	s := take(t, newTestTable(t, w, 501), nil, nil)
	s.Records = []ledger.Record{{RunID: "abc1234", UID: 501, Boot: s.Boot, Parents: []proc.ID{{PID: 99, Start: 1}}}}
	s.Lives = map[proc.ID]snapshot.Life{{PID: 99, Start: 1}: snapshot.Dead}
	runs := scan.Judge(s, scan.Request{})
	if len(runs) != 1 || runs[0].State != scan.DeadRun || len(runs[0].Members) != 1 || runs[0].Members[0].Verdict != scan.Skip {
		t.Errorf("%+v", runs)
	}
}

func TestTakeFindsTheRecorded(t *testing.T) {
	w := newWorld(t)
	table := newTestTable(t, w, 501)
	boot := table.boot
	hidden := image{argc: -1, path: "/bin/sleep", args: []string{"sleep"}, restricted: true}.bytes()
	worker := w.born(100, 1)
	worker.args = [][]byte{hidden}
	w.born(101, 1).PGID = 100
	w.born(102, 1).session = 100
	w.born(103, 1)
	w.born(110, 1)
	record := ledger.Record{RunID: "abc1234", Worker: proc.ID{PID: 100, Start: worker.Start}, Watchdog: proc.ID{PID: 110, Start: 1},
		Parents: []proc.ID{{PID: 120, Start: 1}}, Group: 100, Session: 100, Boot: boot}
	s := take(t, table, []ledger.Record{record}, nil)
	if got := found(s); !slices.Equal(got, []int{100, 101, 102, 110}) {
		t.Errorf("%v", got)
	}
	if s.Hidden != 1 || process(t, s, 100).Name != worker.Name {
		t.Errorf("%d hidden", s.Hidden)
	}
	if s.Lives[record.Worker] != snapshot.Alive || s.Lives[record.Watchdog] != snapshot.Dead || s.Lives[record.Parents[0]] != snapshot.Dead {
		t.Errorf("%v", s.Lives)
	}
	shares := record // its worker leads neither group nor session
	shares.Group, shares.Session = 103, 103
	if got := found(take(t, table, []ledger.Record{shares}, nil)); !slices.Equal(got, []int{100, 110}) {
		t.Errorf("of a group that it does not lead: %v", got)
	}
	record.Boot = "another"
	if got := found(take(t, table, []ledger.Record{record}, nil)); len(got) != 0 {
		t.Errorf("of another boot: %v", got)
	}
	held := []snapshot.Held{{PID: 100, Group: 100, Session: 1}}
	if got := found(take(t, table, nil, held)); !slices.Equal(got, []int{100, 101}) {
		t.Errorf("of a group that is being ended: %v", got)
	}
}

func TestTakeKnowsOurs(t *testing.T) {
	w := newWorld(t)
	table := newTestTable(t, w, 501)
	dog := w.born(100, 1)
	dog.Name = "watchdog"
	dog.args = args("/elsewhere/watchdog", []string{"watchdog", "guard", "--worker-pid", "77"}, nil)
	named := w.born(101, 1)
	named.Name = "reaper"
	named.args = args("/elsewhere/reaper", []string{"reaper", "--worker-pid=78"}, []string{"LEASH_RUN_ID=abc1234"})
	second := w.born(102, 1)
	second.args = args("/x/renamed", []string{"renamed", "--worker-pid=79"}, []string{"LEASH_HANDOVER=1 2", "LEASH_RUN_ID=abc1234"})
	marked := w.born(103, 1)
	marked.Name = "watchdog"
	copied := filepath.Join(t.TempDir(), "watchdog")
	b, err := os.ReadFile(os.Args[0]) // the tests search for the mark, so they have it
	if err == nil {
		err = os.WriteFile(copied, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	marked.args = args(copied, []string{"watchdog", "--worker-pid=80"}, []string{"LEASH_RUN_ID=abc1234"})
	s := take(t, table, nil, nil)
	for pid, want := range map[int]struct {
		leash  bool
		guards int
	}{100: {true, 77}, 101: {false, 0}, 102: {false, 0}, 103: {true, 80}} {
		if p := process(t, s, pid); p.Leash != want.leash || p.Guards != want.guards {
			t.Errorf("%d: %+v", pid, p)
		}
	}
}

func TestTakeUnreadAndIncomplete(t *testing.T) {
	w := newWorld(t)
	table := newTestTable(t, w, 501)
	for _, p := range w.procs {
		p.args = args("/x", []string{"x"}, nil)
	}
	p := w.born(100, 1) // it may not be read
	s := take(t, table, nil, nil)
	if s.Unread != 1 || s.Incomplete != nil {
		t.Errorf("%d unread, %v", s.Unread, s.Incomplete)
	}
	p.argsError = syscall.ENOMEM
	if s := take(t, table, nil, nil); !errors.Is(s.Incomplete, syscall.ENOMEM) {
		t.Errorf("%v", s.Incomplete)
	}
	p.argsError = nil
	p.UID = 502 // another's is not missed
	if s := take(t, table, nil, []snapshot.Held{{PID: 100, Group: 100}}); s.Unread != 0 || len(s.Procs) != 1 {
		t.Errorf("%d unread", s.Unread)
	}
	w.tableError = syscall.EIO
	if _, err := table.Take(nil, nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
}

// A program is executed between the two halves of a read (see Kernel.procArgs).
func TestTakeReadsTornLabelsAgain(t *testing.T) {
	w := newWorld(t)
	torn := image{argc: 1, path: "y", args: []string{"x", "LEASH_RUN_ID=zzz9999"}}.bytes()
	w.born(100, 1).args = [][]byte{torn, labels}
	s := take(t, newTestTable(t, w, 501), nil, nil)
	if p := process(t, s, 100); !slices.Equal(p.EnvRuns, []string{"abc1234"}) {
		t.Errorf("%v", p.EnvRuns)
	}
}

func TestLife(t *testing.T) {
	w := newWorld(t)
	table := newTestTable(t, w, 501)
	p := w.born(100, 1)
	q := w.born(101, 1)
	w.zombie(q)
	w.born(102, 1)
	w.unreadable[102] = syscall.EIO
	for id, want := range map[proc.ID]snapshot.Life{
		{PID: 100, Start: p.Start}:     snapshot.Alive,
		{PID: 100}:                     snapshot.Alive, // of a parent that was dead at the start only the number is known
		{PID: 100, Start: p.Start + 1}: snapshot.Dead,
		{PID: 101, Start: q.Start}:     snapshot.Dead,
		{PID: 102, Start: 1}:           snapshot.Unknown,
		{PID: 103, Start: 1}:           snapshot.Dead,
	} {
		if got := table.Life(id); got != want {
			t.Errorf("%v: %v, want %v", id, got, want)
		}
	}
}

func TestTableHandle(t *testing.T) {
	w := newWorld(t)
	table := newTestTable(t, w, 501)
	p := w.born(100, 1)
	p.args = [][]byte{labels}
	tick := table.Tick()
	seen := snapshot.Process{Info: p.info(100)}
	h, err := table.Open(100)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Same(&seen, tick) || h.Same(&seen, p.Start) || h.Inode() != 0 || h.Over() {
		t.Error("Same")
	}
	if r, err := h.Read(); err != nil || !slices.Equal(r.EnvRuns, []string{"abc1234"}) || r.Start != p.Start {
		t.Errorf("%+v, %v", r, err)
	}
	reads := 0
	w.reading = func(int) {
		if reads++; reads == 2 {
			w.reap(p)
			w.born(100, 1)
		}
	}
	if r, err := h.Read(); !errors.Is(err, proc.ErrGone) || reads < 2 {
		t.Errorf("it changed hands meanwhile: %+v, %v", r, err)
	}
	if h.Same(&seen, table.Tick()) {
		t.Error("it is another")
	}
	if _, err := h.Read(); !errors.Is(err, proc.ErrGone) {
		t.Error(err)
	}
	again, _ := table.Open(100)
	if again.Same(&seen, table.Tick()) {
		t.Error("another is not the one that was seen")
	}
	if _, err := table.Open(999); !errors.Is(err, proc.ErrGone) {
		t.Error(err)
	}
	if _, err := table.Read(999); !errors.Is(err, proc.ErrGone) {
		t.Error(err)
	}
	if age := table.Age(table.Tick() - 3_000_000); age < 3*time.Second || age > 4*time.Second {
		t.Error(age)
	}
	if age := table.Age(table.Tick() + 1e9); age != 0 {
		t.Error(age)
	}
}

func TestTableWait(t *testing.T) {
	w := newWorld(t)
	table := newTestTable(t, w, 501)
	waitFor := func(d time.Duration, want bool) {
		t.Helper()
		if quiet, err := table.Wait(table.Now() + d); quiet != want || err != nil {
			t.Errorf("%t, %v", quiet, err)
		}
	}
	wait := func(want bool) {
		t.Helper()
		if want {
			waitFor(time.Minute, true)
		} else {
			waitFor(time.Millisecond, false)
		}
	}
	wait(false)
	p, q := w.born(100, 1), w.born(101, 1)
	a, _ := table.Open(100)
	b, _ := table.Open(101)
	a.Notify()
	b.Notify()
	w.end(p, 0)
	for tries := 0; !a.Over() && tries < 100; tries++ { // it does not wait if it is too late already
		wait(false)
	}
	if !a.Over() || b.Over() {
		t.Error("only the first is over")
	}
	w.end(q, 0)
	wait(true)
	if !b.Over() {
		t.Error("the second is over")
	}
	w.zombie(w.born(102, 1))
	c, _ := table.Open(102)
	c.Notify()
	wait(true) // found dead at once
	d, _ := table.Open(w.born(103, 1).PID)
	w.refused = []error{syscall.ENOMEM}
	d.Notify()
	wait(true) // ends are not noticed: scan again
	w.broken = []error{syscall.EBADF}
	if _, err := table.Wait(table.Now() + time.Minute); err != syscall.EBADF {
		t.Error(err)
	}
}
