package stop

import (
	"strings"
	"testing"

	"leash/internal/proc"
)

// Only labels identify the tree of a worker that was reaped: its PID, and the IDs of its
// group and session, may be another process's. What a living parent has started may be
// the next worker with the same ID, or in that worker's tree.
func TestAdoptGone(t *testing.T) {
	k := table{}
	k.add(1, 0, 1)
	k.add(shell, 1, shell)
	next := k.add(41, shell, 41) // the next worker
	below := k.add(42, 41, 42)   // its child
	stray := k.add(50, 1, 50)
	another := k.add(51, 1, 51)
	user := k.add(52, 1, 52)
	user.UID = 8
	k.add(worker, 1, worker) // the PID, reused
	k.add(53, 1, worker)
	for _, e := range []*entry{next, below, stray, another, user} {
		e.run, e.worker = "r4nd0m7", "w1"
	}
	another.worker = "w2"
	gone := &entry{reaped: true}
	tree := &Tree{Kernel: k, Parents: []proc.Info{k[shell].Info}, RunID: "r4nd0m7", WorkerID: "w1",
		Search: func() ([]int, error) { return []int{worker, 41, 42, 50, 51, 52, 53, shell}, nil }}
	tree.AdoptGone(held{gone}, worker, 7)
	if c := tree.Count(); c.Living != 1 || !c.Ended {
		t.Errorf("%+v", c)
	}
	tree.SignalAll(proc.TERM)
	tree.Kill()
	for pid, e := range k {
		if got := len(e.got) > 0; got != (e == stray) {
			t.Errorf("%d was sent %v", pid, e.got)
		}
	}
	stray.reaped = true
	if c := tree.Count(); c.Living != 0 {
		t.Errorf("%+v", c)
	}
	tree.Close()
	for pid, e := range k {
		if e.open != 0 {
			t.Errorf("%d: %d handles are open", pid, e.open)
		}
	}
}

// A watched parent in the worker's session does not belong to the worker's tree.
func TestClaimsNoParent(t *testing.T) {
	k, tree := scene(t)
	k[shell].SID = worker
	tree.Search = func() ([]int, error) { return []int{shell}, nil }
	tree.Parents, tree.Protected = []proc.Info{k[shell].Info}, nil
	tree.Count()
	tree.Kill()
	if got := k[shell].got; len(got) > 0 {
		t.Errorf("the parent was sent %v", got)
	}
}

// PID 1 adopts the orphans of all, so a child of PID 1 with the labels of a worker that was
// reaped is left over or the next worker. It is left alone, and counted as left.
func TestAdoptGoneOfInit(t *testing.T) {
	k := table{}
	k.add(1, 0, 1)
	doubtful := k.add(41, 1, 41)
	k.add(42, 1, 42)
	below := k.add(44, 42, 44)
	user := k.add(43, 1, 43)
	watchdog := k.add(45, 1, 45) // of the next worker, for example, with the labels as its settings
	another, ofAnother := k.add(46, 1, 46), k.add(47, 1, 47)
	sure := k.add(48, 49, 48) // its parent has ended, and PID 1 has not got it: it is no worker of PID 1
	for _, e := range []*entry{doubtful, below, user, watchdog, another, ofAnother, sure} {
		e.run, e.worker = "r4nd0m7", "w1"
	}
	user.UID, watchdog.Leash, another.worker, ofAnother.run = 8, true, "w2", "0th3rrn"
	tree := &Tree{Kernel: k, Parents: []proc.Info{k[1].Info}, RunID: "r4nd0m7", WorkerID: "w1",
		Search: func() ([]int, error) { return []int{41, 42, 43, 44, 45, 46, 47, 48}, nil }}
	tree.AdoptGone(held{&entry{reaped: true}}, worker, 7)
	if c := tree.Count(); c.Living != 3 || c.Denied != 2 || !c.Ended {
		t.Errorf("%+v", c)
	}
	tree.SignalAll(proc.TERM)
	tree.Kill()
	for pid, e := range k {
		if got := len(e.got) > 0; got != (e == sure) {
			t.Errorf("%d was sent %v", pid, e.got)
		}
	}
	sure.reaped = true
	tree.Count()
	if left := tree.Survivors(); len(left) != 2 || left[0].PID != 41 || left[1].PID != 44 || !strings.Contains(left[0].Reason, "--parent-pid") {
		t.Errorf("left: %v", left)
	}
	doubtful.reaped, below.reaped = true, true
	if c := tree.Count(); c.Living != 0 {
		t.Errorf("once it has ended: %+v", c)
	}
}

// A worker that was seen is told from the next one by the time of its last sight: what PID 1
// has started since is no survivor.
func TestNextWorkerOfInitIsNoSurvivor(t *testing.T) {
	k, tree := scene(t)
	tree.Parents, tree.Protected = []proc.Info{k[1].Info}, nil
	tree.RunID, tree.WorkerID = "r4nd0m7", "w1"
	for _, pid := range []int{worker, child, 32, far} {
		k[pid].reaped = true
	}
	next := k.add(60, 1, 60)
	next.Start, next.run, next.worker = k.Tick(), "r4nd0m7", "w1"
	tree.Search = func() ([]int, error) { return []int{60}, nil }
	if c := tree.Count(); c.Living != 0 {
		t.Errorf("%+v: %v", c, tree.Survivors())
	}
	if tree.Kill(); len(next.got) > 0 {
		t.Errorf("the next worker was sent %v", next.got)
	}
}
