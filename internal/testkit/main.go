//go:build linux || windows

package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"time"
)

// leakPatience is how long Main waits for the last processes to end before it
// calls them a leak.
const leakPatience = time.Minute

// Main runs the tests of a package and exits. It runs them in a child process, and checks at
// the end that no descendant is left, even after a panic or a timeout. Processes that are
// left are named and killed, and fail the run.
//
// On Linux this process is the subreaper of all: each orphan of a test becomes its child,
// and it reaps the orphan without taking the status of a test's own child. On Windows all
// are in a job object; if this process itself is killed, the job ends the rest.
//
// Code that runs the test binary as a helper process must check for that first.
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

// supervise runs a program and ends the processes that it leaves.
func supervise(patience time.Duration, program string, args ...string) (int, error) {
	dir, err := os.MkdirTemp("", "leash-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), dirVar+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	left, err := gather()
	if err != nil {
		return 1, err
	}
	status, err := runToEnd(cmd)
	if err != nil {
		return 1, err
	}
	return status, endLeaks(patience, left)
}

// endLeaks waits until all processes that are left have ended. Those that take too long are
// killed and named in the error.
func endLeaks(patience time.Duration, left func() ([]Ident, error)) error {
	ids, err := left()
	if err != nil {
		return err
	}
	awaitGone(ids, patience)
	var leaks []string
	for range 10 { // a killed process may have started another at the last moment
		if ids, err = left(); err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		for _, id := range ids {
			leaks = append(leaks, id.String())
			_ = id.Kill()
		}
		awaitGone(ids, leakPatience)
	}
	if leaks != nil {
		return fmt.Errorf("the tests left %d processes behind: %q", len(leaks), leaks)
	}
	return nil
}
