//go:build windows

package windows

import (
	"bufio"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/internal/testkit"
	"leash/platform/platformtest"
	"leash/watch"
)

// guarded is a worker, and what holds it.
type guarded struct {
	*watch.Worker
	s *System
	*caught
}

// caught is a System with a containment that a test can read.
type caught struct {
	*System
	hold   *containment
	change func(*stop.Hold) // what the worker is told; nil: nothing
}

func (c *caught) Contain(o system.Options) system.Containment {
	c.hold = c.System.Contain(o).(*containment)
	return changed{c.hold, c}
}

type changed struct {
	*containment
	by *caught
}

func (c changed) Hold() stop.Hold {
	h := c.containment.Hold()
	if c.by.change != nil {
		c.by.change(&h)
	}
	return h
}

// newTestSystem takes no process of a test for a watchdog.
func newTestSystem(t *testing.T, backend string) *System {
	t.Helper()
	k := newTestKernel(t)
	k.exe = `C:\elsewhere\watchdog.exe`
	s, err := newSystem(k, backend)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newGuarded(t *testing.T, backend string) *guarded {
	t.Helper()
	return guardedBy(t, newTestSystem(t, backend))
}

func guardedBy(t *testing.T, s *System) *guarded {
	t.Helper()
	c := &caught{System: s}
	g := &guarded{watch.NewWorker(c, 10*time.Millisecond, -1, 0), s, c}
	t.Cleanup(g.Worker.Close)
	return g
}

// launch starts the test binary in a role as a worker.
func (g *guarded) launch(role string) (proc.Info, error) {
	return g.Start(system.Command{Path: os.Args[0], Args: os.Args[:1], Env: append(os.Environ(), roleVar+"="+role)})
}

// next waits for an event of one kind.
func next[E watch.Event](t *testing.T, h *guarded) E {
	t.Helper()
	for {
		events, err := h.Wait(h.Now()+late, true)
		if err != nil || len(events) == 0 {
			t.Fatalf("no event in %v: %v", late, err)
		}
		for _, e := range events {
			if e, ok := e.(E); ok {
				return e
			}
		}
	}
}

// guard runs the real machine until its end.
func guard(t *testing.T, h *guarded, owns bool) (status int, records []watch.Record) {
	t.Helper()
	return guardFor(t, h, owns, 100*time.Millisecond)
}

func guardFor(t *testing.T, h *guarded, owns bool, grace time.Duration) (status int, records []watch.Record) {
	t.Helper()
	m := watch.NewMachine(watch.Config{Owns: owns, Grace: grace, StopSignal: proc.TERM, Scans: !owns})
	l := &logged{Worker: h.Worker}
	status, err := watch.Guard(m, h.Worker, l)
	if err != nil {
		t.Fatal(err)
	}
	return status, l.records
}

// logged is a watchdog that has nothing to do but to write down what happens.
type logged struct {
	*watch.Worker
	records []watch.Record
}

func (l *logged) Log(r watch.Record)    { l.records = append(l.records, r) }
func (l *logged) Hook(string) error     { return nil }
func (l *logged) PassOn(string)         {}
func (l *logged) Restart() (int, error) { return 0, nil }
func (l *logged) ReadLabels(bool)       {}
func (l *logged) UpdateRecord()         {}
func (l *logged) MarkRecord()           {}
func (l *logged) SaveRecord()           {}
func (l *logged) RemoveRecord()         {}

// Everything that descends from a worker ends: children, and their children, also after
// their parents have ended. Nothing else does.
func TestGuard(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		h := newGuarded(t, backend)
		parent, worker, bystander := start(t, "sleep", 0), start(t, "fork", 0), start(t, "fork", 0)
		tree := []*handle{opened(t, h.Kernel, worker.PID()), opened(t, h.Kernel, worker.fork(t, "plain")), opened(t, h.Kernel, worker.fork(t, "group"))}
		other := opened(t, h.Kernel, bystander.fork(t, "plain"))
		h.AddParent(parent.PID())
		if _, err := h.Adopt(worker.PID()); err != nil {
			t.Fatal(err)
		}
		tree = append(tree, opened(t, h.Kernel, worker.fork(t, "plain")))
		if got := h.Containment(); got != "job,process,descendants" {
			t.Errorf("containment %q", got)
		}
		parent.Cmd.Process.Kill()
		status, records := guard(t, h, false)
		if status != 0 {
			t.Errorf("status %d, %v", status, records)
		}
		for i, p := range tree {
			if !p.ended() {
				t.Errorf("process %d of the tree (%d) lives", i, p.pid)
			}
		}
		if other.ended() {
			t.Error("a bystander was ended")
		}
	})
}

// A worker that has ended leaves children which were not seen before: they are found by
// the number of their parent, which stays the worker's as long as its handle is open.
func TestChildrenOfTheDead(t *testing.T) {
	h := newGuarded(t, "event")
	worker := start(t, "fork", 0)
	if _, err := h.Adopt(worker.PID()); err != nil {
		t.Fatal(err)
	}
	h.hold.job.close(true) // as where no job is allowed
	h.hold.job, h.hold.tree.enlist = nil, nil
	child := opened(t, h.Kernel, worker.fork(t, "plain"))
	worker.Cmd.Process.Kill()
	worker.Cmd.Wait()
	status, records := guard(t, h, false)
	if status != 0 || !child.ended() {
		t.Errorf("status %d, the child ended: %v\n%v", status, child.ended(), records)
	}
}

func TestRun(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		h := newGuarded(t, backend)
		info, err := h.launch("exit3")
		if err != nil || info.PID == 0 || info.Start == 0 {
			t.Fatal(info, err)
		}
		if got := h.Containment(); got != "job,process,descendants" && got != "job,group,descendants" {
			t.Errorf("containment %q", got)
		}
		if status, records := guard(t, h, true); status != 3 {
			t.Errorf("status %d\n%v", status, records)
		}
		for _, path := range []string{`C:\no\such\thing.exe`, os.Args[0] + "x"} {
			if _, err := h.Start(system.Command{Path: path, Args: []string{"x"}}); !os.IsNotExist(err) {
				t.Errorf("%s: %v", path, err)
			}
		}
		if _, err := h.Start(system.Command{Path: os.TempDir(), Args: []string{"x"}}); err == nil || os.IsNotExist(err) {
			t.Errorf("a folder: %v", err)
		}
	})
}

// started is a worker of run, with standard streams that are ours to use.
func started(t *testing.T, h *guarded, role string) actor {
	t.Helper()
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { feed.Close(); out.Close() })
	stdin, stdout := syscall.Stdin, syscall.Stdout
	syscall.Stdin, syscall.Stdout = syscall.Handle(in.Fd()), syscall.Handle(w.Fd())
	_, err = h.launch(role)
	syscall.Stdin, syscall.Stdout = stdin, stdout
	w.Close()
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	a := actor{&platformtest.Actor{In: feed, Out: bufio.NewReader(out)}}
	a.Ready(t)
	return a
}

// A worker that does not listen is killed, with all its tree.
func TestRunIsEnded(t *testing.T) {
	h := newGuarded(t, "event")
	parent := start(t, "sleep", 0)
	h.AddParent(parent.PID())
	a := started(t, h, "deaf")
	child := opened(t, h.Kernel, a.fork(t, "group"))
	job := h.hold.job
	// A console's host may be there too.
	if got := job.pids(); len(got) > 3 || !slices.Contains(got, h.hold.worker.pid) || !slices.Contains(got, child.pid) {
		t.Errorf("in the job: %d", got)
	}
	if !job.has(child.h) || job.has(opened(t, h.Kernel, parent.PID()).h) || job.empty() {
		t.Error("the job is wrong about what is in it")
	}
	parent.Cmd.Process.Kill()
	status, records := guard(t, h, true)
	if !child.ended() || !job.empty() {
		t.Error("the child lives")
	}
	if exit, ok := h.Exit(); status != 137 || !ok || exit.Signal != proc.KILL {
		t.Errorf("status %d, %+v\n%v", status, exit, records)
	}
}

// A worker that could not be made known has not run, and never will.
func TestKillBeforeItRuns(t *testing.T) {
	s := newTestSystem(t, "event")
	c := s.Contain(system.Options{}).(*containment)
	defer c.Close(0)
	sh, err := c.Start(system.Command{Path: os.Args[0], Args: os.Args[:1], Env: append(os.Environ(), roleVar+"=exit3")})
	if err != nil {
		t.Fatal(err)
	}
	h := sh.(*handle)
	defer h.Close()
	c.Kill()
	await(t, "the end of the worker", h.ended)
	if h.exit().Code == 3 {
		t.Error("it has run")
	}
	if !h.forced {
		t.Error("its end is not known to be our doing")
	}
}

// Of two workers on one system each has its own tree: what is known or was
// reached of one is not taken for the other's.
func TestTwoWorkers(t *testing.T) {
	s := newTestSystem(t, "event")
	first, second := guardedBy(t, s), guardedBy(t, s)
	one := start(t, "fork", 0)
	if _, err := first.Adopt(one.PID()); err != nil {
		t.Fatal(err)
	}
	child := opened(t, s.Kernel, one.fork(t, "plain"))
	two := start(t, "fork", 0) // and adopted when the child of the first is no relative
	if _, err := second.Adopt(two.PID()); err != nil {
		t.Fatal(err)
	}
	other := opened(t, s.Kernel, two.fork(t, "plain"))
	for _, c := range []struct {
		hold     *containment
		pid, has int
	}{{first.hold, one.PID(), child.pid}, {second.hold, two.PID(), other.pid}} {
		if got, err := c.hold.Children(c.pid, nil); err != nil || !slices.Contains(got, c.has) {
			t.Errorf("children of %d: %d, %v, want %d", c.pid, got, err, c.has)
		}
		if c.hold.tree.hasNow(child.pid) != (c.has == child.pid) || c.hold.mine(other.pid) != (c.has == other.pid) {
			t.Errorf("the tree of %d is wrong about what is in it", c.pid)
		}
	}
	first.hold.tree.strangers[child.pid] = child.start // as if it had been of another parent of that number
	if got, err := first.hold.Children(one.PID(), nil); err != nil || slices.Contains(got, child.pid) {
		t.Errorf("children of %d: %d, %v, and %d is a stranger", one.PID(), got, err, child.pid)
	}
	delete(first.hold.tree.strangers, child.pid)
	first.hold.reached.pids, second.hold.reached.pids = []int{1}, []int{2}
	if first.Worker.Forward(proc.TERM); slices.Contains(first.hold.reached.pids, 1) || len(second.hold.reached.pids) != 1 {
		t.Errorf("reached %v and %v", first.hold.reached, second.hold.reached)
	}
	for first.Count().Living > 0 {
		first.Kill()
	}
	if !child.ended() || other.ended() || opened(t, s.Kernel, two.PID()).ended() {
		t.Error("the first is to be ended, with its child, and the second not")
	}
	for second.Count().Living > 0 {
		second.Kill()
	}
	if !other.ended() {
		t.Error("the child of the second lives")
	}
}

// A worker has left its job a moment before its handle says that it has ended, and until
// then it is not known how.
func TestEmptyJobIsNoEnd(t *testing.T) {
	s := newTestSystem(t, "event")
	j, err := newJob(true)
	if err != nil {
		t.Fatal(err)
	}
	outside := testkit.Start(t, command("sleep"))
	c := s.Contain(system.Options{}).(*containment)
	c.job = j
	defer c.Close(0)
	c.follow(opened(t, s.Kernel, outside.PID))
	if c.empty() {
		t.Error("nothing is left, it says, while the worker lives")
	}
	outside.Kill()
	outside.Wait()
	child := testkit.Start(t, command("sleep"))
	if c.tree.held[child.PID], err = s.open(child.PID); err != nil {
		t.Fatal(err)
	}
	if c.empty() {
		t.Error("nothing is left, it says, while a child lives")
	}
	child.Kill()
	child.Wait()
	if !c.empty() {
		t.Error("nothing is left, and it says otherwise")
	}
}

// When a count finds nothing, it is known how the worker ended, even if it did so during
// the count.
func TestEndsWhileCounted(t *testing.T) {
	h := newGuarded(t, "event")
	h.change = func(hold *stop.Hold) {
		empty := hold.Empty
		hold.Empty = func() bool {
			if err := h.hold.worker.Signal(proc.KILL); err != nil {
				t.Error(err)
			}
			await(t, "an empty job", empty)
			return true
		}
	}
	started(t, h, "fork")
	if c := h.Count(); c.Living != 0 || !c.Proven {
		t.Errorf("%+v", c)
	}
	if exit, ok := h.Exit(); !ok || exit.Signal != proc.KILL {
		t.Errorf("nothing is left, and of the worker's end is known: %v, %+v", ok, exit)
	}
}
