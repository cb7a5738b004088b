// Watchdog ends a worker when the process it works for dies.
package main

import (
	"errors"
	"os"

	"leash/internal/oneline"
	"leash/platform"
)

// Exit statuses beside the worker's own, as timeout, env and docker run use them.
const (
	exitFailed   = 125
	exitCannot   = 126
	exitNotFound = 127
)

// PR_SET_PDEATHSIG belongs to the thread that sets it. Init functions run on
// the startup thread (package runtime, LockOSThread), which lives as long as the
// process. It is a hint only: if it fails, nothing is lost.
func init() {
	platform.TakeRole() // where we are only a part of a watchdog, that is all
	platform.HearRumours()
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	s, again := takeOver()
	if s == nil {
		var err error
		if s, err = parse(args, os.Stdout); errors.Is(err, errHelp) {
			return 0
		} else if err != nil {
			return fail(err)
		}
		s.secondLife(again)
	}
	platform.CloseOthers(nil) // what we were given on purpose is not the worker's
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

// fail tells a person in one line what went wrong.
func fail(err error) int {
	oneline.Error(os.Stderr, "watchdog", err)
	var c *commandError
	if errors.As(err, &c) {
		return c.status
	}
	return exitFailed
}
