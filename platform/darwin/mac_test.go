//go:build darwin

package darwin

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"leash/internal/proc"
	"leash/platform/platformtest"
	"leash/platform/posix"
)

func TestMain(m *testing.M) {
	TakeRole()
	if os.Getenv(watchdogVar) != "" {
		if err := beWatchdog(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// watchdogSystem is that of a watchdog, which holds no descriptor that it was left.
func watchdogSystem(backend string) (*System, error) {
	posix.CloseOthers(nil)
	return New(backend)
}

func testKernel(t *testing.T) *Kernel {
	t.Helper()
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testSystem(t *testing.T, backend string) *System {
	t.Helper()
	s, err := New(backend)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newGuarded(t *testing.T, backend string) *host {
	t.Helper()
	return newHost(t, testSystem(t, backend))
}

func TestDieWithMe(t *testing.T) {
	cmd := exec.Command(os.Args[0], "/bin/sh", "-c", "sleep 1000000 & echo child $!; wait")
	cmd.Env = append(os.Environ(), watchdogVar+"=event")
	cmd.Stderr = os.Stderr
	lines := platformtest.StartPiped(t, cmd).Out
	bystander := exec.Command("sleep", "1000000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { bystander.Process.Kill(); bystander.Wait() }()
	k := testKernel(t)
	d := platformtest.Doomed{Kernel: k, Watchdog: cmd.Process.Pid, Bystander: bystander.Process.Pid,
		Kill: func() { cmd.Process.Kill() }, Await: await}
	for range 3 { // the child says itself, before or after the others are said
		var word string
		var pid int
		if _, err := fmt.Fscanln(lines, &word, &pid); err != nil {
			t.Fatal(err)
		}
		h, err := k.open(pid)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { h.Signal(proc.KILL) }()
		if word == "worker" {
			d.Worker = pid
		} else {
			d.Below = append(d.Below, pid)
		}
	}
	platformtest.DieWithMe(t, d)
}
