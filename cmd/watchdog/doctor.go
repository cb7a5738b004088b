package main

import (
	"io"

	"leash/internal/doctor"
	"leash/platform"
)

type doctorFlags struct {
	Json bool `help:"Print one JSON object"`
}

// Help is shown below the command's one line.
func (doctorFlags) Help() string {
	return "Each line is a mechanism: works, in part or no, and what to do. Exit status: 0 run and guard can keep all promises here; 1 not all; 125 the call was wrong."
}

// errDoctor means that doctor was called: there is nothing to watch.
type errDoctor struct{ json bool }

func (*errDoctor) Error() string { return "doctor was called" }

func (d *errDoctor) print(w io.Writer) int {
	r := doctor.New(platform.Mechanisms(true))
	if err := r.Write(w, d.json); err != nil {
		return fail(err)
	}
	return r.Status()
}
