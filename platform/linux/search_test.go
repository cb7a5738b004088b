//go:build linux

package linux

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/stop"
	"leash/internal/testkit"
)

func TestScan(t *testing.T) {
	k := newTestKernel(t)
	labelled := sleeper(t, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1")
	plain := sleeper(t)
	dead, alive := zombie(t), testkit.Headless(t, 1)
	rows := make(map[int]row)
	asked := monotonic()
	table, err := k.scan()
	if err != nil {
		t.Error(err)
	}
	findsUs(t, table, asked)
	if err := eachRow(table, func(r row) { rows[int(r.PID)] = r }); err != nil {
		t.Fatal(err)
	}
	sid, err := unix.Getsid(labelled.PID)
	if err != nil {
		t.Fatal(err)
	}
	want := row{uint32(labelled.PID), uint32(labelled.PID), uint32(sid), labelHash("abc1234", "w1")}
	if got := rows[labelled.PID]; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if r, ok := rows[plain.PID]; !ok || r.Label != 0 {
		t.Errorf("without labels: %+v, %t", r, ok)
	}
	if _, ok := rows[dead.PID]; ok {
		t.Error("a zombie is no candidate")
	}
	if _, ok := rows[alive.PID]; !ok {
		t.Error("a process without its first thread is alive")
	}
	if _, ok := rows[2]; ok {
		if name, _ := os.ReadFile("/proc/2/comm"); string(name) == "kthreadd\n" {
			t.Error("kernel threads are no candidates")
		}
	}
}

// guarded is the tree of a worker that runs, on a System.
type guarded struct {
	*System
	tree *stop.Tree
}

func guarding(t *testing.T, k *Kernel, pid int) guarded {
	t.Helper()
	s := systemOf(t, k, "auto")
	worker, err := s.OpenWorker(pid)
	if err != nil {
		t.Fatal(err)
	}
	g := guarded{s, &stop.Tree{Kernel: s, Root: worker, Protected: s.Ancestors()}}
	t.Cleanup(func() {
		g.tree.Close()
		worker.Close()
	})
	if _, err := g.tree.Adopt(); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g guarded) label(run, worker string) { g.tree.RunID, g.tree.WorkerID = run, worker }

func (g guarded) searchAll() ([]int, error) { return g.search(g.tree) }

// orphans starts one process in the group and one in the session only, whose parents exit at
// once.
const orphans = `(sleep 1000000 & echo $!)
$0 -c 'import os, subprocess
print(subprocess.Popen(["sleep", "1000001"], preexec_fn=os.setpgrp).pid)'
exec sleep 1000002`

// Candidates are the processes in the worker's group, in its session, and with both its
// labels; each of these finds orphans that following parents misses.
func TestSearch(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		stateDir(t)
		cmd := exec.Command("/bin/sh", "-c", orphans, testkit.NeedPython(t))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		root := start(t, cmd)
		member, session := printedPID(t, root), printedPID(t, root)
		both := sleeper(t, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1")
		runOnly := sleeper(t, "LEASH_RUN_ID=abc1234")
		sibling := sleeper(t, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w2")
		bystander := sleeper(t)

		h := guarding(t, k, root.PID)
		if info := h.tree.Worker(); info.SID != root.PID || info.PGID != root.PID {
			t.Fatalf("the set-up failed: %+v", info)
		}
		if info, err := k.statOf(session.PID); err != nil || info.PGID == root.PID || info.SID != root.PID {
			t.Fatalf("the set-up failed: %+v, %v", info, err)
		}
		h.label("abc1234", "w1")
		found, err := h.searchAll()
		if err != nil {
			t.Error(err)
		}
		for what, c := range map[string]struct {
			pid  int
			want bool
		}{
			"of its group": {member.PID, true}, "of its session": {session.PID, true},
			"with both labels": {both.PID, true}, "of the run only": {runOnly.PID, false},
			"of another worker": {sibling.PID, false}, "a bystander": {bystander.PID, false},
		} {
			if slices.Contains(found, c.pid) != c.want {
				t.Errorf("%s: %d in %v", what, c.pid, found)
			}
		}
		h.label("abc1234", "")
		if found, _ := h.searchAll(); slices.Contains(found, both.PID) || slices.Contains(found, bystander.PID) {
			t.Errorf("a process with the run ID alone counts as the worker's: %v", found)
		}
	})
}

// A worker that leads a group but no session: its orphans are in the group.
func TestSearchByGroup(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		stateDir(t)
		root := shell(t, "(sleep 1000000 & echo $!); exec sleep 1000001")
		member, bystander := printedPID(t, root), sleeper(t)
		h := guarding(t, k, root.PID)
		if info := h.tree.Worker(); info.SID == root.PID || info.PGID != root.PID {
			t.Fatalf("the set-up failed: %+v", info)
		}
		if found, _ := h.searchAll(); !slices.Contains(found, member.PID) || slices.Contains(found, bystander.PID) {
			t.Errorf("%v: want %d, not %d", found, member.PID, bystander.PID)
		}
	})
}

// Where no process can be found, the table is not scanned.
func TestNeedsSearch(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		dir := stateDir(t)
		inGroup := shell(t, "sleep 1000000 & echo $!; wait")
		h := guarding(t, k, printedPID(t, inGroup).PID) // leads nothing
		if found, err := h.searchAll(); needsSearch(h.tree) || found != nil || err != nil {
			t.Error("a worker that leads neither group nor session, without labels")
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("a table was made: %v, %v", files, err)
		}
		h.label("abc1234", "w1")
		if !needsSearch(h.tree) {
			t.Error("labels may be found anywhere")
		}
		if !needsSearch(guarding(t, newKernelLike(t, k), inGroup.PID).tree) {
			t.Error("a group that lives")
		}
	})
}

func newKernelLike(t *testing.T, k *Kernel) *Kernel {
	t.Helper()
	if k.PIDFDs {
		return newTestKernel(t)
	}
	return withoutPIDFDs(newTestKernel(t))
}
