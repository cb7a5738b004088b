//go:build darwin

package darwin

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"leash/internal/proc"
	"leash/platform/hosttest"
)

const watchdogVar = "LEASH_TEST_WATCHDOG"

func TestMain(m *testing.M) {
	TakeRole()
	if os.Getenv(watchdogVar) != "" {
		fmt.Fprintln(os.Stderr, beWatchdog())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// beWatchdog says the PIDs of worker, sentinel and the worker's child.
func beWatchdog() error {
	k, err := NewKernel()
	if err != nil {
		return err
	}
	h, err := NewHost(k, "event", time.Hour)
	if err != nil {
		return err
	}
	os.Unsetenv(watchdogVar)
	info, err := h.Start("/bin/sh", []string{"sh", "-c", "sleep 1000000 & echo $!; wait"}, os.Environ(), nil)
	if err != nil {
		return err
	}
	if h.sentry == nil {
		return fmt.Errorf("no sentinel")
	}
	fmt.Println(info.PID)
	fmt.Println(h.sentry.h.pid)
	for {
		if _, err := h.Wait(0, false); err != nil {
			return err
		}
	}
}

func TestDieWithMe(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), watchdogVar+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	bystander := exec.Command("sleep", "1000000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { bystander.Process.Kill(); bystander.Wait() }()
	k := testKernel(t)
	d := hosttest.Doomed{Kernel: k, Watchdog: cmd.Process.Pid, Bystander: bystander.Process.Pid,
		Kill: func() { cmd.Process.Kill() }, Await: await}
	lines := bufio.NewReader(out)
	for range 3 { // the child says itself, before or after the others are said
		var pid int
		if _, err := fmt.Fscanln(lines, &pid); err != nil {
			t.Fatal(err)
		}
		h, err := k.open(pid)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { h.Signal(proc.KILL) }()
		info, err := h.Look()
		if err != nil {
			t.Fatal(err)
		}
		if info.PPID == d.Watchdog && !info.Leash {
			d.Worker = pid
		} else {
			d.Below = append(d.Below, pid)
		}
	}
	hosttest.DieWithMe(t, d)
}
