package platformtest

import (
	"testing"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// Watched is a Fixture whose System reports exits.
type Watched interface {
	// Backends are the ways to notice exits: event, poll.
	Backends() []string
	// System opens a System, which the fixture closes.
	System(t *testing.T, backend string) system.System
}

// longWait is for events that come soon; only a test that fails takes as long.
const longWait = 3 * time.Minute

// watching runs a part for each backend. told: the backend reports exits.
func watching(t *testing.T, s Fixture, part func(t *testing.T, sys system.System, told bool)) {
	w, ok := s.(Watched)
	if !ok {
		t.Fatalf("%T has no System", s)
	}
	for _, backend := range w.Backends() {
		t.Run(backend, func(t *testing.T) {
			sys := w.System(t, backend)
			if got := sys.Backend(); got != backend {
				t.Fatalf("backend %s, want %s", got, backend)
			}
			part(t, sys, backend == "event")
		})
	}
}

// parent opens a process and has its exit reported.
func parent(t *testing.T, sys system.System, pid int, owner any) stop.Handle {
	t.Helper()
	h, err := sys.OpenParent(pid)
	if err != nil {
		t.Fatalf("OpenParent(%d): %v", pid, err)
	}
	t.Cleanup(h.Close)
	if err := sys.Watch(h, owner); err != nil {
		t.Fatalf("Watch of %d: %v", pid, err)
	}
	return h
}

// toldOf waits for the next events.
func toldOf(t *testing.T, sys system.System, within time.Duration) []system.Wake {
	t.Helper()
	wakes, err := sys.Wait(sys.Now()+within, true)
	if err != nil {
		t.Fatal(err)
	}
	return wakes
}

// silent checks that no more events come.
func silent(t *testing.T, sys system.System, why string) {
	t.Helper()
	if wakes := toldOf(t, sys, 0); len(wakes) > 0 {
		t.Errorf("%s: %+v was reported", why, wakes)
	}
}

// exitOfAnother: the exit of a process that is no child of this process is reported once, and
// not before it. The backend poll reports nothing.
func exitOfAnother(t *testing.T, s Fixture) {
	watching(t, s, func(t *testing.T, sys system.System, told bool) {
		p := s.Start(t, OwnGroup)
		first, second := p.Fork(t), p.Fork(t)
		a, b := new(int), new(int)
		parent(t, sys, first, a)
		h := parent(t, sys, second, b)
		silent(t, sys, "nothing has happened yet")
		if err := opened(t, s, second).Signal(proc.KILL); err != nil {
			t.Fatal(err)
		}
		s.Await(t, "the end of a grandchild", func() bool { return ended(h) })
		if told {
			isEnd(t, toldOf(t, sys, longWait), h, b)
			if n, m := sys.Waiting(a), sys.Waiting(b); n != 1 || m != 0 {
				t.Errorf("waiting for %d and %d, want 1 and 0", n, m)
			}
		}
		silent(t, sys, "after its exit")
		if ended(opened(t, s, first)) {
			t.Error("the other process ended too")
		}
	})
}

// isEnd checks that one exit was reported.
func isEnd(t *testing.T, wakes []system.Wake, h stop.Handle, owner any) {
	t.Helper()
	if len(wakes) != 1 {
		t.Fatalf("reported %+v, want one exit", wakes)
	}
	if e := wakes[0]; e.Kind != system.Ended || e.Handle != h || e.Owner != owner {
		t.Errorf("reported %+v, want the exit of %v", e, h)
	}
}

// exitBeforeWatch: an exit is reported also if it came before Watch.
func exitBeforeWatch(t *testing.T, s Fixture) {
	watching(t, s, func(t *testing.T, sys system.System, told bool) {
		p := s.Start(t, OwnGroup)
		h, err := sys.OpenParent(p.PID())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Close)
		p.End(t)
		owner := new(int)
		if err := sys.Watch(h, owner); err != nil {
			t.Fatal(err)
		}
		if told {
			isEnd(t, toldOf(t, sys, longWait), h, owner)
		}
		silent(t, sys, "after its exit")
	})
}

// unwatched: nothing is reported of a handle that was closed.
func unwatched(t *testing.T, s Fixture) {
	watching(t, s, func(t *testing.T, sys system.System, told bool) {
		p := s.Start(t, OwnGroup)
		owner := new(int)
		h, err := sys.OpenParent(p.PID())
		if err != nil {
			t.Fatal(err)
		}
		if err := sys.Watch(h, owner); err != nil {
			t.Fatal(err)
		}
		want := 0
		if told {
			want = 1
		}
		if n := sys.Waiting(owner); n != want {
			t.Errorf("waiting for %d, want %d", n, want)
		}
		h.Close()
		if n := sys.Waiting(owner); n != 0 {
			t.Errorf("waiting for %d after Close, want none", n)
		}
		p.End(t)
		silent(t, sys, "its handle was closed")
	})
}
