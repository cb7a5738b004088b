package platformtest

import (
	"testing"

	"leash/internal/proc"
	"leash/internal/stop"
)

// planted is the tree of a worker with two children, and a bystander.
func planted(t *testing.T, s Fixture, how How) (tree *stop.Tree, members []stop.Handle, bystander stop.Handle) {
	t.Helper()
	p := s.Start(t, how)
	members = []stop.Handle{opened(t, s, p.PID()), opened(t, s, p.Fork(t)), opened(t, s, p.Fork(t))}
	bystander = opened(t, s, s.Start(t, OwnGroup).PID())
	tree = &stop.Tree{Kernel: s.Kernel(), Root: members[0]}
	t.Cleanup(tree.Close)
	if info, err := tree.Adopt(); err != nil || info.PID != p.PID() {
		t.Fatalf("%+v, %v", info, err)
	}
	if c := tree.Count(); c.Living != len(members) || c.Ended || c.Denied != 0 || c.Proven {
		t.Fatalf("%+v, and there are %d", c, len(members))
	}
	return tree, members, bystander
}

// uprooted checks that all members have ended, and no other process.
func uprooted(t *testing.T, s Fixture, tree *stop.Tree, members []stop.Handle, bystander stop.Handle) {
	t.Helper()
	s.Await(t, "the end of the tree", func() bool { return tree.Count().Living == 0 })
	for i, h := range members {
		if !ended(h) {
			t.Errorf("none is counted, but member %d is alive", i)
		}
	}
	if left := tree.Survivors(); len(left) > 0 || !tree.Count().Ended {
		t.Errorf("left: %+v", left)
	}
	if ended(bystander) {
		t.Error("the bystander ended too")
	}
}

// signalAll: the stop signal ends a process that does not catch it.
func signalAll(t *testing.T, s Fixture) {
	signalAllOf(t, s, OwnGroup)
	signalAllOf(t, s, InOurGroup) // one by one
}

func signalAllOf(t *testing.T, s Fixture, how How) {
	t.Helper()
	tree, members, bystander := planted(t, s, how)
	if plain(s) { // a process without a console takes no stop signal
		return
	}
	if sent := tree.SignalAll(proc.TERM); len(sent) == 0 {
		t.Error("nothing was sent")
	}
	uprooted(t, s, tree, members, bystander)
}

// signalWorker: the stop signal is sent to the worker alone, and stopped processes are
// continued. The rest gets it when the worker has ended, and only then is the table searched
// for other processes.
func signalWorker(t *testing.T, s Fixture) {
	signalWorkerOf(t, s, OwnGroup)
	signalWorkerOf(t, s, InOurGroup)
}

func signalWorkerOf(t *testing.T, s Fixture, how How) {
	t.Helper()
	tree, members, bystander := planted(t, s, how)
	if plain(s) {
		return
	}
	searches := 0
	tree.Search = func() ([]int, error) { searches++; return nil, nil }
	is := func(state byte) func() bool {
		return func() bool {
			info, err := members[1].Info()
			return err == nil && (info.State == 'T') == (state == 'T')
		}
	}
	members[1].Signal(stopSignal)
	s.Await(t, "state T", is('T'))
	if sent := tree.SignalWorker(proc.TERM, false); told(sent, proc.TERM) != 1 {
		t.Errorf("sent %v", sent)
	}
	s.Await(t, "the worker's end", func() bool { return ended(members[0]) })
	s.Await(t, "another state than T", is('S'))
	if c := tree.Count(); c.Living != 2 || c.Unsignalled != 2 || !c.Ended || searches != 0 {
		t.Errorf("%+v, after %d searches", c, searches)
	}
	if ended(members[1]) || ended(members[2]) {
		t.Error("another process got the stop signal")
	}
	if sent := tree.SignalAll(harmlessSignal); told(sent, harmlessSignal) == 0 {
		t.Errorf("sent to the rest: %v", sent)
	}
	if c := tree.Count(); searches != 1 || c.Unsignalled != 0 {
		t.Errorf("%+v, after %d searches", c, searches)
	}
	tree.Kill()
	uprooted(t, s, tree, members, bystander)
}

// signalGroupFirst: all processes of a group are signalled at once, and not a second time.
func signalGroupFirst(t *testing.T, s Fixture) {
	for how, unsignalled := range map[How]int{OwnGroup: 0, InOurGroup: 2} {
		tree, members, bystander := planted(t, s, how)
		if plain(s) {
			return
		}
		searches := 0
		tree.Search = func() ([]int, error) { searches++; return nil, nil }
		if sent := tree.SignalWorker(harmlessSignal, true); told(sent, harmlessSignal) != 1 {
			t.Errorf("sent %v", sent)
		}
		tree.Count() // while the worker lives
		members[0].Signal(proc.KILL)
		s.Await(t, "the worker's end", func() bool { return ended(members[0]) })
		if c := tree.Count(); c.Living != 2 || c.Unsignalled != unsignalled {
			t.Errorf("%+v, want %d unsignalled", c, unsignalled)
		}
		if sent := tree.SignalAll(harmlessSignal); told(sent, harmlessSignal) != unsignalled {
			t.Errorf("sent to the rest: %v", sent)
		}
		if tree.Count(); searches != 2 {
			t.Errorf("%d searches, not one while the worker lives and one after its end", searches)
		}
		tree.Kill()
		uprooted(t, s, tree, members, bystander)
	}
}

// told counts how often a signal was sent without an error.
func told(sent []stop.Sent, sig proc.Signal) (n int) {
	for _, s := range sent {
		if s.Signal == sig && s.Err == nil {
			n++
		}
	}
	return n
}

// killTree: stopped processes are killed too.
func killTree(t *testing.T, s Fixture) {
	killTreeOf(t, s, OwnGroup)
	killTreeOf(t, s, InOurGroup)
}

func killTreeOf(t *testing.T, s Fixture, how How) {
	t.Helper()
	tree, members, bystander := planted(t, s, how)
	if !plain(s) {
		members[1].Signal(stopSignal)
	}
	vacant := false // as an empty cgroup is
	tree.Vacant = func() bool { return vacant }
	if sent := tree.Kill(); len(sent) == 0 {
		t.Error("nothing was sent")
	}
	uprooted(t, s, tree, members, bystander)
	for _, vacant = range []bool{false, true} {
		if c := tree.Count(); c.Proven != vacant {
			t.Errorf("%+v, want proven %t (an empty cgroup proves it)", c, vacant)
		}
	}
}

// Doomed is a watchdog with a worker, in separate processes.
type Doomed struct {
	Kernel           stop.Kernel
	Watchdog, Worker int
	// Below are descendants of the worker that end with it at once, where the system ends more
	// than the worker.
	Below []int
	// Bystander is a process that does not belong to them.
	Bystander int
	// Kill ends the watchdog in a way that it cannot catch.
	Kill  func()
	Await func(t *testing.T, what string, is func() bool)
}

// DieWithMe checks that a worker which run has started does not outlive its watchdog, even if
// that is killed.
func DieWithMe(t *testing.T, d Doomed) {
	t.Helper()
	open := func(pid int) stop.Handle {
		h, err := d.Kernel.Open(pid)
		if err != nil {
			t.Fatalf("Open(%d): %v", pid, err)
		}
		t.Cleanup(h.Close)
		return h
	}
	doomed := []stop.Handle{open(d.Watchdog), open(d.Worker)}
	for _, pid := range d.Below {
		doomed = append(doomed, open(pid))
	}
	bystander := open(d.Bystander)
	for _, h := range append(doomed, bystander) {
		if ended(h) {
			t.Fatal("a process has ended before the watchdog was killed")
		}
	}
	if info := infoOf(t, doomed[1]); info.PPID != d.Watchdog {
		t.Errorf("the worker %+v is no child of the watchdog %d", info, d.Watchdog)
	}
	d.Kill()
	for _, h := range doomed {
		d.Await(t, "the end of watchdog and worker", func() bool { return ended(h) })
	}
	if ended(bystander) {
		t.Error("the bystander ended too")
	}
}
