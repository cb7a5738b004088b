//go:build linux || windows

package testkit

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Ident identifies one process by its PID and its start time, which is different for a
// later process with the same PID: in clock ticks since boot, or on Windows in units of
// 100 ns since 1601.
type Ident struct {
	PID   int
	Start uint64
}

// seen is the program of each process when it was identified, for messages about processes
// that have ended.
var seen sync.Map // of Ident to string

// String gives PID, start time and program.
func (id Ident) String() string {
	program := id.program()
	if program == "" {
		program = "unknown program"
		if before, ok := seen.Load(id); ok {
			program = before.(string)
		}
	}
	return fmt.Sprintf("process %d (start %d): %s", id.PID, id.Start, program)
}

// Identify returns the Ident of the process with a PID. It may be a zombie or, on Windows,
// have ended while a handle on it is open. The test fails if there is none.
func Identify(t testing.TB, pid int) Ident {
	t.Helper()
	id, ok := Lookup(pid)
	if !ok {
		t.Fatalf("expected a process %d, but there is none (log: %s)", pid, logPath(t))
	}
	if program := id.program(); program != "" {
		seen.Store(id, program)
	}
	return id
}

// AwaitGone waits until all the processes have ended. If that takes longer than Patience the
// test fails and names the rest.
func AwaitGone(t testing.TB, ids ...Ident) {
	t.Helper()
	if left := awaitGone(ids, Patience); len(left) > 0 {
		t.Fatalf("expected %d processes to end, but %d still run after %v (log: %s):\n%s", len(ids), len(left), Patience, logPath(t), list(left))
	}
}

// StillAlive fails the test if one of the processes has ended.
func StillAlive(t testing.TB, ids ...Ident) {
	t.Helper()
	for _, id := range ids {
		if !id.Alive() {
			t.Fatalf("expected %v to be alive, but it has ended (log: %s)", id, logPath(t))
		}
	}
}

// Adopt kills the process when the test ends. It is for processes that are no children of
// the test, such as grandchildren that printed their PID.
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

// end kills the processes and waits until they have ended.
func end(t testing.TB, ids []Ident) {
	for _, id := range ids {
		if err := id.Kill(); err != nil {
			t.Errorf("cannot kill %v: %v", id, err)
		}
	}
	if left := awaitGone(ids, Patience); len(left) > 0 {
		t.Errorf("expected the kill to end %d processes, but %d still run after %v (log: %s):\n%s", len(ids), len(left), Patience, logPath(t), list(left))
	}
}

func list(ids []Ident) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintln(&b, " ", id)
	}
	return b.String()
}
