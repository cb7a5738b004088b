//go:build windows

package windows

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	win "golang.org/x/sys/windows"

	"leash/internal/system"
	"leash/internal/testkit"
	"leash/watch"
)

// sharing is a System with some workers of a pool.
func sharing(t *testing.T, ids ...string) (s *System, workers []*watch.Worker, at []testkit.Ident) {
	t.Helper()
	s = newTestSystem(t, "event")
	if names := s.Prepare(true); !slices.Equal(names, []string{"job", "descendants"}) {
		t.Errorf("%q", names)
	}
	if s.all == nil {
		t.Fatal("no job of all workers")
	}
	for range ids {
		w := watch.NewMember(s, late, true, s.Ancestors())
		t.Cleanup(w.Close)
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		info, err := w.Start(system.Command{Path: os.Args[0], Args: os.Args[:1], Env: append(os.Environ(), roleVar+"=sleep"),
			Stdio: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		id := testkit.Identify(t, info.PID)
		testkit.Adopt(t, id)
		workers, at = append(workers, w), append(at, id)
	}
	return s, workers, at
}

// Each worker is in its own job, and in that of all.
func TestWorkersOfAPool(t *testing.T) {
	s, workers, at := sharing(t, "a", "b")
	for i, w := range workers {
		if got := w.Containment(); !strings.HasPrefix(got, "job,") {
			t.Errorf("worker %d: %q", i, got)
		}
	}
	pids := s.all.pids()
	for _, id := range at {
		if !slices.Contains(pids, id.PID) {
			t.Errorf("%d is not in the job of all, in which are %v", id.PID, pids)
		}
	}
	workers[0].Kill()
	testkit.AwaitGone(t, at[0])
	testkit.StillAlive(t, at[1])
	if !s.EndRest() {
		t.Error("something is left")
	}
	testkit.AwaitGone(t, at[1])
}

// The job of all ends with its handle, as when this process is killed.
func TestJobOfAllEndsWithUs(t *testing.T) {
	s, _, at := sharing(t, "a")
	win.CloseHandle(s.all.h)
	s.all = nil
	testkit.AwaitGone(t, at...)
}

func TestPoke(t *testing.T) {
	s := newTestSystem(t, "event")
	s.Poke()
	s.Poke() // of any number, one is enough
	if wakes, err := s.Wait(0, false); len(wakes) != 0 || err != nil {
		t.Errorf("%v, %v", wakes, err)
	}
}

// What a worker prints goes where its Command says, and its folder is that of the Command.
func TestStdioAndFolder(t *testing.T) {
	s := newTestSystem(t, "event")
	c := s.Contain(system.Options{Shared: true})
	r, w, err := NewOutputPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	dir := t.TempDir()
	h, err := c.Start(system.Command{Path: os.Args[0], Args: os.Args[:1], Env: append(os.Environ(), roleVar+"=where"),
		Stdio: []uintptr{null.Fd(), w.Fd(), w.Fd()}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	testkit.Adopt(t, testkit.Identify(t, h.(*handle).pid))
	if err := c.Started(); err != nil {
		t.Fatal(err)
	}
	var said []byte
	b := make([]byte, 4096)
	for r.Wait() {
		n, err := r.Read(b)
		if said = append(said, b[:n]...); err != nil {
			break
		}
	}
	folder, end, _ := strings.Cut(string(said), "|")
	if got, err := filepath.EvalSymlinks(folder); err != nil || !sameFold(got, dir) && !sameFold(folder, dir) {
		t.Errorf("it is in %q, not in %q (%v)", folder, dir, err)
	}
	if end != "0 EOF" {
		t.Errorf("standard input gives %q", end)
	}
	c.Close(0)
}
