//go:build windows

package windows

import (
	"os"
	"testing"

	win "golang.org/x/sys/windows"

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
	h := &Host{Kernel: k, worker: hd, job: j}
	if h.empty() {
		t.Error("nothing is left, it says, while the worker lives")
	}
	outside.Kill()
	outside.Wait()
	if !h.empty() {
		t.Error("nothing is left, and it says otherwise")
	}
}
