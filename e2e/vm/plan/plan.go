// Package plan is what the machine that runs the tests and the virtual one say to
// each other: what to run, and what came of it.
package plan

import (
	"strconv"
	"strings"
)

// File is where the virtual machine finds its plan.
const File = "/plan.json"

// Port is the serial port for what the virtual machine reports. The kernel's own
// messages go to the first one and do not get in between.
const Port = "/dev/ttyS1"

// UID is the ordinary user's number.
const UID = 1000

// User is the user that a job runs as.
type User string

const (
	Root User = "root"
	// Delegated is an ordinary user with a cgroup of its own, as after systemd's
	// Delegate=yes.
	Delegated User = "delegated"
	// Plain is an ordinary user in a cgroup of root's.
	Plain User = "plain"
)

// Users are all of them, in the order of the jobs.
var Users = []User{Root, Delegated, Plain}

// Plan is what the virtual machine does, job by job.
type Plan struct {
	Jobs []Job
}

// Job is one test program, run as one user.
type Job struct {
	Package string // relative to the module
	Program string // path of the test program
	Dir     string // where it runs
	Args    []string
	Env     []string
	User    User
}

// Name is unique in a plan.
func (j Job) Name() string { return string(j.User) + " " + j.Package }

// Kind says what a Line tells.
type Kind string

const (
	Boot   Kind = "boot"   // Text is the kernel's release
	Begin  Kind = "begin"  // a job begins
	Pass   Kind = "pass"   // of the test Test
	Fail   Kind = "fail"   // the same
	Skip   Kind = "skip"   // the same; subtests are told too
	Output Kind = "output" // one line of a job that failed
	Left   Kind = "left"   // Text is a process or a cgroup that a job left behind
	Done   Kind = "done"   // a job has ended, with Status after Seconds
	Error  Kind = "error"  // the virtual machine could not do what it should
	End    Kind = "end"    // all jobs have ended
)

// Line is one line of the report, in JSON.
type Line struct {
	Kind    Kind
	Job     string  `json:",omitempty"`
	Test    string  `json:",omitempty"`
	Text    string  `json:",omitempty"`
	Status  int     `json:",omitempty"`
	Seconds float64 `json:",omitempty"`
}

// Result reads a line that a test program prints with -test.v, as
// "--- PASS: TestX (0.01s)": the results of tests and their subtests.
func Result(line string) (l Line, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "--- ")
	if !ok {
		return Line{}, false
	}
	for prefix, kind := range map[string]Kind{"PASS: ": Pass, "FAIL: ": Fail, "SKIP: ": Skip} {
		if rest, ok := strings.CutPrefix(rest, prefix); ok {
			l := Line{Kind: kind}
			var time string
			l.Test, time, _ = strings.Cut(rest, " ")
			l.Seconds, _ = strconv.ParseFloat(strings.Trim(time, "(s)"), 64)
			return l, l.Test != ""
		}
	}
	return Line{}, false
}
