//go:build linux

package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dirVar holds the scratch directory of the run. Its presence tells a process
// that it runs inside Main already.
const dirVar = "LEASH_TESTKIT_DIR"

// leakPatience is how long Main waits for the last processes to end before it
// calls them a leak.
const leakPatience = 10 * time.Second

// Main runs the tests of a package and exits. It runs them in a child of its
// own and makes itself the subreaper of everything below. So each orphan that
// a test makes comes to this process, which reaps it (without taking a
// child's status away from a test), and which can tell at the end whether
// anything is left, even after a panic or a timeout. What is left is named,
// killed, and fails the run.
//
// Code that re-executes the test binary as a helper must branch off first.
func Main(m interface{ Run() int }) {
	if os.Getenv(dirVar) != "" {
		os.Exit(m.Run())
	}
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	status, err := supervise(leakPatience, self, os.Args[1:]...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testkit:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

// supervise runs a program and looks after what it leaves behind.
func supervise(patience time.Duration, program string, args ...string) (int, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("become subreaper: %w", err)
	}
	dir, err := os.MkdirTemp("", "leash-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)

	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), dirVar+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	forwardSignals(cmd.Process)
	status, err := reapUntil(cmd.Process.Pid)
	if err != nil {
		return 1, err
	}
	return status, endLeaks(patience)
}

// forwardSignals hands on what asks this process to stop, so that the tests
// stop (and show their goroutines on QUIT) and the leak check still runs.
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
			return exitStatus(ws), nil
		}
	}
}

// endLeaks waits for all descendants to end. What stays too long is killed
// and named in the error.
func endLeaks(patience time.Duration) error {
	awaitGone(descendants(os.Getpid()), patience)
	var leaks []string
	for range 10 { // what is killed may fork at the last moment
		reapZombies()
		left := descendants(os.Getpid())
		if len(left) == 0 {
			break
		}
		for _, id := range left {
			leaks = append(leaks, id.String())
			_ = id.Signal(unix.SIGKILL)
		}
		awaitGone(left, leakPatience)
	}
	if leaks != nil {
		return fmt.Errorf("the tests left %d processes behind: %q", len(leaks), leaks)
	}
	return nil
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

// exitStatus is what a shell shows: the exit code, or 128+N for signal N.
func exitStatus(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
