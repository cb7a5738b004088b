//go:build linux

package linux

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
	"leash/platform/posix"
	"leash/watch"
)

// Signals that the kernel may have sent because of our own actions are not reported.
func TestOwnDoing(t *testing.T) {
	s := eventSystem(t)
	for sig, told := range map[syscall.Signal]int{unix.SIGPIPE: 0, unix.SIGUSR1: 1, unix.SIGTERM: 1, unix.SIGXCPU: 1} {
		s.wakes = s.wakes[:0]
		if s.signalled(sig); len(s.wakes) != told {
			t.Errorf("%v is told as %v", sig, s.wakes)
		}
	}
}

func TestCatches(t *testing.T) {
	p := start(t, exec.Command(testkit.NeedPython(t), "-c", `
import signal
for number in (signal.SIGUSR1, signal.SIGTSTP):
    signal.signal(number, lambda *_: None)
`+pauses))
	p.Stdout.Await("ready")
	h := open(t, newTestKernel(t), p.PID)
	for sig, want := range map[unix.Signal]bool{unix.SIGUSR1: true, unix.SIGTSTP: true, unix.SIGUSR2: false, unix.SIGTERM: false} {
		if got := h.Catches(posix.SignalOf(int(sig))); got != want {
			t.Errorf("%v: %t", sig, got)
		}
	}
	p.Kill()
	p.Wait()
	if h.Catches(posix.SignalOf(int(unix.SIGUSR1))) {
		t.Error("one that is gone catches nothing")
	}
}

// workerOn is a worker without a process of its own, on this system.
func workerOn(t *testing.T, k *Kernel, backend string) (*System, *watch.Worker) {
	t.Helper()
	s := systemOf(t, k, backend)
	w := watch.NewWorker(s, time.Hour, -1, 0)
	t.Cleanup(w.Close)
	return s, w
}

// events waits once; it does not block if nothing has happened.
func events(t *testing.T, w *watch.Worker) []watch.Event {
	t.Helper()
	list, err := w.Wait(w.Sys.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(list)
}

// SIGCONT may mean that a parent has exited (PR_SET_PDEATHSIG), but does not prove it.
func TestHintOfAParentsDeath(t *testing.T) {
	for backend, by := range map[string]string{"event": "pidfd", "poll": "poll"} {
		t.Run(backend, func(t *testing.T) {
			s, w := workerOn(t, newTestKernel(t), backend)
			first, second := sleeper(t), sleeper(t)
			for _, p := range []*testkit.Proc{first, second} {
				if alive, err := w.AddParent(p.PID); err != nil || !alive {
					t.Fatalf("alive %t, %v", alive, err)
				}
			}
			hint := func() []watch.Event {
				for range 3 {
					s.signalled(parentHint)
				}
				return events(t, w)
			}
			if got := hint(); len(got) > 0 {
				t.Fatalf("no parent has died: %v", got)
			}
			second.Kill()
			second.Wait()
			want := []watch.Event{watch.ParentDied{PID: second.PID, By: by}}
			if got := hint(); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// A parent without its first thread is alive; a zombie is dead.
func TestAddParent(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		s, w := workerOn(t, k, "poll")
		gone := shell(t, "exit 0")
		gone.Wait()
		for what, c := range map[string]struct {
			pid  int
			want bool
		}{
			"a process": {sleeper(t).PID, true}, "one without its first thread": {testkit.Headless(t, 1).PID, true},
			"a zombie": {zombie(t).PID, false}, "a process that is gone": {gone.PID, false},
		} {
			if alive, err := w.AddParent(c.pid); err != nil || alive != c.want {
				t.Errorf("%s: alive %t, %v", what, alive, err)
			}
		}
		s.signalled(parentHint) // has the parents checked
		if got := events(t, w); len(got) > 0 {
			t.Errorf("no parent has died: %v", got)
		}
	})
}

// A parent that is stopped is alive.
func TestStoppedParentIsAlive(t *testing.T) {
	p := start(t, exec.Command("sleep", "1000000"))
	s, w := workerOn(t, newTestKernel(t), "poll")
	if alive, err := w.AddParent(p.PID); err != nil || !alive {
		t.Fatalf("alive %t, %v", alive, err)
	}
	p.Signal(unix.SIGSTOP)
	await(t, "it to stop", func() bool {
		info, err := s.statOf(p.PID)
		return err == nil && info.State == 'T'
	})
	s.signalled(parentHint)
	if got := events(t, w); len(got) > 0 {
		t.Errorf("it is only stopped: %v", got)
	}
}
