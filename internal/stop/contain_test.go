package stop

import (
	"errors"
	"slices"
	"testing"

	"leash/internal/proc"
)

// table is a kernel whose processes do nothing on their own.
type table map[int]*entry

type entry struct {
	proc.Info
	run, worker string
	reaped      bool
	fails       error  // what Info returns
	unlisted    error  // its children cannot be listed
	shut        error  // what Open returns
	onLook      func() // called before Info reads
	open        int
	got         []proc.Signal
}

func (t table) Open(pid int) (Handle, error) {
	e := t[pid]
	if e == nil || e.reaped {
		return nil, proc.ErrGone
	}
	if e.shut != nil {
		return nil, e.shut
	}
	e.open++
	return held{e}, nil
}

func (t table) Children(pid int, buf []int) ([]int, error) {
	if e := t[pid]; e != nil && e.unlisted != nil {
		return buf, e.unlisted
	}
	for _, e := range t {
		if e.PPID == pid && !e.reaped {
			buf = append(buf, e.PID)
		}
	}
	slices.Sort(buf)
	return buf, nil
}

func (t table) Tick() uint64 { return 1 << 40 }

type held struct{ *entry }

func (h held) Info() (proc.Info, error) {
	if h.onLook != nil {
		on := h.onLook
		h.onLook = nil
		on()
	}
	switch {
	case h.reaped:
		return proc.Info{}, proc.ErrGone
	case h.fails != nil:
		return proc.Info{}, h.fails
	}
	return h.entry.Info, nil
}

func (h held) Signal(s proc.Signal) error {
	if h.reaped {
		return proc.ErrGone
	}
	h.got = append(h.got, s)
	return nil
}

func (h held) SignalGroup(proc.Signal) error { return errors.ErrUnsupported }
func (h held) Labels() (string, string)      { return h.run, h.worker }
func (h held) Close()                        { h.open-- }

// add makes a process; the rest of its values follow from PID, parent and group.
func (t table) add(pid, parent, group int) *entry {
	e := &entry{Info: proc.Info{ID: proc.ID{PID: pid, Start: uint64(pid), Inode: uint64(9000 + pid)},
		PPID: parent, PGID: group, SID: group, State: 'S', Threads: 1, UID: 7}}
	t[pid] = e
	return e
}

const (
	shell  = 10
	ours   = 20 // the watchdog
	worker = 30
	child  = 31 // of the worker, in its group
	far    = 33 // grandchild, in a session of its own
	other  = 40 // of the shell
)

// scene is a worker that a shell started, and the processes around it.
func scene(t *testing.T) (table, *Tree) {
	k := table{}
	k.add(1, 0, 1)
	k.add(shell, 1, shell)
	k.add(ours, shell, ours)
	k.add(worker, shell, worker)
	k.add(child, worker, worker)
	k.add(32, child, 32)
	k.add(far, 32, far)
	k.add(other, shell, other)
	tree := &Tree{Kernel: k, Protected: []proc.Info{k[ours].Info, k[shell].Info, k[1].Info}}
	tree.Root, _ = k.Open(worker)
	if _, err := tree.Adopt(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tree.Close()
		tree.Root.Close()
		for pid, e := range k {
			if e.open != 0 {
				t.Errorf("%d handles on %d were left open", e.open, pid)
			}
		}
	})
	return k, tree
}

// contains asks about a sender by a handle that came with its message.
func contains(k table, tree *Tree, pid int) bool { return tree.Contains(held{k[pid]}) }

func TestContains(t *testing.T) {
	k, tree := scene(t)
	for pid, want := range map[int]bool{
		worker: true, child: true, 32: true, far: true,
		other: false, shell: false, ours: false, 1: false,
	} {
		if got := contains(k, tree, pid); got != want {
			t.Errorf("%d: %t", pid, got)
		}
	}
	if k.add(90, 0, 90); contains(k, tree, 90) {
		t.Error("a process without a parent here is taken for one of the tree")
	}
	k[worker].State = 'Z'
	if !contains(k, tree, worker) || !contains(k, tree, far) {
		t.Error("a message that the worker sent just before it exited is dropped")
	}
	k[far].reaped = true
	if contains(k, tree, far) {
		t.Error("a reaped process is taken for one of the tree")
	}
}

func TestContainsByMarks(t *testing.T) {
	k, tree := scene(t)
	tree.RunID, tree.WorkerID = "r4nd0m7", "w1"
	tree.Search = func() ([]int, error) { return nil, nil }
	stray := k.add(50, 1, 50)
	for _, c := range []struct {
		run, worker string
		uid         uint32
		group       int
		want        bool
	}{
		{"r4nd0m7", "w1", 7, 50, true}, {"r4nd0m7", "w2", 7, 50, false}, {"other", "w1", 7, 50, false},
		{"", "", 7, 50, false}, {"r4nd0m7", "w1", 8, 50, false}, {"", "", 7, worker, true},
	} {
		stray.run, stray.worker, stray.UID, stray.PGID, stray.SID = c.run, c.worker, c.uid, c.group, c.group
		if got := contains(k, tree, 50); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
		// And its child.
		k.add(51, 50, 51)
		if got := contains(k, tree, 51); got != c.want {
			t.Errorf("the child of %+v: %t", c, got)
		}
	}
	stray.run, stray.worker, stray.UID, stray.PGID, stray.SID = "r4nd0m7", "w1", 7, 50, 50
	if tree.WorkerID = ""; contains(k, tree, 50) {
		t.Error("a run ID alone is no mark")
	}
}

// A watchdog or reaper of the same labels is not the worker's.
func TestContainsNoOtherWatchdog(t *testing.T) {
	k, tree := scene(t)
	tree.RunID, tree.WorkerID = "r4nd0m7", "w1"
	tree.Search = func() ([]int, error) { return []int{50}, nil }
	leash := k.add(50, 1, 50)
	leash.run, leash.worker, leash.Leash = "r4nd0m7", "w1", true
	k.add(51, 50, 51)
	if contains(k, tree, 50) || contains(k, tree, 51) {
		t.Error("a watchdog of another tree is listened to, by its labels")
	}
	if tree.Count(); tree.members[50] == nil {
		t.Fatal("it is not kept, to find its children")
	}
	if contains(k, tree, 50) {
		t.Error("a watchdog of another tree is listened to, because it is kept to find its children")
	}
	// One that the worker started passes on what its own worker says.
	k[child].Leash = true
	if !contains(k, tree, child) || !contains(k, tree, far) {
		t.Error("the worker's own watchdog is not listened to")
	}
}

// A group is in one session: what is of another is in a later group of the same number,
// even if it is older than the worker.
func TestClaimsNoGroupOfAnotherSession(t *testing.T) {
	k, tree := scene(t)
	old := proc.Info{ID: proc.ID{PID: 60, Start: 1}, PPID: shell, PGID: worker, SID: shell, State: 'S'}
	k[worker].reaped = true
	tree.Scan(false)
	if tree.Claims(old, "", "") {
		t.Error("a process of another session is claimed by the number of its group")
	}
	old.SID = worker
	if !tree.Claims(old, "", "") {
		t.Error("a process of the worker's session and group is not claimed")
	}
}

// A known process remains known, whatever its parent, group and session.
func TestContainsMembers(t *testing.T) {
	k, tree := scene(t)
	tree.Scan(false)
	k[far].PPID = 1
	if !contains(k, tree, far) {
		t.Error("a member that lost its parent is forgotten")
	}
	k.add(34, far, 34)
	if !contains(k, tree, 34) {
		t.Error("so is its child")
	}
	k[far].ID = proc.ID{PID: far, Start: 99, Inode: 99} // the PID was reused
	if contains(k, tree, far) {
		t.Error("a process with the PID of a member is taken for the member")
	}
	k[worker].reaped = true
	k.add(35, worker, 35).Start = 99
	k.add(worker, shell, worker).ID = proc.ID{PID: worker, Start: 99, Inode: 99}
	if contains(k, tree, worker) || contains(k, tree, 35) {
		t.Error("a process with the PID of the worker is taken for the worker")
	}
}

// Under the subreaper an orphan is a child of this process.
func TestContainsOurChildren(t *testing.T) {
	k, tree := scene(t)
	k[worker].PPID = ours
	orphan := k.add(60, ours, 60)
	if contains(k, tree, 60) {
		t.Error("without the subreaper our child is taken for one of the tree")
	}
	if tree.Parent = ours; !contains(k, tree, 60) {
		t.Error("our child is not taken for the worker's")
	}
	// It becomes our child during the check.
	orphan.PPID = 61
	k.add(61, shell, 61).onLook = func() { orphan.PPID = ours }
	if !contains(k, tree, 60) {
		t.Error("an orphan that just became our child is not taken for one of the tree")
	}
}

// The parent's PID is reused between two reads.
func TestContainsChangingParents(t *testing.T) {
	k, tree := scene(t)
	p := k.add(70, 71, 70)
	k.add(71, shell, 71).onLook = func() {
		p.PPID = 1
		k[71].ID, k[71].PPID = proc.ID{PID: 71, Start: 71, Inode: 5}, worker
	}
	if contains(k, tree, 70) {
		t.Error("a process with the PID of a former parent is taken for the parent")
	}
	q := k.add(72, 73, 72)
	k.add(73, worker, 73).Start = q.Start + 1
	if contains(k, tree, 72) {
		t.Error("a process younger than its child is taken for the parent")
	}
	k[73].Start = q.Start
	if !contains(k, tree, 72) {
		t.Error("a parent that started in the same tick as its child is not taken for the parent")
	}
}

// Without inodes a PID and a start time identify a process until it is reaped.
func TestContainsWithoutInodes(t *testing.T) {
	k, tree := scene(t)
	for _, e := range k {
		e.Inode = 0
	}
	tree.Adopt()
	tree.Scan(false)
	if !contains(k, tree, worker) || !contains(k, tree, far) {
		t.Error("the worker and its descendant are not known")
	}
	for _, pid := range []int{worker, far} { // in the same tick
		id := k[pid].ID
		k[pid].reaped = true
		k.add(pid, shell, 99).ID = id
		if contains(k, tree, pid) {
			t.Errorf("a later process with PID %d is taken for the earlier one", pid)
		}
	}
}

// A process that cannot be read is not taken for one of the tree, and the search for
// its ancestors ends.
func TestContainsWhatCannotBeRead(t *testing.T) {
	k, tree := scene(t)
	failed := errors.New("too many open files")
	k[32].fails = failed
	if contains(k, tree, far) || contains(k, tree, 32) {
		t.Error("taken for one of the tree, although it could not be read")
	}
	k[32].fails = nil
	k[far].onLook = func() { k[far].onLook = func() { k[far].fails = failed } }
	if contains(k, tree, far) {
		t.Error("taken for one of the tree, although the second read failed")
	}
	k[far].fails = nil
	delete(k, 32)
	if contains(k, tree, far) {
		t.Error("taken for one of the tree, although its parent has been reaped")
	}
	k.add(80, 81, 80)
	k.add(81, 80, 81).Start = 80 // as no real system shows
	if contains(k, tree, 80) {
		t.Error("a process in a circle of parents is taken for one of the tree")
	}
	for pid := 100; pid < 300; pid++ {
		k.add(pid, pid-1, pid)
	}
	k.add(100, worker, 100)
	if !contains(k, tree, 120) || contains(k, tree, 299) {
		t.Error("want the worker found above 20 ancestors, and not above 199")
	}
}

// The hang signal goes to the worker alone, and SIGCONT lets a stopped worker handle it.
func TestSignalHung(t *testing.T) {
	k, tree := scene(t)
	abort := proc.Signal{Num: 6, Name: "SIGABRT"}
	sent := tree.SignalHung(abort)
	if got := k[worker].got; !slices.Equal(got, []proc.Signal{abort, CONT}) || len(sent) != 2 {
		t.Errorf("the worker got %v; reported: %v", got, sent)
	}
	for i, s := range sent {
		if s.Target != "process" || s.PID != worker || s.Err != nil || s.Signal != k[worker].got[i] {
			t.Errorf("reported: %+v", s)
		}
	}
	if len(k[child].got) > 0 {
		t.Error("the worker's child got one too")
	}
	k[worker].State, k[worker].got = 'Z', nil
	if sent := tree.SignalHung(abort); len(sent) > 0 || len(k[worker].got) > 0 {
		t.Errorf("a zombie was sent %v", sent)
	}
}
