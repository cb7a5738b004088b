package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/platform"
	"leash/scan"
)

// list shows every run and its processes.
func list(f *flags) error {
	start := time.Now()
	j, s, err := observe(f)
	if err != nil {
		return err
	}
	j.report.add(s, scan.Judge(s, scan.Request{}), listed)
	j.problems()
	j.report.close(time.Since(start))
	j.measure()
	if f.List.Json {
		return writeJSON(os.Stdout, j.report)
	}
	t := tree{w: os.Stdout, report: j.report, age: j.table.Age, uid: s.UID, width: platform.Width(os.Stdout)}
	t.colour = obeys(os.Stdout) && os.Getenv("NO_COLOR") == ""
	return t.print()
}

// lives reports whether a process still has its PID.
func (j *job) lives(p *snapshot.Process) bool {
	return j.table.Life(proc.ID{PID: p.PID, Start: p.Start}) == snapshot.Alive
}

// obeys reports whether a file is a terminal that handles escape sequences.
func obeys(f *os.File) bool { return platform.IsTerminal(f) && os.Getenv("TERM") != "dumb" }

// tree prints the runs for people.
type tree struct {
	w      io.Writer
	report *report
	age    func(start uint64) time.Duration
	uid    uint32 // the caller's, which is not shown
	width  int    // 0: not cut
	colour bool
	held   int // columns for what processes hold
	err    error
}

func (t *tree) print() error {
	total, toEnd, unguarded := 0, 0, 0
	for _, r := range t.report.Runs {
		for _, p := range r.Processes {
			t.held = max(t.held, len(p.holds()))
		}
	}
	for _, r := range t.report.Runs {
		t.run(r)
		for _, p := range r.Processes {
			total++
			if p.verdict == scan.End {
				toEnd++
			}
			if p.Unguarded {
				unguarded++
			}
		}
	}
	switch {
	case len(t.report.Runs) == 0:
		t.line(fmt.Sprintf("no runs; %s scanned", number(t.report.Scanned, "process")))
	case toEnd == 0:
		t.line(fmt.Sprintf("%s, %s; reap would end none", number(len(t.report.Runs), "run"), number(total, "process")))
	default:
		t.line(fmt.Sprintf("%s, %s; reap would end %d", number(len(t.report.Runs), "run"), number(total, "process"), toEnd))
	}
	if unguarded > 0 {
		t.line(fmt.Sprintf("%s unguarded: reap --unguarded would end %s", is(unguarded), it(unguarded)))
	}
	if unseen := t.report.unseen(); unseen != "" {
		t.line(unseen)
	}
	return t.err
}

func (t *tree) run(r *runReport) {
	oldest, room := time.Duration(0), 0
	for _, p := range r.Processes {
		oldest = max(oldest, t.age(p.proc.Start))
		room = max(room, len(strings.Join(p.Evidence, ",")))
	}
	// Only the state is coloured, and the line is cut before that.
	before := head(r, t.uid) + "  "
	after := fmt.Sprintf("  age %s  %s", brief(oldest), parent(r))
	line := cut(before+r.State+after, t.width)
	if t.colour && strings.HasPrefix(line, before+r.State) {
		line = before + colours[r.State] + r.State + "\x1b[0m" + line[len(before+r.State):]
	}
	t.raw(line)
	for i, p := range r.Processes {
		branch, below := "├─ ", "│  "
		if i == len(r.Processes)-1 {
			branch, below = "└─ ", "   "
		}
		held := ""
		if t.held > 0 {
			held = fmt.Sprintf("%-*s  ", t.held, p.holds())
		}
		t.line(fmt.Sprintf("%s%-7d %6s %9s  %-*s  %s%s", branch, p.PID, brief(t.age(p.proc.Start)),
			size(p.memory()), room, strings.Join(p.Evidence, ","), held, command(p.Argv, p.proc.Name)))
		if p.verdict == scan.Skip || p.Unguarded {
			t.line(below + plain(p.Reason))
		}
	}
}

// head names a run: its ID, and its user if that is not the caller.
func head(r *runReport, uid uint32) string {
	name := "run " + r.RunID
	if r.RunID == "" {
		name = "a run without an ID"
	}
	if r.UID != uid {
		name += fmt.Sprintf(" of user %d", r.UID)
	}
	return name
}

func it(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

func is(n int) string {
	if n == 1 {
		return "1 process is"
	}
	return number(n, "process") + " are"
}

var colours = map[string]string{"dead": "\x1b[31m", "alive": "\x1b[32m", "unclaimed": "\x1b[33m"}

func parent(r *runReport) string {
	switch {
	case r.Owner == nil:
		return r.Reason
	case r.Owner.Alive && !strings.HasSuffix(r.Reason, " lives"):
		return fmt.Sprintf("parent %d: %s", r.Owner.PID, r.Reason) // why it may be alive
	case r.Owner.Alive:
		return fmt.Sprintf("parent %d", r.Owner.PID)
	}
	return fmt.Sprintf("parent %d, gone", r.Owner.PID)
}

func (t *tree) line(s string) { t.raw(cut(s, t.width)) }

func (t *tree) raw(s string) {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, s)
	}
}

// outcome prints what reap did for people.
type outcome struct {
	report *report
	dry    bool
	uid    uint32
	width  int
	b      strings.Builder
}

func (o *outcome) print(w io.Writer) error {
	toEnd := 0
	for _, run := range o.report.Runs {
		toEnd += o.run(run)
	}
	r := o.report
	ended := r.Terminated + r.Killed
	switch {
	case o.dry && toEnd > 0:
		o.line("would end %s of %d scanned; nothing was signalled", number(toEnd, "process"), r.Scanned)
	case toEnd+ended+r.Survived == 0:
		o.line("nothing to end; %s scanned", number(r.Scanned, "process"))
	default:
		text := "ended " + number(ended, "process")
		if r.Killed > 0 {
			text += fmt.Sprintf(", %d by SIGKILL", r.Killed)
		}
		if r.Survived > 0 {
			o.line("%s; %d survived", text, r.Survived)
		} else {
			o.line("%s; none survived", text)
		}
	}
	if unseen := r.unseen(); unseen != "" {
		o.line("%s", unseen)
	}
	_, err := io.WriteString(w, o.b.String())
	return err
}

// run prints one run, and returns how many of its processes would be ended.
func (o *outcome) run(run *runReport) int {
	counts := make(map[string]int)
	for _, p := range run.Processes {
		counts[p.Action]++
	}
	var parts []string
	for _, a := range []string{actionDry, actionTerm, actionKill, actionLeft, actionSkip, actionNone} {
		if counts[a] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[a], cmp.Or(actionWords[a], a)))
		}
	}
	o.line("%s  %s, %s: %s", head(run, o.uid), run.State, run.Reason, strings.Join(parts, ", "))
	for _, p := range run.Processes {
		line := command(p.Argv, p.proc.Name)
		switch p.Action {
		case actionDry:
			o.line("  would end %d  %s", p.PID, line)
		case actionLeft, actionSkip:
			o.line("  %s %d  %s", p.Action, p.PID, line)
			o.line("    %s", plain(p.Reason))
		case actionNone:
			if p.Unguarded {
				o.line("  unguarded %d  %s", p.PID, line)
				o.line("    %s", plain(p.Reason))
			}
		}
	}
	return counts[actionDry]
}

func (o *outcome) line(format string, args ...any) {
	o.b.WriteString(cut(fmt.Sprintf(format, args...), o.width) + "\n")
}

var actionWords = map[string]string{actionDry: "would be ended", actionNone: "left alone"}
