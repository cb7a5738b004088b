//go:build windows

package windows

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/watch"
)

func backends(t *testing.T, test func(*testing.T, string)) {
	for _, b := range []string{"event", "poll"} {
		t.Run(b, func(t *testing.T) { test(t, b) })
	}
}

func TestParentDies(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		h := newGuarded(t, backend)
		stays, a := start(t, "sleep", 0), start(t, "sleep", 0)
		for _, pid := range []int{stays.PID(), a.PID()} {
			if alive, err := h.AddParent(pid); !alive || err != nil {
				t.Fatal(alive, err)
			}
		}
		if events, err := h.Wait(h.Now()+20*time.Millisecond, true); len(events) > 0 || err != nil {
			t.Fatal(events, err)
		}
		a.Cmd.Process.Kill()
		by := map[string]string{"event": "handle", "poll": "poll"}[backend]
		if e := next[watch.ParentDied](t, h); e.PID != a.PID() || e.By != by {
			t.Errorf("%+v", e)
		}
		if alive, err := h.AddParent(a.PID()); alive || err != nil {
			t.Errorf("a dead one: %v, %v", alive, err)
		}
	})
}

// Any number of processes is waited for, by several threads. The end of each is told
// once, also if it has ended before.
func TestManyProcesses(t *testing.T) {
	s := newTestSystem(t, "event")
	a := start(t, "sleep", 0)
	const owner = "the test"
	watched := func() *handle {
		h := opened(t, s.Kernel, a.PID())
		if err := s.Watch(h, owner); err != nil {
			t.Fatal(err)
		}
		return h
	}
	var all []*handle
	for range 3*perWaiter + 1 {
		all = append(all, watched())
	}
	if len(s.waits.all) != 4 || s.Waiting(owner) != len(all) {
		t.Errorf("%d threads wait for %d of %d processes", len(s.waits.all), s.Waiting(owner), len(all))
	}
	for _, h := range all[:perWaiter] { // and places are taken anew
		h.Close()
	}
	all = append(all[perWaiter:], watched())
	late := opened(t, s.Kernel, a.PID())
	a.Cmd.Process.Kill()
	told := make(map[stop.Handle]int)
	hear := func() {
		for s.Waiting(owner) > 0 {
			wakes, err := s.Wait(0, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range wakes {
				if w.Kind != system.Ended || w.Owner != owner {
					t.Errorf("told %+v", w)
				}
				told[w.Handle]++
			}
		}
	}
	hear()
	all = append(all, late)
	for range 2 { // the second time it is known
		for _, h := range all {
			if err := s.Watch(h, owner); err != nil {
				t.Error(err)
			}
		}
		hear()
	}
	for i, h := range all {
		if told[h] != 1 {
			t.Errorf("the end of number %d was told %d times", i, told[h])
		}
	}
}

// The number of our own parent stays with us when it has ended: a process that has it
// and is younger than we are is another.
func TestParentsNumberTakenAnew(t *testing.T) {
	h := newGuarded(t, "event")
	s := h.s
	a := start(t, "fork", 0)
	if alive, err := h.AddParent(a.PID()); !alive || err != nil {
		t.Fatal(alive, err)
	}
	s.self.ppid = a.PID()
	if alive, err := h.AddParent(a.PID()); alive || err != nil {
		t.Errorf("our parent, and younger: %v, %v", alive, err)
	}
	s.clock = func() uint64 { return 1 } // both were there when it was set back
	if alive, err := h.AddParent(a.PID()); !alive || err != nil {
		t.Errorf("our parent, of a time to come: %v, %v", alive, err)
	}
	s.clock = now
	// The same holds for a parent that is shown.
	child := opened(t, s.Kernel, a.fork(t, "plain"))
	if child.parent() != a.PID() {
		t.Errorf("its parent is %d", child.parent())
	}
	child.start = 1
	s.clock = func() uint64 { return 2 }
	if child.parent() != a.PID() {
		t.Error("a parent of a time to come is taken for another")
	}
	s.clock = now
	if child.parent() != 0 {
		t.Error("a parent that was not there yet")
	}
}

// Processes that are never signalled are no workers.
func TestWorkersThatAreNone(t *testing.T) {
	h := newGuarded(t, "event")
	if err := h.CheckWorker(os.Getpid()); err == nil {
		t.Error("we may guard ourselves")
	}
	if _, err := h.Adopt(systemPID); err == nil || !strings.Contains(err.Error(), "never signalled") {
		t.Errorf("the system itself: %v", err)
	}
	if err := h.CheckWorker(start(t, "fork", 0).PID()); err != nil {
		t.Error(err)
	}
	denied := start(t, "fork", 0)
	closeTo(t, denied.PID(), onlyLook)
	if _, err := h.Adopt(denied.PID()); !errors.Is(err, proc.ErrDenied) {
		t.Errorf("one that may only be queried: %v", err)
	}
}

func TestRecord(t *testing.T) {
	h := newGuarded(t, "event")
	parent, worker := start(t, "sleep", 0), start(t, "fork", 0)
	h.AddParent(parent.PID())
	if _, err := h.Adopt(worker.PID()); err != nil {
		t.Fatal(err)
	}
	r, err := h.Record()
	if err != nil {
		t.Fatal(err)
	}
	p, w := opened(t, h.Kernel, parent.PID()).id(), opened(t, h.Kernel, worker.PID()).id()
	if r.Worker != w || len(r.Parents) != 1 || r.Parents[0] != p || r.Watchdog.PID != os.Getpid() || r.Boot == "" {
		t.Errorf("%+v", r)
	}
	h.Worker.Scan()
	if h.Refresh(&r) {
		t.Error("nothing has changed")
	}
	worker.fork(t, "plain")
	h.Worker.Scan()
	if !h.Refresh(&r) {
		t.Error("a child was born")
	}
	if got := h.Owner(); !strings.HasPrefix(got, p.String()[:strings.IndexByte(p.String(), '@')]+":") {
		t.Error(got)
	}
	if age := time.Since(h.Created(w)); age < 0 || age > time.Hour {
		t.Errorf("created %v ago", age)
	}
}
