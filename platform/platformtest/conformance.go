// Package platformtest is the conformance suite of the operating systems: what package stop
// expects of a kernel, package watch of a System and package reap of a table of processes.
// Every system passes it, and so does the simulated one, so that they all behave the same.
package platformtest

import (
	"errors"
	"os"
	"slices"
	"testing"

	"leash/internal/proc"
	"leash/internal/stop"
)

// Fixture is a kernel, and the means to start processes for a test.
type Fixture interface {
	Kernel() stop.Kernel
	// Start starts a child of this process, which does nothing and reaps nothing.
	Start(t *testing.T, how How) Process
	// Reuse starts a child with this PID; false if the system cannot.
	Reuse(t *testing.T, pid int) (Process, bool)
	// Foreign is a process that this process may not signal, if there is one.
	Foreign(t *testing.T) (pid int, ok bool)
	// Await waits until is returns true, and fails the test if that takes too long.
	Await(t *testing.T, what string, is func() bool)
}

// Plain is a Fixture with processes that leave no zombie, even while a handle is open. They
// cannot be stopped, have no sessions, and their groups cannot be signalled.
type Plain interface{ Plain() }

func plain(s Fixture) bool { _, is := s.(Plain); return is }

// How says in which group and session a process is started.
type How int

const (
	InOurGroup How = iota
	OwnGroup
	OwnSession
)

// Process is a child of this process.
type Process interface {
	PID() int
	// Fork makes it start a child, which stays in its group.
	Fork(t *testing.T) (pid int)
	// End kills it with SIGKILL, and it is a zombie then.
	End(t *testing.T)
	// Reap reaps the zombie.
	Reap(t *testing.T)
}

// Conform checks that a kernel behaves as package stop expects. Each part opens a system of
// its own. except names the parts that do not apply to it.
func Conform(t *testing.T, open func(t *testing.T) Fixture, except ...string) {
	parts[Fixture]{
		{"OpenThenRead", openThenRead},
		{"Gone", gone},
		{"ZombieIsDead", zombieIsDead},
		{"Signal", signalOne},
		{"Stopped", stopped},
		{"GroupAndSession", groupAndSession},
		{"Group", group},
		{"GroupOfADeadLeader", groupOfADeadLeader},
		{"NoGroupToLead", noGroupToLead},
		{"Children", children},
		{"ChildrenOfGone", childrenOfGone},
		{"ExitOfAnother", exitOfAnother},
		{"ExitBeforeWatch", exitBeforeWatch},
		{"Unwatched", unwatched},
		{"SignalAll", signalAll},
		{"SignalWorker", signalWorker},
		{"SignalGroupFirst", signalGroupFirst},
		{"Kill", killTree},
		{"Tick", ticks},
		{"Reuse", reuse},
		{"Denied", denied},
	}.run(t, open, except)
}

// parts are the tests of a suite, by name.
type parts[S any] []struct {
	name string
	test func(*testing.T, S)
}

func (all parts[S]) run(t *testing.T, open func(*testing.T) S, except []string) {
	left := len(all)
	for _, part := range all {
		if slices.Contains(except, part.name) {
			left--
			continue
		}
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
	if left != len(all)-len(except) {
		t.Errorf("there are no such parts: %q", except)
	}
}

// lack skips the test, and fails it where no skip is allowed.
func lack(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("LEASH_TEST_NO_SKIP") == "1" {
		t.Fatalf("%s, and LEASH_TEST_NO_SKIP=1 allows no skip", why)
	}
	t.Skipf("SKIPPED: %s", why)
}

func opened(t *testing.T, s Fixture, pid int) stop.Handle {
	t.Helper()
	h, err := s.Kernel().Open(pid)
	if err != nil {
		t.Fatalf("Open(%d): %v", pid, err)
	}
	t.Cleanup(h.Close)
	return h
}

func infoOf(t *testing.T, h stop.Handle) proc.Info {
	t.Helper()
	info, err := h.Info()
	if err != nil {
		t.Fatalf("Info: %v", err)
	}
	return info
}

// ended reports whether the process is dead.
func ended(h stop.Handle) bool {
	info, err := h.Info()
	return errors.Is(err, proc.ErrGone) || err == nil && info.Dead()
}

func openThenRead(t *testing.T, s Fixture) {
	p := s.Start(t, InOurGroup)
	a, b := opened(t, s, p.PID()), opened(t, s, p.PID())
	first, again := infoOf(t, a), infoOf(t, b)
	if first.PID != p.PID() || first.Dead() || first.Start == 0 || first.Leash {
		t.Errorf("%+v", first)
	}
	if first.ID != again.ID || first.Match(again.ID) == proc.Different {
		t.Errorf("%v by one handle, %v by another", first.ID, again.ID)
	}
	if err := a.Signal(proc.Signal{}); err != nil {
		t.Errorf("a probe: %v", err)
	}
}

func gone(t *testing.T, s Fixture) {
	p := s.Start(t, InOurGroup)
	h := opened(t, s, p.PID())
	p.End(t)
	p.Reap(t)
	if _, err := h.Info(); !errors.Is(err, proc.ErrGone) {
		t.Errorf("Info: %v", err)
	}
	if err := h.Signal(proc.KILL); !errors.Is(err, proc.ErrGone) {
		t.Errorf("Signal: %v", err)
	}
	if run, worker := h.Labels(); run != "" || worker != "" {
		t.Errorf("labels %q, %q", run, worker)
	}
	if _, err := s.Kernel().Open(p.PID()); !errors.Is(err, proc.ErrGone) {
		t.Errorf("Open: %v", err)
	}
}

func zombieIsDead(t *testing.T, s Fixture) {
	p := s.Start(t, OwnGroup)
	h := opened(t, s, p.PID())
	before := infoOf(t, h)
	p.End(t)
	if plain(s) {
		if _, err := h.Info(); !errors.Is(err, proc.ErrGone) {
			t.Errorf("Info: %v", err)
		}
		if _, err := s.Kernel().Open(p.PID()); !errors.Is(err, proc.ErrGone) {
			t.Errorf("Open: %v", err)
		}
		return
	}
	after := infoOf(t, h)
	if !after.Dead() || after.ID != before.ID || after.PGID != p.PID() || after.PPID != before.PPID {
		t.Errorf("%+v, and before its end %+v", after, before)
	}
	if err := h.Signal(proc.TERM); err != nil {
		t.Errorf("a signal to a zombie: %v", err)
	}
	if again := infoOf(t, opened(t, s, p.PID())); !again.Dead() {
		t.Errorf("a zombie that is opened: %+v", again)
	}
}

func signalOne(t *testing.T, s Fixture) {
	p := s.Start(t, InOurGroup)
	bystander := opened(t, s, s.Start(t, InOurGroup).PID())
	h := opened(t, s, p.PID())
	if err := h.Signal(proc.KILL); err != nil {
		t.Fatal(err)
	}
	s.Await(t, "the end of the process that was sent SIGKILL", func() bool { return ended(h) })
	if ended(bystander) {
		t.Error("the bystander ended too")
	}
}

func stopped(t *testing.T, s Fixture) {
	h := opened(t, s, s.Start(t, InOurGroup).PID())
	if plain(s) {
		for _, sig := range []proc.Signal{stopSignal, contSignal} {
			if err := h.Signal(sig); !errors.Is(err, errors.ErrUnsupported) || ended(h) {
				t.Errorf("%v: %v", sig, err)
			}
		}
		return
	}
	is := func(state byte) func() bool {
		return func() bool { info, err := h.Info(); return err == nil && (info.State == 'T') == (state == 'T') }
	}
	h.Signal(stopSignal)
	s.Await(t, "state T", is('T'))
	if ended(h) {
		t.Error("a stopped process was taken for dead")
	}
	h.Signal(contSignal)
	s.Await(t, "another state than T", is('S'))
	h.Signal(stopSignal)
	s.Await(t, "state T", is('T'))
	h.Signal(proc.KILL)
	s.Await(t, "the end of a stopped process", func() bool { return ended(h) })
}

func groupAndSession(t *testing.T, s Fixture) {
	shared := infoOf(t, opened(t, s, s.Start(t, InOurGroup).PID()))
	own := infoOf(t, opened(t, s, s.Start(t, OwnGroup).PID()))
	if plain(s) {
		if shared.PGID == shared.PID || own.PGID != own.PID {
			t.Errorf("in our group: %+v, in a group of its own: %+v", shared, own)
		}
		return
	}
	session := infoOf(t, opened(t, s, s.Start(t, OwnSession).PID()))
	if shared.PGID == shared.PID || shared.SID == shared.PID {
		t.Errorf("in our group: %+v", shared)
	}
	if own.PGID != own.PID || own.SID == own.PID || own.SID != shared.SID {
		t.Errorf("in a group of its own: %+v", own)
	}
	if session.PGID != session.PID || session.SID != session.PID {
		t.Errorf("in a session of its own: %+v", session)
	}
}

func group(t *testing.T, s Fixture) {
	p := s.Start(t, OwnGroup)
	leader, member := opened(t, s, p.PID()), opened(t, s, p.Fork(t))
	bystander := opened(t, s, s.Start(t, OwnGroup).PID())
	if got := infoOf(t, member).PGID; got != p.PID() {
		t.Fatalf("the child is in group %d, not %d", got, p.PID())
	}
	err := leader.SignalGroup(proc.KILL)
	if plain(s) && errors.Is(err, errors.ErrUnsupported) {
		if ended(leader) || ended(member) {
			t.Error("unsupported, but the signal was sent")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Await(t, "the end of the group", func() bool { return ended(leader) && ended(member) })
	if ended(bystander) {
		t.Error("the bystander ended too")
	}
}

func groupOfADeadLeader(t *testing.T, s Fixture) {
	p := s.Start(t, OwnGroup)
	leader, member := opened(t, s, p.PID()), opened(t, s, p.Fork(t))
	p.End(t)
	if err := leader.SignalGroup(proc.Signal{}); err != nil {
		t.Errorf("while its leader is a zombie: %v", err)
	}
	p.Reap(t)
	if info := infoOf(t, member); info.PGID != p.PID() || info.Dead() {
		t.Fatalf("the member: %+v", info)
	}
	err := leader.SignalGroup(proc.KILL)
	if errors.Is(err, errors.ErrUnsupported) {
		if ended(member) {
			t.Error("unsupported, but the signal was sent")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Await(t, "the end of the member", func() bool { return ended(member) })
	s.Await(t, "an empty group", func() bool {
		return errors.Is(leader.SignalGroup(proc.Signal{}), proc.ErrGone)
	})
}

func noGroupToLead(t *testing.T, s Fixture) {
	h := opened(t, s, s.Start(t, InOurGroup).PID())
	err := h.SignalGroup(proc.KILL)
	if !errors.Is(err, proc.ErrGone) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a group that does not exist: %v", err)
	}
	if ended(h) {
		t.Error("the process was signalled")
	}
}

func children(t *testing.T, s Fixture) {
	p := s.Start(t, InOurGroup)
	if got := openable(s, listed(t, s, p.PID())); len(got) != 0 {
		t.Errorf("children %v of a process without any", got)
	}
	want := []int{p.Fork(t), p.Fork(t)}
	got, err := s.Kernel().Children(p.PID(), []int{-1})
	if err != nil || got[0] != -1 {
		t.Errorf("children %v appended to -1", got)
	}
	got = openable(s, got[1:])
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("children %v, want %v", got, want)
	}
	parent := infoOf(t, opened(t, s, p.PID()))
	child := opened(t, s, want[0])
	if got := infoOf(t, child).PPID; got != p.PID() {
		t.Errorf("its parent is %d, not %d", got, p.PID())
	}
	if !slices.Contains(listed(t, s, parent.PPID), p.PID()) {
		t.Error("it is not a child of its parent")
	}
	p.End(t)
	if got := infoOf(t, child).PPID; got == p.PID() {
		t.Error("it remains the child of a zombie")
	}
	if !plain(s) && !slices.Contains(listed(t, s, parent.PPID), p.PID()) {
		t.Error("a zombie is no child any more")
	}
}

func listed(t *testing.T, s Fixture, pid int) []int {
	t.Helper()
	pids, err := s.Kernel().Children(pid, nil)
	if err != nil {
		t.Errorf("the children of %d: %v", pid, err)
	}
	return pids
}

// childrenOfGone: listing the children of a process that is gone is no error.
func childrenOfGone(t *testing.T, s Fixture) {
	p := s.Start(t, OwnGroup)
	p.End(t)
	p.Reap(t)
	if got := listed(t, s, p.PID()); len(got) > 0 {
		t.Errorf("children %v of one that is gone", got)
	}
}

// openable removes processes that can never be opened: on Windows the host of a console, which
// the system starts on behalf of a process.
func openable(s Fixture, pids []int) []int {
	return slices.DeleteFunc(pids, func(pid int) bool {
		h, err := s.Kernel().Open(pid)
		if err == nil {
			h.Close()
		}
		return errors.Is(err, proc.ErrGone)
	})
}

// ticks: a process that started before an instant has a start time not later than it.
func ticks(t *testing.T, s Fixture) {
	before := s.Kernel().Tick()
	info := infoOf(t, opened(t, s, s.Start(t, InOurGroup).PID()))
	if after := s.Kernel().Tick(); info.Start < before || info.Start > after {
		t.Errorf("start %d, not from %d to %d", info.Start, before, after)
	}
}

// reuseTries is how many PIDs are tried: another process may get one first, and keep it.
const reuseTries = 10

func reuse(t *testing.T, s Fixture) {
	var old stop.Handle
	var was proc.Info
	var next Process
	ok := false
	for try := 0; try < reuseTries && !ok; try++ {
		p := s.Start(t, OwnGroup)
		old = opened(t, s, p.PID())
		was = infoOf(t, old)
		p.End(t)
		p.Reap(t)
		next, ok = s.Reuse(t, p.PID())
	}
	if !ok {
		lack(t, "this system gives no number out on request")
	}
	is := infoOf(t, opened(t, s, next.PID()))
	if is.PID != was.PID || is.Match(was.ID) == proc.Same {
		t.Errorf("%+v is the same as %+v", is.ID, was.ID)
	}
	if is.Inode != 0 && is.Match(was.ID) != proc.Different {
		t.Errorf("inodes %d and %d do not tell them apart", is.Inode, was.Inode)
	}
	if _, err := old.Info(); !errors.Is(err, proc.ErrGone) {
		t.Errorf("the old handle shows the new process: %v", err)
	}
	if err := old.Signal(proc.KILL); !errors.Is(err, proc.ErrGone) {
		t.Errorf("the old handle signals the new process: %v", err)
	}
	if err := old.SignalGroup(proc.KILL); err == nil {
		t.Error("the old handle signals the new group")
	}
	if ended(opened(t, s, next.PID())) {
		t.Error("the new process was signalled")
	}
}

func denied(t *testing.T, s Fixture) {
	pid, ok := s.Foreign(t)
	if !ok {
		lack(t, "we may signal every process")
	}
	h := opened(t, s, pid)
	if err := h.Signal(proc.Signal{}); !errors.Is(err, proc.ErrDenied) {
		t.Errorf("a probe: %v", err)
	}
	if info, err := h.Info(); err != nil || info.Dead() || info.PID != pid {
		t.Errorf("a process that refuses signals is not dead: %+v, %v", info, err)
	}
}

var (
	stopSignal = stop.STOP
	contSignal = stop.CONT

	// harmlessSignal is ignored by default, and has the same number on every system.
	harmlessSignal = proc.Signal{Num: 28, Name: "SIGWINCH"}
)
