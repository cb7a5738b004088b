package stop

import (
	"errors"
	"strings"
	"testing"

	"leash/internal/proc"
)

var errFew = errors.New("too many open files")

// planted is the tree of a worker (200) with a child (201) and a grandchild (202).
func planted(t *testing.T) (table, *Tree) {
	t.Helper()
	k := table{}
	for pid := 200; pid < 203; pid++ {
		k[pid] = &entry{Info: proc.Info{ID: proc.ID{PID: pid, Start: uint64(pid)}, PPID: pid - 1, PGID: pid, SID: pid, State: 'S'}}
	}
	k[200].PPID = 1
	root, _ := k.Open(200)
	tree := &Tree{Kernel: k, Root: root}
	if _, err := tree.Adopt(); err != nil {
		t.Fatal(err)
	}
	return k, tree
}

// end makes it a zombie that is reaped, and its children children of init.
func (t table) end(pid int) {
	t[pid].State, t[pid].reaped = 'Z', true
	for _, e := range t {
		if e.PPID == pid {
			e.PPID = 1
		}
	}
}

func expect(t *testing.T, tree *Tree, living int, words ...string) {
	t.Helper()
	if c := tree.Count(); c.Living != living || c.Proven {
		t.Errorf("%+v, want %d", c, living)
	}
	left := tree.Survivors()
	if len(left) != living {
		t.Errorf("left: %+v", left)
	}
	for _, w := range words {
		found := false
		for _, l := range left {
			found = found || strings.Contains(l.Reason, w) && strings.Contains(l.Reason, errFew.Error())
		}
		if !found {
			t.Errorf("%q is not said: %+v", w, left)
		}
	}
}

// Children that could not be listed before their parent exited may live, so they count.
func TestChildrenThatCouldNotBeListed(t *testing.T) {
	for _, pid := range []int{200, 201} {
		k, tree := planted(t)
		if pid == 201 {
			tree.Scan(false)
			k[202].reaped = true // so that it is not known yet
			tree.Scan(false)
			k[202].reaped = false
		}
		k[pid].unlisted = errFew
		tree.Scan(false)
		k.end(200)
		k.end(201)
		expect(t, tree, 1, "before it ended")
		expect(t, tree, 1, "before it ended")
	}
}

// If a later list succeeds while the parent lives, no process is missing.
func TestChildrenThatAreListedLater(t *testing.T) {
	k, tree := planted(t)
	k[200].unlisted = errFew
	expect(t, tree, 1) // the worker itself
	k[200].unlisted = nil
	expect(t, tree, 3)
	k.end(200)
	k.end(201)
	k.end(202)
	expect(t, tree, 0)
}

// With a subreaper none is lost: orphans become its children.
func TestNothingIsLostToASubreaper(t *testing.T) {
	k, tree := planted(t)
	tree.Parent = 100
	k[100] = &entry{Info: proc.Info{ID: proc.ID{PID: 100, Start: 100}, PPID: 1, State: 'S'}}
	tree.Protected = []proc.Info{k[100].Info}
	k[200].unlisted = errFew
	tree.Scan(false)
	k.end(200)
	k[201].PPID = 100
	expect(t, tree, 2)
	k[100].unlisted = errFew
	k.end(201)
	k.end(202)
	expect(t, tree, 1, "its children could not be listed")
	k[100].unlisted = nil
	expect(t, tree, 0)
}

// A process that could not be opened is tried again, also when its parent has exited and
// no list names it any more.
func TestUnopenedProcessIsNotForgotten(t *testing.T) {
	k, tree := planted(t)
	k[201].shut = errFew
	tree.Scan(false)
	k.end(200)
	expect(t, tree, 1, "could not be opened")
	k[201].shut = nil
	expect(t, tree, 2) // and its child
	k.end(201)
	k.end(202)
	expect(t, tree, 0)
}

// It stays a child in the tree when a search names it too.
func TestUnopenedChildThatASearchNames(t *testing.T) {
	k, tree := planted(t)
	named := []int{201}
	tree.Search = func() ([]int, error) { return named, nil }
	k[201].shut = errFew
	tree.Kill() // follows, then searches
	named = nil
	k.end(200)
	expect(t, tree, 1, "could not be opened")
	k[201].shut = nil
	expect(t, tree, 2) // and its child
}

// By the time it can be opened its PID may have been reused.
func TestPIDOfAnUnopenedProcess(t *testing.T) {
	k, tree := planted(t)
	k[201].shut = errFew
	tree.Scan(false)
	k.end(200)
	k.end(201)
	k[201] = &entry{Info: proc.Info{ID: proc.ID{PID: 201, Start: k.Tick() + 1}, PPID: 1, State: 'S'}}
	expect(t, tree, 0)
	// In that very tick it may be either.
	k, tree = planted(t)
	k[201].shut, k[201].Start = errFew, k.Tick()
	tree.Scan(false)
	k.end(200)
	k[201].shut = nil
	expect(t, tree, 1, "before its parent ended")
	tree.Kill()
	if len(k[201].got) > 0 {
		t.Errorf("it was sent %v", k[201].got)
	}
}

// An incomplete search proves nothing, and is tried again.
func TestSearchThatFails(t *testing.T) {
	k, tree := planted(t)
	var err error
	tree.Search = func() ([]int, error) { return nil, err }
	err = errFew
	k.end(200)
	k.end(201)
	k.end(202)
	expect(t, tree, 1, "could not be searched for")
	err = nil
	expect(t, tree, 0)
}

// A watchdog in the tree is not counted, but its children are.
func TestChildrenOfAWatchdogThatCouldNotBeListed(t *testing.T) {
	k, tree := planted(t)
	k[201].Leash = true
	tree.Scan(false)
	k.end(202)
	k.end(200)
	expect(t, tree, 0)
	k[201].unlisted = errFew
	expect(t, tree, 1, "its children could not be listed")
}
