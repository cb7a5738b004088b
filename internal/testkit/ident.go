//go:build linux || windows

package testkit

import (
	"fmt"
	"strings"
	"testing"
)

// Ident names one process: its PID, and its start time, which tells it from a
// later process of the same PID: in clock ticks since boot, or on Windows in
// units of 100 ns since 1601.
type Ident struct {
	PID   int
	Start uint64
}

// Identify looks up a process, one that has ended perhaps, a zombie or one that
// somebody has still open. The test fails if there is none.
func Identify(t testing.TB, pid int) Ident {
	t.Helper()
	id, ok := Lookup(pid)
	if !ok {
		t.Fatalf("there is no process %d", pid)
	}
	return id
}

// AwaitGone waits until all the processes have ended. The test fails and
// names the rest if that takes longer than Patience.
func AwaitGone(t testing.TB, ids ...Ident) {
	t.Helper()
	if left := awaitGone(ids, Patience); len(left) > 0 {
		t.Fatalf("%d of %d processes still live:\n%s", len(left), len(ids), list(left))
	}
}

// StillAlive fails the test if one of the processes has ended.
func StillAlive(t testing.TB, ids ...Ident) {
	t.Helper()
	for _, id := range ids {
		if !id.Alive() {
			t.Fatalf("process %d should still live", id.PID)
		}
	}
}

// Adopt ends the process when the test ends. It is for processes that are no
// children of the test, such as grandchildren which printed their PID.
func Adopt(t testing.TB, ids ...Ident) {
	t.Helper()
	t.Cleanup(func() { end(t, ids) })
}

// Descendants lists the live processes below pid, children before their own
// children.
func Descendants(t testing.TB, pid int) []Ident {
	t.Helper()
	found, err := descendants(Identify(t, pid))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// end kills the processes and waits until they are gone.
func end(t testing.TB, ids []Ident) {
	for _, id := range ids {
		if err := id.Kill(); err != nil {
			t.Errorf("kill %v: %v", id, err)
		}
	}
	if left := awaitGone(ids, Patience); len(left) > 0 {
		t.Errorf("processes survived a kill:\n%s", list(left))
	}
}

func list(ids []Ident) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintln(&b, " ", id)
	}
	return b.String()
}
