package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// gather makes this process the subreaper, and returns a function that lists its descendants.
func gather() (left func() ([]Ident, error), err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	// Descriptors of the test run must not be inherited by watchdogs, which pass on all.
	unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) // no effect before Linux 5.11
	return func() ([]Ident, error) {
		reapZombies()
		return below(os.Getpid()), nil
	}, nil
}

func runToEnd(cmd *exec.Cmd) (status int, err error) {
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	forwardSignals(cmd.Process)
	return reapUntil(cmd.Process.Pid)
}

// forwardSignals passes on signals that stop this process, so that the tests stop (and show
// their goroutines on SIGQUIT) and the leak check still runs.
func forwardSignals(p *os.Process) {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	go func() {
		for sig := range ch {
			_ = p.Signal(sig)
		}
	}()
}

// reapUntil reaps children and orphans until pid has ended. It returns the
// status of pid.
func reapUntil(pid int) (int, error) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait: %w", err)
		case got == pid:
			return statusOf(ws), nil
		}
	}
}

// reapZombies reaps every child that has ended already.
func reapZombies() {
	for {
		got, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || got <= 0 {
			return
		}
	}
}
