package platformtest

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/stop"
)

// Await polls until is returns true, for what no event reports.
func Await(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.NewTimer(longWait)
	defer late.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !is() {
		select {
		case <-again.C:
		case <-late.C:
			t.Fatalf("%v without %s", longWait, what)
		}
	}
}

// Actor is a real process that does what the lines of its standard input say.
type Actor struct {
	Cmd *exec.Cmd
	In  io.Writer
	Out *bufio.Reader
}

// StartActor starts a child of this process, which prints "ready". It is killed and reaped when
// the test ends.
func StartActor(t *testing.T, cmd *exec.Cmd) *Actor {
	t.Helper()
	a := StartPiped(t, cmd)
	a.Ready(t)
	return a
}

// StartPiped is StartActor for a process that need not be ready.
func StartPiped(t *testing.T, cmd *exec.Cmd) *Actor {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &Actor{cmd, in, bufio.NewReader(out)}
}

// Ready reads the line "ready".
func (a *Actor) Ready(t *testing.T) {
	t.Helper()
	if line := a.Line(t); line != "ready" {
		t.Fatalf("%q, want ready", line)
	}
}

// Line reads a line that it prints.
func (a *Actor) Line(t *testing.T) string {
	t.Helper()
	line, err := a.Out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// PID is the actor's.
func (a *Actor) PID() int { return a.Cmd.Process.Pid }

// Fork has it start a child, by a line to which it answers with the PID.
func (a *Actor) Fork(t *testing.T, line string) int {
	t.Helper()
	fmt.Fprintln(a.In, line)
	pid, err := strconv.Atoi(a.Line(t))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// End kills it, and returns when it is a zombie.
func (a *Actor) End(t *testing.T, k stop.Kernel) {
	t.Helper()
	h, err := k.Open(a.PID())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := a.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	Await(t, "the end of a process that was sent SIGKILL", func() bool { return ended(h) })
}

// Reap reaps the zombie.
func (a *Actor) Reap(*testing.T) { a.Cmd.Wait() }
