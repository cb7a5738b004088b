//go:build linux || windows

package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"time"
)

// dirVar holds the scratch directory of the run. Its presence tells a process
// that it runs inside Main already.
const dirVar = "LEASH_TESTKIT_DIR"

// leakPatience is how long Main waits for the last processes to end before it
// calls them a leak.
const leakPatience = time.Minute

// Main runs the tests of a package and exits. It runs them in a child of its
// own, below which it can tell at the end whether anything is left, even after a
// panic or a timeout. What is left is named, killed, and fails the run.
//
// On Linux this process makes itself the subreaper of all: each orphan that a
// test makes comes to it, which reaps it without taking a child's status away
// from a test. On Windows all are in a job object; if this process itself is
// killed, the job ends the rest.
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

// endLeaks waits for all that are left to end. What stays too long is killed and
// named in the error.
func endLeaks(patience time.Duration, left func() ([]Ident, error)) error {
	ids, err := left()
	if err != nil {
		return err
	}
	awaitGone(ids, patience)
	var leaks []string
	for range 10 { // what is killed may have started another at the last moment
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
