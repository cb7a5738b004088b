// Reaper ends the processes that dead runs left, and no others.
package main

import (
	"errors"
	"fmt"
	"os"

	"leash/internal/doctor"
	"leash/internal/helptext"
	"leash/internal/oneline"
	"leash/internal/runid"
	"leash/platform"
)

const (
	exitSurvived = 1
	exitFailed   = 125
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	command, f, err := parse(args, os.Stdout)
	if errors.Is(err, helptext.ErrPrinted) {
		return 0
	}
	if err != nil {
		return fail(err)
	}
	platform.IgnoreBrokenPipes()
	status := 0
	switch command {
	case "id":
		var id string
		if id, err = runid.New(platform.Random); err == nil {
			_, err = fmt.Println(id)
		}
	case "list":
		err = list(f)
	case "explain":
		err = explain(f)
	case "who":
		status, err = who(f)
	case "metrics":
		err = metrics(f)
	case "doctor":
		r := doctor.New(platform.Mechanisms(false))
		status, err = r.Status(), r.Write(os.Stdout, f.Doctor.Json)
	default:
		status, err = reapAll(f)
	}
	// A reader that closes the pipe, head(1) for example, is no failure.
	if err != nil && !platform.IsBrokenPipe(err) {
		return fail(err)
	}
	return status
}

// fail reports the error in one line and returns the exit status.
func fail(err error) int {
	oneline.Error(os.Stderr, "reaper", err)
	return exitFailed
}
