//go:build windows

package windows

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	win "golang.org/x/sys/windows"
)

// shielded waits behind a shield for an event of its console, unless it is told
// that there will be none, and lets go of the shield.
func shielded() {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, os.Interrupt) // what lives has heard it
	release := Shield()
	fmt.Println("ready")
	if len(os.Args) == 1 {
		<-heard
	}
	signal.Stop(heard)
	fmt.Println("heard")
	release()
	os.Exit(3)
}

// sendCtrlC sends it to all in the console of the process that the first
// argument names.
func sendCtrlC() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	freeConsole.Call()
	pid, _ := strconv.Atoi(os.Args[1])
	if ok, _, err := attachConsole.Call(uintptr(pid)); ok == 0 {
		fmt.Println("attach:", err)
	} else if err := win.GenerateConsoleCtrlEvent(ctrlC, 0); err != nil {
		fmt.Println("send:", err)
	} else {
		fmt.Println("ready")
	}
	os.Exit(0)
}

// What comes behind a shield ends the process when that is let go.
func TestShield(t *testing.T) {
	a := start(t, "shielded", win.CREATE_NO_WINDOW)
	startWith(t, "ctrl-c", 0, []string{strconv.Itoa(a.PID())})
	if got := a.Line(t); got != "heard" {
		t.Errorf("%q", got)
	}
	a.Cmd.Wait()
	if got := uint32(a.Cmd.ProcessState.ExitCode()); got != interrupted {
		t.Errorf("status %#x", got)
	}
	b := startWith(t, "shielded", win.CREATE_NO_WINDOW, []string{"no process sends"})
	b.Cmd.Wait()
	if got := b.Cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("status %d, and nothing was held back", got)
	}
}

// What we send ourselves is passed over, what the system sends is not.
func TestOutlived(t *testing.T) {
	for event, want := range map[uintptr]uintptr{ctrlC: 1, ctrlBreak: 1, win.CTRL_CLOSE_EVENT: 0, win.CTRL_LOGOFF_EVENT: 0, win.CTRL_SHUTDOWN_EVENT: 0} {
		if got := outlived(event); got != want {
			t.Errorf("event %d: %d", event, got)
		}
	}
	outlive()
	outlive()
	if ok, _, err := setConsoleCtrlHandler.Call(handler(), 0); ok == 0 {
		t.Errorf("there is no handler: %v", err)
	}
	if ok, _, _ := setConsoleCtrlHandler.Call(handler(), 0); ok != 0 {
		t.Error("there were two")
	}
}

// A file and a pipe are no consoles.
func TestTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + `\file`)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, f := range []*os.File{f, r, w} {
		if Width(f) != 0 || IsTerminal(f) {
			t.Errorf("%s: %d columns, %t", f.Name(), Width(f), IsTerminal(f))
		}
	}
	if _, err := w.WriteString("x"); err != nil || IsBrokenPipe(err) {
		t.Error(err)
	}
	r.Close()
	if _, err := w.WriteString("x"); !IsBrokenPipe(err) {
		t.Errorf("no process reads: %v", err)
	}
	for err, want := range map[error]bool{win.ERROR_BROKEN_PIPE: true, win.ERROR_NO_DATA: true, syscall.EPIPE: true,
		win.ERROR_DISK_FULL: false, errors.ErrUnsupported: false} {
		if got := IsBrokenPipe(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}

func TestScarce(t *testing.T) {
	for err, want := range map[error]bool{win.ERROR_NOT_ENOUGH_MEMORY: true, fmt.Errorf("x: %w", win.ERROR_NO_SYSTEM_RESOURCES): true,
		win.ERROR_ACCESS_DENIED: false, win.ERROR_INVALID_PARAMETER: false} {
		if got := Scarce(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}
