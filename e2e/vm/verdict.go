package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"leash/e2e/vm/plan"
)

// verdict compares what a virtual machine reported with what it had to report.
type verdict struct {
	jobs  []plan.Job
	tests map[string][]string // by package: what has to be passed
	skips skips

	release    string
	began      string // the job that was begun last
	passed     map[string]map[string]bool
	skipped    map[string]map[string]bool
	failed     map[string]map[string]bool
	done       map[string]bool
	ended      bool
	complaints []string
	output     []string // of jobs that failed
	passes     int
	used       time.Duration // of the processor, by qemu
}

func newVerdict(jobs []plan.Job, tests map[string][]string, s skips) *verdict {
	return &verdict{jobs: jobs, tests: tests, skips: s,
		passed: make(map[string]map[string]bool), skipped: make(map[string]map[string]bool),
		failed: make(map[string]map[string]bool), done: make(map[string]bool)}
}

func (v *verdict) complain(format string, args ...any) {
	v.complaints = append(v.complaints, fmt.Sprintf(format, args...))
}

// take takes one line of the report.
func (v *verdict) take(l plan.Line) {
	note := func(in map[string]map[string]bool) {
		if in[l.Job] == nil {
			in[l.Job] = make(map[string]bool)
		}
		in[l.Job][l.Test] = true
	}
	switch l.Kind {
	case plan.Boot:
		v.release = l.Text
	case plan.Begin:
		v.began = l.Job
	case plan.Pass:
		note(v.passed)
		v.passes++
	case plan.Skip:
		note(v.skipped)
	case plan.Fail:
		note(v.failed)
		v.complain("%s: %s failed", l.Job, l.Test)
	case plan.Output:
		if text := strings.TrimSpace(l.Text); !strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- PASS") {
			v.output = append(v.output, l.Text)
		}
	case plan.Left:
		v.complain("%s left behind: %s", l.Job, l.Text)
	case plan.Error:
		v.complain("%s: %s", l.Job, l.Text)
	case plan.Done:
		v.done[l.Job] = true
		if l.Status != 0 {
			v.complain("%s: status %d", l.Job, l.Status)
		}
	case plan.End:
		v.ended = true
	default:
		v.complain("%s: what is %q?", l.Job, l.Kind)
	}
}

// close returns everything that is wrong, once the machine has ended.
func (v *verdict) close() []string {
	switch {
	case v.release == "":
		v.complain("it did not start")
	case !v.ended:
		v.complain("it ended in the midst of %q", v.began)
	}
	for _, j := range v.jobs {
		name := j.Name()
		if !v.done[name] {
			v.complain("%s did not end", name)
			continue
		}
		for _, test := range v.tests[j.Package] {
			if !v.passed[name][test] && !v.skipped[name][test] && !v.failed[name][test] {
				v.complain("%s: nothing was heard of %s", name, test)
			}
		}
		if v.skips == nil { // some tests only
			continue
		}
		for _, test := range slices.Sorted(maps.Keys(v.skipped[name])) {
			if !v.skips.on(v.release, name, test) {
				v.complain("%s: %s was skipped, and is not in e2e/vm/skips.txt", name, test)
			}
		}
		for _, test := range slices.Sorted(maps.Keys(v.skips[name])) {
			if v.skips.on(v.release, name, test) && !v.skipped[name][test] {
				v.complain("%s: %s was not skipped: it need not be in e2e/vm/skips.txt", name, test)
			}
		}
	}
	return v.complaints
}

// summary is for people: one line, and what was skipped.
func (v *verdict) summary() string {
	var b strings.Builder
	n := 0
	for _, job := range slices.Sorted(maps.Keys(v.skipped)) {
		tests := slices.Sorted(maps.Keys(v.skipped[job]))
		n += len(tests)
		fmt.Fprintf(&b, "\n  skipped, as listed: %s: %s", job, strings.Join(tests, " "))
	}
	return fmt.Sprintf("Linux %s: %d tests passed, %d skipped, in %d jobs, %.0f s of a processor%s",
		v.release, v.passes, n, len(v.done), v.used.Seconds(), b.String())
}
