//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/testkit"
)

// lose kills watchdogs of a pool whose parent lives on.
func (p *pool) lose(numbers ...int) (orphans []testkit.Ident) {
	p.t.Helper()
	for _, n := range numbers {
		if err := p.watchdogs[n].Signal(unix.SIGKILL); err != nil {
			p.t.Fatal(err)
		}
		testkit.AwaitGone(p.t, p.watchdogs[n])
		orphans = append(orphans, p.workers[n], p.children[n])
	}
	testkit.StillAlive(p.t, orphans...)
	return orphans
}

// A worker whose watchdog was killed while its parent lives is listed as
// unguarded, and ended by --unguarded only. Workers that have a watchdog are not.
func TestReaperAndUnguardedWorkers(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p, other := startPool(t, "guard", "guard", "unlabelled", "run"), startPool(t, "guard")
		lost, foreign := p.lose(0, 2), other.lose(0)
		kept := []testkit.Ident{p.workers[1], p.children[1], p.workers[3], p.children[3]}
		list := reapWith(t, reaper(t, "list", "--json"))
		list.expectState(t, p.runID, "alive")
		for _, id := range append(append(lost, foreign...), kept...) {
			want := id != kept[0] && id != kept[1] && id != kept[2] && id != kept[3]
			if got := list.process(id.PID); got.PID == 0 || got.Unguarded != want || got.Action != "none" {
				t.Errorf("process %v: %+v", id, got)
			}
		}
		status, text, _ := testkit.Run(t, reaper(t, "list"))
		if status != 0 || !strings.Contains(text, "unguarded") {
			t.Errorf("status %d:\n%s", status, text)
		}
		status, text, _ = testkit.Run(t, reaper(t, "explain", itoa(lost[0].PID)))
		if status != 0 || !strings.Contains(text, "it is unguarded") || !strings.Contains(text, "would leave it alone") {
			t.Errorf("status %d:\n%s", status, text)
		}
		for _, args := range [][]string{{}, {"--unclaimed"}, {"--dry-run", "--unguarded"}} {
			r := reap(t, args...)
			if r.Terminated+r.Killed+r.Survived != 0 {
				t.Errorf("%q: %s", args, r.stdout)
			}
		}
		testkit.StillAlive(t, append(append(lost, foreign...), kept...)...)

		r := reap(t, "--unguarded", "--run-id", other.runID)
		r.expectEnded(t, foreign...)
		testkit.StillAlive(t, lost...)
		r = reap(t, "--unguarded")
		r.expectEnded(t, lost...)
		r.expectState(t, p.runID, "alive")
		r.expect(t, "none", kept...)
		testkit.StillAlive(t, kept...)
		testkit.StillAlive(t, p.watchdogs[1], p.watchdogs[3], p.parent.Ident)
	})
}

// One worker of a run is ended, with its tree, and no other.
func TestReaperOfOneWorker(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p, dead := startPool(t, "guard", "guard", "unlabelled"), startPool(t, "guard", "unlabelled")
		orphans := dead.kill()
		r := reap(t, "--run-id", p.runID, "--worker-id", "w9")
		if r.Terminated+r.Killed != 0 {
			t.Errorf("a worker that is not there: %s", r.stdout)
		}
		r = reap(t, "--run-id", p.runID, "--worker-id", "w1", "--worker-id", "w3")
		testkit.AwaitGone(t, p.workers[0], p.children[0], p.workers[2], p.children[2])
		r.expect(t, "none", p.workers[1], p.children[1])
		testkit.StillAlive(t, p.workers[1], p.children[1])
		testkit.StillAlive(t, p.watchdogs[1])
		testkit.StillAlive(t, orphans...)
		reap(t, "--run-id", dead.runID, "--worker-id", "w2").expectEnded(t, dead.workers[1], dead.children[1])
		testkit.StillAlive(t, dead.workers[0], dead.children[0])
	})
}

// ownLeaf makes a leaf beside our own cgroup as a watchdog of that PID would have.
func ownLeaf(t *testing.T, pid int, tick uint64) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	base := ""
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " - cgroup2 ") {
			base = strings.Fields(line)[4]
		}
	}
	_, path, ok := strings.Cut("\n"+string(own), "\n0::")
	if base == "" || !ok {
		testkit.Skip(t, "this test needs cgroup v2")
	}
	path, _, _ = strings.Cut(path, "\n")
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, path, "leash-"+strings.Trim(link, "pid:[]")+"-"+itoa(pid)+"-"+itoa(int(tick)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		testkit.Skip(t, "this test needs to make cgroups: "+err.Error())
	}
	t.Cleanup(func() { os.Remove(dir) })
	return dir
}

// inLeaf starts a process without labels, in a session of its own, in a leaf.
func inLeaf(t *testing.T, dir string) testkit.Ident {
	t.Helper()
	p := testkit.Start(t, exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs" && exec env -i setsid -f sh -c 'echo PID $$; exec sleep 1000000'`, dir))
	return identOf(t, p.Stdout, "PID")
}

// A watchdog that was killed before it wrote its record leaves its cgroup: who is in
// it is ended. What is in that of a living one is not.
func TestReaperAndTheLeafOfADeadWatchdog(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		gone := testkit.Start(t, exec.Command("true"))
		gone.Wait()
		testkit.AwaitGone(t, gone.Ident)
		living := sleeper(t)
		dead, alive := ownLeaf(t, gone.PID, gone.Start+1), ownLeaf(t, living.PID, living.Start+1)
		orphan, bystander := inLeaf(t, dead), inLeaf(t, alive)
		if r := reap(t, "--dry-run"); r.process(orphan.PID).Action != "would_terminate" || r.process(bystander.PID).PID != 0 {
			t.Errorf("%s", r.stdout)
		}
		r := reap(t)
		r.expectEnded(t, orphan)
		r.expectState(t, "", "dead")
		testkit.StillAlive(t, bystander)
		if _, err := os.Stat(dead); err == nil {
			t.Error("the leaf is still there")
		}
		if _, err := os.Stat(alive); err != nil {
			t.Error(err)
		}
		if err := bystander.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testkit.AwaitGone(t, bystander)
	})
}

// What a PID namespace left that has ended as a whole is removed.
func TestReaperSweepsAfterANamespace(t *testing.T) {
	if link, err := os.Readlink("/proc/self/ns/pid"); err != nil || link != "pid:[4026531836]" {
		testkit.Skip(t, "this test needs the first PID namespace")
	}
	testkit.NeedRoot(t)
	t.Setenv("LEASH_STATE_DIR", stateDir(t))
	b := startBox(t)
	before := records(t, root())
	if len(before) != 2 {
		t.Fatalf("records: %q", before)
	}
	// Only that run's records are looked at: the machine is not ours alone.
	if reap(t, "--run-id", b.runID); len(records(t, root())) != 2 {
		t.Error("a record of a living namespace was removed")
	}
	if err := b.init.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testkit.AwaitGone(t, append(b.members(), b.init)...)
	text, err := os.ReadFile(filepath.Join(root().state, before[0]))
	if err != nil {
		t.Fatal(err)
	}
	record, err := ledger.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	other := record // of a namespace of another boot's number, still there
	other.Boot, other.RunID = "b007", newRunID()
	other.Watchdog.Start++
	save(t, other)
	reap(t, "--run-id", b.runID)
	if left := records(t, root()); len(left) != 1 || left[0] != other.Name() {
		t.Errorf("records: %q", left)
	}
}
