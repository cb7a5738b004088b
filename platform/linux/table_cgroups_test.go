//go:build linux

package linux

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/internal/testkit"
	"leash/scan"
)

// naming is a snapshot of records that name one cgroup.
func naming(table *Table, dir string, count int) *snapshot.Snapshot {
	s := &snapshot.Snapshot{Boot: table.boot, NS: table.ns}
	for n := range count {
		s.Records = append(s.Records, ledger.Record{Boot: table.boot, NS: table.ns, Cgroup: dir,
			Watchdog: proc.ID{PID: 12, Start: uint64(n + 1)}})
	}
	return s
}

// subgroups creates cgroups below one, and removes them when the test ends.
func subgroups(t *testing.T, dir string, count int) {
	t.Helper()
	for n := range count {
		mkdir(t, dir+"/g"+itoa(n))
	}
	t.Cleanup(func() {
		for n := range count {
			os.Remove(dir + "/g" + itoa(n))
		}
	})
}

// A cgroup is read once, however many records name it.
func TestACgroupIsReadOnce(t *testing.T) {
	table, base := ownBase(t)
	leaf := mkdir(t, base+"/"+leafName(table.ns, 12, 345))
	const below = 100
	subgroups(t, leaf, below)
	sleeper := occupy(t, leaf+"/g7")
	g := table.groups(naming(table, leaf, 2000))
	if got, want := g.left[0], maxSubgroups-below; got != want {
		t.Errorf("%d cgroups may be read yet, want %d", got, want)
	}
	if got := g.inside[sleeper.PID]; len(got) != maxNaming || got[0] != 0 {
		t.Errorf("records %v", got)
	}
	if len(g.passed) != 1 || !g.partial[leaf] || !strings.Contains(g.passed[0].Error(), leaf) {
		t.Errorf("passed over: %v, %v", g.passed, g.partial)
	}
	g = table.groups(naming(table, leaf, 1))
	if got := g.inside[sleeper.PID]; !slices.Equal(got, []int{0}) || g.passed != nil || len(g.partial) > 0 {
		t.Errorf("records %v, %v, %v", got, g.passed, g.partial)
	}
	sleeper.Kill()
	sleeper.Wait()
}

// Above the bound no cgroup is read, and that is reported.
func TestCgroupsOfAUserAreBounded(t *testing.T) {
	table, base := ownBase(t)
	leaf := mkdir(t, base+"/"+leafName(table.ns, 12, 345))
	subgroups(t, leaf, 20)
	g := &groups{left: map[uint32]int{0: 5, 1: 100}, partial: map[string]bool{}}
	reads := 0
	sleeper := occupy(t, leaf)
	g.walk(leaf, 0, nil, nil, func(pid int, _ *snapshot.Leaf) {
		if reads++; pid != sleeper.PID {
			t.Errorf("process %d", pid)
		}
	})
	if g.left[0] != 0 || g.left[1] != 100 || reads != 1 || !g.partial[leaf] || len(g.passed) != 1 {
		t.Errorf("%v, %d reads, %v, %v", g.left, reads, g.partial, g.passed)
	}
	g.walk(leaf, 1, nil, nil, func(int, *snapshot.Leaf) {})
	if g.left[1] != 80 {
		t.Errorf("another user's: %v", g.left)
	}
	// A record is kept if its cgroup was not read completely.
	s := naming(table, leaf, 1)
	r := &s.Records[0]
	s.Lives = map[proc.ID]snapshot.Life{r.Watchdog: snapshot.Dead, r.Worker: snapshot.Dead}
	if !scan.Stale(s, r) {
		t.Error("the record should be stale")
	}
	if s.Partial = g.partial; scan.Stale(s, r) {
		t.Error("the record is stale, and what is in its cgroup is unknown")
	}
	sleeper.Kill()
	sleeper.Wait()
}

// A process in the leaf of a dead watchdog is found, whatever its labels; one in the leaf of a
// living watchdog, or in another's leaf below, is not.
func TestLeavesOfDeadWatchdogs(t *testing.T) {
	table, base := ownBase(t)
	gone := testkit.Start(t, exec.Command("true"))
	gone.Wait()
	tick := table.Kernel.Tick()
	dead := mkdir(t, base+"/"+leafName(table.ns, gone.PID, tick))
	below := mkdir(t, dead+"/below")
	other := mkdir(t, dead+"/"+leafName(table.ns, os.Getpid(), tick))
	living := mkdir(t, base+"/"+leafName(table.ns, os.Getpid(), tick))
	foreign := mkdir(t, base+"/"+leafName(table.ns+1, gone.PID, tick))
	t.Cleanup(func() { os.Remove(below); os.Remove(other) })
	var all []*testkit.Proc
	for _, dir := range []string{dead, below, other, living, foreign} {
		all = append(all, occupy(t, dir))
	}
	s, err := table.Take(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		var leaf *snapshot.Leaf
		for k := range s.Procs {
			if s.Procs[k].PID == p.PID {
				leaf = s.Procs[k].Leaf
			}
		}
		if (leaf != nil) != (i < 2) || leaf != nil && (leaf.PID != gone.PID || leaf.Tick != tick || leaf.UID != 0) {
			t.Errorf("number %d: %+v", i, leaf)
		}
	}
	if !slices.ContainsFunc(s.Procs, func(p snapshot.Process) bool { return p.PID == os.Getpid() }) {
		t.Error("their ancestors are not in the table")
	}
	for _, p := range all {
		p.Kill()
		p.Wait()
	}
}

// A PID namespace has ended when no process of the machine is in it.
func TestNamespacesThatAreGone(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare")
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	table, err := NewTable(k)
	if err != nil {
		t.Fatal(err)
	}
	if table.ns != initialNS {
		testkit.Skip(t, "this test needs the first PID namespace")
	}
	p := testkit.Start(t, exec.Command("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo ready; exec sleep 1000000"))
	p.Stdout.Await("ready")
	var inner uint64
	inside := testkit.Descendants(t, p.PID)
	for _, id := range inside {
		if inner, err = namespaceOf(itoa(id.PID)); err != nil {
			t.Fatal(err)
		}
	}
	if inner == 0 || inner == table.ns {
		t.Fatalf("namespace %d", inner)
	}
	if gone := table.NamespaceEnded(); gone(inner) || gone(table.ns) || gone(0) || !gone(1) {
		t.Error("a namespace that has a process is gone, or one that has none is not")
	}
	p.Kill()
	p.Wait()
	testkit.AwaitGone(t, append(inside, p.Ident)...)
	if gone := table.NamespaceEnded(); !gone(inner) || gone(table.ns) {
		t.Error("a namespace that has no process is not gone")
	}
	table.uid = 1
	if table.NamespaceEnded()(inner) {
		t.Error("an ordinary user cannot know")
	}
	table.uid, table.ns = 0, inner
	if table.NamespaceEnded()(7) {
		t.Error("in another namespace it cannot be known")
	}
}

func TestHidesProcesses(t *testing.T) {
	const good = "22 1 0:20 / /proc rw,relatime shared:1 - proc proc rw\n"
	for text, want := range map[string]bool{
		good: false, "": true, "22 1 0:20 / /process rw - proc proc rw\n": true, "/proc\n": true,
		"22 1 0:20 / /proc rw - proc proc rw,hidepid=invisible\n":      true,
		"22 1 0:20 / /proc rw - proc proc rw,gid=5,hidepid=2\n":        true,
		"22 1 0:20 / /proc rw - tmpfs proc rw\n":                       true,
		good + "23 22 0:21 / /proc rw - proc proc rw,hidepid=2\n":      true,
		"23 22 0:21 / /proc rw - proc proc rw,hidepid=2\n" + good:      false,
		good + "23 22 0:21 / /proc/sys/x rw - binfmt_misc binfmt rw\n": false,
	} {
		if got := hidesProcesses([]byte(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
