//go:build windows

package windows

import (
	"os"
	"syscall"
	"testing"

	win "golang.org/x/sys/windows"

	"leash/internal/system"
	"leash/internal/testkit"
)

// TestCreatedInJob: a worker is in the job object from its creation, and so it ends with
// us even if we are killed at that moment.
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
	pi, err := create([]win.Handle{j.h}, system.Command{Path: self, Args: []string{self}, Env: append(os.Environ(), roleVar+"=sleep")})
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
