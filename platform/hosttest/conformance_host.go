package hosttest

import (
	"testing"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Watcher is the part of a host that tells of a parent's end.
type Watcher interface {
	Now() time.Duration
	AddParent(pid int) (alive bool, err error)
	Wait(deadline time.Duration, timed bool) ([]watch.Event, error)
}

// longWait is for what happens soon; who fails may take long.
const longWait = 3 * time.Minute

// exitOfAnother: the end of somebody who is no child of ours is told, once, and
// not before.
func exitOfAnother(t *testing.T, s System) {
	for _, how := range s.Backends() {
		t.Run(how, func(t *testing.T) {
			h := s.Watcher(t, how)
			p := s.Start(t, OwnGroup)
			first, second := p.Fork(t), p.Fork(t)
			for _, pid := range []int{first, second} {
				if alive, err := h.AddParent(pid); !alive || err != nil {
					t.Fatalf("%d is alive: %t, %v", pid, alive, err)
				}
			}
			if events, err := h.Wait(h.Now(), true); len(events) > 0 || err != nil {
				t.Fatalf("nothing has happened yet: %v, %v", events, err)
			}
			if err := opened(t, s, second).Signal(proc.KILL); err != nil {
				t.Fatal(err)
			}
			events, err := h.Wait(h.Now()+longWait, true)
			if len(events) != 1 || err != nil {
				t.Fatalf("after its end: %v, %v", events, err)
			}
			if e, ok := events[0].(watch.ParentDied); !ok || e.PID != second || e.By == "" {
				t.Errorf("%+v, and %d has ended", events[0], second)
			}
			if ended(opened(t, s, first)) {
				t.Error("the other ended too")
			}
		})
	}
}

// planted is the tree of a worker with two children, and one beside it.
func planted(t *testing.T, s System, how How) (tree *stop.Tree, members []stop.Handle, bystander stop.Handle) {
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

// uprooted checks that all have ended, and nobody else has.
func uprooted(t *testing.T, s System, tree *stop.Tree, members []stop.Handle, bystander stop.Handle) {
	t.Helper()
	s.Await(t, "the end of the tree", func() bool { return tree.Count().Living == 0 })
	for i, h := range members {
		if !ended(h) {
			t.Errorf("nobody is counted, and member %d lives", i)
		}
	}
	if left := tree.Survivors(); len(left) > 0 || !tree.Count().Ended {
		t.Errorf("left: %+v", left)
	}
	if ended(bystander) {
		t.Error("the one beside it ended too")
	}
}

// ask: who has no objection ends by the polite signal.
func ask(t *testing.T, s System) {
	askThose(t, s, OwnGroup)
	askThose(t, s, InOurGroup) // one by one
}

func askThose(t *testing.T, s System, how How) {
	t.Helper()
	tree, members, bystander := planted(t, s, how)
	if plain(s) { // who reads no console cannot be asked by signals
		return
	}
	if sent := tree.Ask(proc.TERM); len(sent) == 0 {
		t.Error("nothing was sent")
	}
	uprooted(t, s, tree, members, bystander)
}

// askWorker: the worker alone is sent the stop signal, and what is stopped goes on. The rest is when
// it has ended, and only then is the table searched for others.
func askWorker(t *testing.T, s System) {
	askWorkerOf(t, s, OwnGroup)
	askWorkerOf(t, s, InOurGroup)
}

func askWorkerOf(t *testing.T, s System, how How) {
	t.Helper()
	tree, members, bystander := planted(t, s, how)
	if plain(s) {
		return
	}
	searches := 0
	tree.Search = func() ([]int, error) { searches++; return nil, nil }
	is := func(state byte) func() bool {
		return func() bool {
			info, err := members[1].Look()
			return err == nil && (info.State == 'T') == (state == 'T')
		}
	}
	members[1].Signal(stopSignal)
	s.Await(t, "state T", is('T'))
	if sent := tree.AskWorker(proc.TERM, false); told(sent, proc.TERM) != 1 {
		t.Errorf("sent %v", sent)
	}
	s.Await(t, "the worker's end", func() bool { return ended(members[0]) })
	s.Await(t, "another state than T", is('S'))
	if c := tree.Count(); c.Living != 2 || c.Unasked != 2 || !c.Ended || searches != 0 {
		t.Errorf("%+v, after %d searches", c, searches)
	}
	if ended(members[1]) || ended(members[2]) {
		t.Error("another was asked")
	}
	if sent := tree.Ask(harmlessSignal); told(sent, harmlessSignal) == 0 {
		t.Errorf("sent to the rest: %v", sent)
	}
	if c := tree.Count(); searches != 1 || c.Unasked != 0 {
		t.Errorf("%+v, after %d searches", c, searches)
	}
	tree.Force()
	uprooted(t, s, tree, members, bystander)
}

// askGroup: all of a group are asked at once, and not a second time.
func askGroup(t *testing.T, s System) {
	for how, unasked := range map[How]int{OwnGroup: 0, InOurGroup: 2} {
		tree, members, bystander := planted(t, s, how)
		if plain(s) {
			return
		}
		searches := 0
		tree.Search = func() ([]int, error) { searches++; return nil, nil }
		if sent := tree.AskWorker(harmlessSignal, true); told(sent, harmlessSignal) != 1 {
			t.Errorf("sent %v", sent)
		}
		tree.Count() // while the worker lives
		members[0].Signal(proc.KILL)
		s.Await(t, "the worker's end", func() bool { return ended(members[0]) })
		if c := tree.Count(); c.Living != 2 || c.Unasked != unasked {
			t.Errorf("%+v, and %d were not asked", c, unasked)
		}
		if sent := tree.Ask(harmlessSignal); told(sent, harmlessSignal) != unasked {
			t.Errorf("sent to the rest: %v", sent)
		}
		if tree.Count(); searches != 2 {
			t.Errorf("%d searches, not one while the worker lives and one after its end", searches)
		}
		tree.Force()
		uprooted(t, s, tree, members, bystander)
	}
}

// told counts how often a signal was sent.
func told(sent []stop.Sent, sig proc.Signal) (n int) {
	for _, s := range sent {
		if s.Signal == sig && s.Err == nil {
			n++
		}
	}
	return n
}

// force ends also who is stopped.
func force(t *testing.T, s System) {
	forceThose(t, s, OwnGroup)
	forceThose(t, s, InOurGroup)
}

func forceThose(t *testing.T, s System, how How) {
	t.Helper()
	tree, members, bystander := planted(t, s, how)
	if !plain(s) {
		members[1].Signal(stopSignal)
	}
	vacant := false // as an empty cgroup is
	tree.Vacant = func() bool { return vacant }
	if sent := tree.Force(); len(sent) == 0 {
		t.Error("nothing was sent")
	}
	uprooted(t, s, tree, members, bystander)
	for _, vacant = range []bool{false, true} {
		if c := tree.Count(); c.Proven != vacant {
			t.Errorf("%+v, and an empty cgroup proves it: %t", c, vacant)
		}
	}
}

// Doomed is a watchdog with a worker, in processes of their own.
type Doomed struct {
	Kernel           stop.Kernel
	Watchdog, Worker int
	// Below are those below the worker who go with it at once, if the system ends
	// more than the worker.
	Below []int
	// Bystander is somebody who has nothing to do with them.
	Bystander int
	// Kill ends the watchdog in a way that it cannot notice.
	Kill  func()
	Await func(t *testing.T, what string, is func() bool)
}

// DieWithMe checks that a worker that run has started does not outlive its
// watchdog, be that killed.
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
			t.Fatal("somebody has ended before the watchdog was killed")
		}
	}
	if info := looked(t, doomed[1]); info.PPID != d.Watchdog {
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
