//go:build windows

package windows

import (
	"os"
	"syscall"
	"testing"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
	"leash/internal/testkit"
)

// TestCreatedInJob: a worker is in the job object before anybody could put it
// there, and so it ends with us even if we are killed at that moment.
func TestCreatedInJob(t *testing.T) {
	j, err := newJob(true)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close(false)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pi, err := create(j, self, []string{self}, append(os.Environ(), roleVar+"=sleep"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer win.CloseHandle(pi.Process)
	defer win.CloseHandle(pi.Thread)
	id := testkit.Identify(t, int(pi.ProcessId))
	testkit.Adopt(t, id)
	if pids := j.pids(); !j.has(pi.Process) || len(pids) != 1 || pids[0] != id.PID {
		t.Errorf("in the job: %v, %v", j.has(pi.Process), pids)
	}
	win.CloseHandle(j.h) // as the system does when we end
	j.h = 0
	testkit.AwaitGone(t, id)
}

// A number that is no handle is no stream: the worker has none then, as we have.
func TestStreamsThatAreNone(t *testing.T) {
	_, w := pipe(t)
	in, err := inheritable(0x7654, syscall.InvalidHandle, syscall.Handle(w.Fd()))
	defer in.close()
	if err != nil || in.std[0] != 0 || in.std[1] != 0 || in.std[2] == 0 || len(in.all) != 1 || in.all[0] != in.std[2] {
		t.Errorf("%+v, %v", in, err)
	}
}

// TestEmptyJobIsNoEnd: a worker has left its job a moment before its handle says
// that it has ended, and until then nobody knows how.
func TestEmptyJobIsNoEnd(t *testing.T) {
	j, err := newJob(true)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close(false)
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	outside := testkit.Start(t, command("sleep"))
	hd, err := k.open(outside.PID)
	if err != nil {
		t.Fatal(err)
	}
	defer hd.Close()
	h := &Host{Kernel: k, worker: hd, job: j, kin: newKin(k, hd)}
	defer h.kin.close()
	if h.empty() {
		t.Error("nothing is left, it says, while the worker lives")
	}
	outside.Kill()
	outside.Wait()
	child := testkit.Start(t, command("sleep"))
	if h.kin.held[child.PID], err = k.open(child.PID); err != nil {
		t.Fatal(err)
	}
	if h.empty() {
		t.Error("nothing is left, it says, while a child lives")
	}
	child.Kill()
	child.Wait()
	if !h.empty() {
		t.Error("nothing is left, and it says otherwise")
	}
}

// TestEndsWhileCounted: when a count finds nobody, it is known how the worker ended,
// even if he did so while we counted.
func TestEndsWhileCounted(t *testing.T) {
	h := newTestHost(t, "event")
	started(t, h, "fork")
	empty := h.tree.Empty
	h.tree.Empty = func() bool {
		if err := h.worker.Signal(proc.KILL); err != nil {
			t.Error(err)
		}
		await(t, "an empty job", empty)
		return true
	}
	if c := h.Count(); c.Living != 0 || !c.Proven {
		t.Errorf("%+v", c)
	}
	if exit, ok := h.Exit(); !ok || exit.Signal != proc.KILL {
		t.Errorf("nobody is left, and of the worker's end is known: %v, %+v", ok, exit)
	}
}

// TestDeafWhileAttached: in somebody else's console we hear no CTRL_C, not even
// before we have a handler there.
func TestDeafWhileAttached(t *testing.T) {
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	self, err := k.open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := command("sleep")
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: win.CREATE_NO_WINDOW}
	p := testkit.Start(t, cmd)
	p.Stdout.Await("ready")
	var s system
	if err := s.attach(p.PID); err != nil {
		t.Fatal(err)
	}
	if !self.deafToCtrlC() {
		t.Error("CTRL_C is heard in the console of another")
	}
	s.free()
	if self.deafToCtrlC() {
		t.Error("CTRL_C is ignored for ever, and by all that are started")
	}
	if err := s.attach(1 << 30); err == nil || self.deafToCtrlC() {
		t.Errorf("nobody has that number: %v, and CTRL_C is ignored: %v", err, self.deafToCtrlC())
	}
}
