//go:build linux

package linux

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/testkit"
	"leash/watch"
)

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]proc.Signal{
		"TERM": proc.TERM, "SIGTERM": proc.TERM, "term": proc.TERM, "SigTerm": proc.TERM, "15": proc.TERM,
		"KILL": proc.KILL, "9": proc.KILL, "INT": proc.INT, "quit": proc.QUIT,
		"USR1": {Num: 10, Name: "SIGUSR1"}, "1": {Num: 1, Name: "SIGHUP"},
		"40": {Num: 40, Name: "SIG40"}, "64": {Num: 64, Name: "SIG64"},
	} {
		if got, ok := ParseSignal(text); !ok || got != want {
			t.Errorf("%q gives %+v, %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "SIG", "0", "-1", "65", "TERMINATE", "TERM ", "1.5", "SIGSIGTERM", "99999999999999999999"} {
		if got, ok := ParseSignal(text); ok {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
	for n := 1; n <= 31; n++ {
		sig := signalOf(n)
		if again, ok := ParseSignal(sig.Name); !ok || again != sig {
			t.Errorf("%d is %+v, and back %+v", n, sig, again)
		}
	}
}

func TestRole(t *testing.T) {
	for sig, want := range map[syscall.Signal][2]watch.Role{ // guard, run
		unix.SIGTERM: {watch.Ends, watch.Ends},
		unix.SIGINT:  {watch.Ends, watch.Ends},
		unix.SIGQUIT: {watch.Ends, watch.Forwarded},
		unix.SIGHUP:  {watch.Ignored, watch.Forwarded},
		unix.SIGPIPE: {watch.Ignored, watch.Ignored}, // our own log may have raised it
		unix.SIGUSR1: {watch.Ignored, watch.Forwarded},
		unix.SIGCONT: {watch.Ignored, watch.Forwarded},
		unix.SIGTSTP: {watch.Ignored, watch.Suspends},
		unix.SIGTTIN: {watch.Ignored, watch.Suspends},
		unix.SIGTTOU: {watch.Ignored, watch.Suspends},
		40:           {watch.Ignored, watch.Forwarded},
	} {
		for i, child := range []bool{false, true} {
			h := Host{child: child}
			if got := h.role(sig); got != want[i] {
				t.Errorf("%v, our child %t: %v, want %v", sig, child, got, want[i])
			}
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
	h := guarding(t, newTestKernel(t), p.PID)
	for sig, want := range map[unix.Signal]bool{unix.SIGUSR1: true, unix.SIGTSTP: true, unix.SIGUSR2: false, unix.SIGTERM: false} {
		if got := h.catches(signalOf(int(sig))); got != want {
			t.Errorf("%v: %t", sig, got)
		}
	}
	p.Kill()
	p.Wait()
	if h.catches(signalOf(int(unix.SIGUSR1))) {
		t.Error("one that is gone catches nothing")
	}
}

// The rumour of a parent's death is looked into: only a death is a death.
func TestRumour(t *testing.T) {
	for backend, by := range map[string]string{"event": "pidfd", "poll": "poll"} {
		t.Run(backend, func(t *testing.T) {
			h, err := NewHost(newTestKernel(t), backend, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			first, second := sleeper(t), sleeper(t)
			for _, p := range []*testkit.Proc{first, second} {
				if alive, err := h.AddParent(p.PID); err != nil || !alive {
					t.Fatalf("alive %t, %v", alive, err)
				}
			}
			for range 3 {
				h.signalled(rumour)
			}
			if len(h.events) > 0 {
				t.Fatalf("nobody has died: %v", h.events)
			}
			second.Kill()
			second.Wait()
			for range 3 {
				h.signalled(rumour)
			}
			want := []watch.Event{watch.ParentDied{PID: second.PID, By: by}}
			if !slices.Equal(h.events, want) {
				t.Errorf("%v, want %v", h.events, want)
			}
		})
	}
}

// A parent whose first thread has ended is alive; a zombie is dead.
func TestAddParent(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		h, err := NewHost(k, "poll", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		gone := shell(t, "exit 0")
		gone.Wait()
		for what, c := range map[string]struct {
			pid  int
			want bool
		}{
			"a process": {sleeper(t).PID, true}, "one without its first thread": {headless(t).PID, true},
			"a zombie": {zombie(t).PID, false}, "nobody": {gone.PID, false},
		} {
			if alive, err := h.AddParent(c.pid); err != nil || alive != c.want {
				t.Errorf("%s: alive %t, %v", what, alive, err)
			}
		}
		if h.lookAtParents("poll"); len(h.events) > 0 {
			t.Errorf("nobody has died: %v", h.events)
		}
	})
}

// A parent that is stopped is alive.
func TestStoppedParentIsAlive(t *testing.T) {
	p := start(t, exec.Command("sleep", "1000000"))
	h, err := NewHost(newTestKernel(t), "poll", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if alive, err := h.AddParent(p.PID); err != nil || !alive {
		t.Fatalf("alive %t, %v", alive, err)
	}
	p.Signal(unix.SIGSTOP)
	await(t, "it to stop", func() bool {
		info, err := h.Kernel.lookAt(p.PID)
		return err == nil && info.State == 'T'
	})
	if h.lookAtParents("poll"); len(h.events) > 0 {
		t.Errorf("it is only stopped: %v", h.events)
	}
}
