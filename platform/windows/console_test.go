//go:build windows

package windows

import (
	"errors"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
	"leash/internal/system"
	"leash/internal/testkit"
)

// A worker with a console of its own receives CTRL_C there, with all of its tree,
// and we do not take it for our own.
func TestStopSignalInItsConsole(t *testing.T) {
	if hasConsole() {
		testkit.Skip(t, "we have a console, so the worker shares it")
	}
	h := newGuarded(t, "event")
	if err := h.Worker.Listen(true); err != nil {
		t.Fatal(err)
	}
	parent := start(t, "sleep", 0)
	h.AddParent(parent.PID())
	a := started(t, h, "polite")
	child := opened(t, h.Kernel, a.fork(t, "polite"))
	if got := a.Line(t); got != "child ready" {
		t.Fatal(got)
	}
	parent.Cmd.Process.Kill()
	status, records := guardFor(t, h, true, time.Hour)
	if status != 42 || child.exit().Code != 42 {
		t.Errorf("the worker ended with %d, its child with %+v\n%v", status, child.exit(), records)
	}
	if hasConsole() {
		t.Error("we are still attached")
	}
	for _, r := range records {
		if r.Event == "signal.sent" && r.Level == slog.LevelWarn {
			t.Error(r)
		}
	}
}

// What we send to the console of the worker comes to us too, and is not for us.
func TestEventsToUs(t *testing.T) {
	s := newTestSystem(t, "event")
	s.signalled(os.Interrupt)
	if got := len(s.wakes); hasConsole() != (got == 1) {
		t.Errorf("CTRL_C was told as %v", s.wakes)
	}
	s.wakes = nil
	s.signalled(syscall.SIGTERM)
	if want := (system.Wake{Kind: system.Signalled, Signal: proc.TERM}); len(s.wakes) != 1 || s.wakes[0] != want {
		t.Errorf("a shutdown was told as %v", s.wakes)
	}
}

// A process that has no console, or shares one with others, cannot be sent a stop signal.
func TestNoStopSignal(t *testing.T) {
	if hasConsole() {
		testkit.Skip(t, "we have a console, so the worker shares it")
	}
	k := newTestKernel(t)
	none := opened(t, k, start(t, "sleep", win.DETACHED_PROCESS).PID())
	if err := none.Signal(proc.TERM); !errors.Is(err, errNoConsole) {
		t.Errorf("without a console: %v", err)
	}
	a := start(t, "polite", win.CREATE_NO_WINDOW)
	h, other := opened(t, k, a.PID()), opened(t, k, a.fork(t, "polite"))
	a.Line(t)
	if err := h.Signal(proc.TERM); !errors.Is(err, errSharedConsole) {
		t.Errorf("with a bystander: %v", err)
	}
	if err := other.Signal(proc.TERM); !errors.Is(err, errSharedConsole) || h.ended() || other.ended() {
		t.Errorf("the other: %v", err)
	}
	k.mine = func(pid int) bool { return pid == other.pid }
	if err := h.Signal(proc.TERM); err != nil {
		t.Errorf("alone with its child: %v", err)
	}
	await(t, "the end of both", func() bool { return h.ended() && other.ended() })
}

// In another's console we hear no CTRL_C, not even before we have a handler there.
func TestDeafWhileAttached(t *testing.T) {
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	self, err := k.open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := command("sleep")
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: win.CREATE_NO_WINDOW}
	p := testkit.Start(t, cmd)
	p.Stdout.Await("ready")
	var s realConsoles
	if err := s.attach(p.PID); err != nil {
		t.Fatal(err)
	}
	if !self.deafToCtrlC() {
		t.Error("CTRL_C is heard in the console of another")
	}
	s.free()
	if self.deafToCtrlC() {
		t.Error("CTRL_C is ignored for ever, and by all that are started")
	}
	if err := s.attach(1 << 30); err == nil || self.deafToCtrlC() {
		t.Errorf("no process has that number: %v, and CTRL_C is ignored: %v", err, self.deafToCtrlC())
	}
}
