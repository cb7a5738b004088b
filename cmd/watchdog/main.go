// Watchdog ends a worker when the worker's parent exits.
package main

import (
	"errors"
	"os"

	"leash/internal/helptext"
	"leash/internal/oneline"
	"leash/platform"
)

// Exit statuses besides the worker's own, as of timeout(1), env(1) and docker run.
const (
	exitFailed   = 125
	exitCannot   = 126
	exitNotFound = 127
)

// PR_SET_PDEATHSIG belongs to the thread that sets it. Init functions run on the startup
// thread (package runtime, LockOSThread), which lives as long as the process. The signal only
// speeds things up: without it a parent's exit is noticed all the same.
func init() {
	platform.TakeRole() // does not return in a sentinel
	platform.SetParentDeathSignal()
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	s, again := takeOver()
	if s == nil {
		var err error
		if s, err = parse(args, os.Stdout); errors.Is(err, helptext.ErrPrinted) {
			return 0
		} else if d := (*errDoctor)(nil); errors.As(err, &d) {
			return d.print(os.Stdout)
		} else if err != nil {
			return fail(err)
		}
		if s.pool {
			platform.CloseOthers(nil) // no worker gets a descriptor that the pool was given
			return runPool(s)
		}
		s.executeAgain(again)
	}
	platform.CloseOthers(nil) // descriptors of the watchdog are not for the worker
	w, err := newWatchdog(s)
	if err != nil {
		return fail(err)
	}
	status, err := w.guard()
	if err != nil {
		return fail(err)
	}
	return status
}

// fail reports the error in one line and returns the exit status.
func fail(err error) int {
	oneline.Error(os.Stderr, "watchdog", err)
	var c *commandError
	if errors.As(err, &c) {
		return c.status
	}
	return exitFailed
}
