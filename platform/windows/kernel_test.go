//go:build windows

package windows

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"leash/internal/proc"
)

// The table and the handle must tell the same of a process: descendants are found
// by the one and verified by the other.
func TestTableAgreesWithHandle(t *testing.T) {
	k := newTestKernel(t)
	a := start(t, "fork", 0)
	child := opened(t, k, a.fork(t, "plain"))
	h := opened(t, k, a.PID())
	table, err := k.table()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range table {
		for _, p := range []*handle{h, child} {
			if e.pid == p.pid {
				found++
				if e.start != p.start || e.ppid != p.ppid {
					t.Errorf("%+v in the table, %d of %d by its handle", e, p.start, p.ppid)
				}
			}
		}
	}
	if found != 2 || h.ppid != os.Getpid() || child.ppid != h.pid {
		t.Errorf("%d found; parents %d, %d", found, h.ppid, child.ppid)
	}
	if at := time.Unix(0, (int64(h.start)-epoch)*100); time.Since(at) < 0 || time.Since(at) > time.Hour {
		t.Errorf("created at %v", at)
	}
}

func TestLabelsAndArguments(t *testing.T) {
	k := newTestKernel(t)
	a := start(t, "fork", 0, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=Wörk er")
	h := opened(t, k, a.PID())
	if run, worker := h.Labels(); run != "abc1234" || worker != "Wörk er" {
		t.Errorf("%q, %q", run, worker)
	}
	cmd := command("sleep")
	cmd.Args = append(cmd.Args, "--run-id", "zyx9876")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	out.Read(make([]byte, 1)) // it runs
	if got := opened(t, k, cmd.Process.Pid).runInArgs(); got != "zyx9876" {
		t.Errorf("%q in its arguments", got)
	}
	if run, _ := opened(t, k, cmd.Process.Pid).Names(); run != "zyx9876" {
		t.Errorf("its run is %q, and its arguments name another", run)
	}
	if run, worker := h.Names(); run != "abc1234" || worker != "Wörk er" {
		t.Errorf("names %q, %q", run, worker)
	}
	if run, worker := opened(t, k, os.Getpid()).Labels(); run != os.Getenv("LEASH_RUN_ID") || worker != "" {
		t.Errorf("ours: %q, %q", run, worker)
	}
}

// Where the system grants little, the process is watched and not signalled.
func TestDenied(t *testing.T) {
	k := newTestKernel(t)
	a := start(t, "fork", 0)
	for _, rights := range wanted[3:] {
		h, err := k.openWith(a.PID(), []uint32{rights})
		if err != nil {
			t.Fatal(err)
		}
		for _, sig := range []proc.Signal{{}, proc.KILL} {
			if err := h.Signal(sig); !errors.Is(err, proc.ErrDenied) {
				t.Errorf("%#x: %v: %v", rights, sig, err)
			}
		}
		if info, err := h.Info(); err != nil || info.Start != opened(t, k, a.PID()).start {
			t.Errorf("%#x: %+v, %v", rights, info, err)
		}
		if _, err := h.environ(); err == nil {
			t.Errorf("%#x: its environment is read", rights)
		}
		a.End(t, k)
		if _, err := h.Info(); !errors.Is(err, proc.ErrGone) {
			t.Errorf("%#x: after its end: %v", rights, err)
		}
		h.Close()
		a = start(t, "fork", 0)
	}
}

// A number that is no multiple of four opens another process.
func TestNumberInBetween(t *testing.T) {
	k := newTestKernel(t)
	a := start(t, "fork", 0)
	for _, pid := range []int{a.PID() + 1, a.PID() + 3, -1, 0, maxPID + 1} {
		if _, err := k.open(pid); !errors.Is(err, proc.ErrGone) {
			t.Errorf("%d: %v", pid, err)
		}
	}
}

func TestOurselves(t *testing.T) {
	k := newTestKernel(t)
	all := k.ancestors()
	if len(all) == 0 || all[0].PID != os.Getpid() {
		t.Fatalf("%+v", all)
	}
	a := start(t, "fork", 0)
	h := opened(t, k, a.PID())
	if info, err := h.Info(); err != nil || !info.Leash {
		t.Errorf("a program of our own name beside us is no watchdog: %+v, %v", info, err)
	}
	if h.worker = true; h.uid == 0 || h.uid != opened(t, k, os.Getpid()).uid {
		t.Errorf("user %d", h.uid)
	}
	if info, _ := h.Info(); info.Leash {
		t.Error("the worker is taken for a watchdog")
	}
}

// A process that was there before one of the tree was, and did not descend from it then,
// never will, though the number of its parent is that one's by now, and though the clock
// was set back so that it seems to be the younger.
func TestStrangerWithTheParentsNumber(t *testing.T) {
	k := newTestKernel(t)
	before := opened(t, k, start(t, "fork", 0).PID())
	n := newDescendants(k, &handle{k: k, pid: os.Getpid(), start: before.start + 1})
	t.Cleanup(n.close)
	n.root.start = 1
	after := opened(t, k, start(t, "fork", 0).PID())
	children, err := k.children(os.Getpid(), nil, n.stranger)
	if err != nil || slices.Contains(children, before.pid) || !slices.Contains(children, after.pid) {
		t.Errorf("%d are children; %d was there before, %d came after", children, before.pid, after.pid)
	}
	if got := n.living(); !slices.Equal(got, []int{after.pid}) {
		t.Errorf("%d descend; %d was there before, %d came after", got, before.pid, after.pid)
	}
}
