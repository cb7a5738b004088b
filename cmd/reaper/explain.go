package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"leash/internal/gauge"
	"leash/internal/owner"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/platform"
	"leash/scan"
)

// explanation is what explain prints.
type explanation struct {
	PID      int      `json:"pid"`
	Argv     []string `json:"argv"`
	Verdict  string   `json:"verdict"` // lives or dies
	Reason   string   `json:"reason"`
	Seen     []string `json:"seen"`
	Findings []string `json:"findings"`
	// Unguarded: its watchdog is dead, but its run is alive.
	Unguarded bool `json:"unguarded,omitempty"`

	name  string
	width int // of the terminal; 0: not cut
}

// explain prints what was read of a process, and what reap would do with it.
func explain(f *flags) error {
	j, s, err := observe(f)
	if err != nil {
		return err
	}
	j.problems()
	pid := f.Explain.PID
	p, err := j.table.Read(pid)
	if errors.Is(err, proc.ErrGone) {
		return fmt.Errorf("there is no process %d", pid)
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	e := &explanation{PID: pid, Argv: append([]string{}, p.Args...), Verdict: "lives", Findings: []string{}, name: p.Name}
	memory := gauge.Memory([]int{pid})[pid]
	if !j.lives(&p) {
		memory = 0
	}
	e.Seen, e.width = seen(&p, j.table.Age(p.Start), memory), platform.Width(os.Stdout)
	e.judge(s, &p)
	if f.Explain.Json {
		return writeJSON(os.Stdout, e)
	}
	return e.print(os.Stdout)
}

// seen lists the facts that were read of the process.
func seen(p *snapshot.Process, age time.Duration, memory uint64) []string {
	list := []string{
		fmt.Sprintf("user %d, parent %d, process group %d, session %d", p.UID, p.PPID, p.PGID, p.SID),
		fmt.Sprintf("%s old, %s of memory", brief(age), size(memory)),
		"run ID in its arguments: " + orNone(p.ArgRuns),
		"run ID in its environment: " + orNone(p.EnvRuns),
	}
	if p.Worker != "" {
		list = append(list, "worker ID in its environment: "+plain(p.Worker))
	}
	if p.Owner != "" {
		text := "owner in its environment: cannot be read"
		if o, ok := owner.Parse(p.Owner); ok {
			text = fmt.Sprintf("owner in its environment: PID %d, started at tick %d", o.PID, o.Start)
		}
		list = append(list, text)
	}
	return list
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// judge adds what follows from the snapshot.
func (e *explanation) judge(s *snapshot.Snapshot, p *snapshot.Process) {
	strongest := scan.Verdict(-1)
	for _, run := range scan.Judge(s, scan.Request{}) {
		for _, m := range run.Members {
			if m.PID != p.PID {
				continue
			}
			name := "run " + run.ID
			if run.ID == "" {
				name = "a run without an ID"
			}
			e.Findings = append(e.Findings,
				fmt.Sprintf("it is of %s of user %d, by %s", name, run.UID, m.Evidence),
				fmt.Sprintf("%s is %s: %s", name, run.State, run.Why))
			if m.Unguarded {
				e.Unguarded = true
				e.Findings = append(e.Findings, "it is unguarded: its watchdog is gone, and its run is alive")
			}
			if m.Verdict == scan.End {
				e.Verdict = "dies"
			}
			if m.Verdict > strongest {
				strongest, e.Reason = m.Verdict, m.Reason
			}
		}
	}
	if strongest < 0 {
		e.Reason = ofNoRun(s, p)
	}
}

// ofNoRun is the reason why a process belongs to no run.
func ofNoRun(s *snapshot.Snapshot, p *snapshot.Process) string {
	switch {
	case p.Leash:
		return "it is a watchdog or a reaper, and those are never of a run"
	case p.PID == 1:
		return "it is PID 1, which is never of a run"
	case p.Dead():
		return "it is dead already (a zombie)"
	case p.Denied != "":
		return p.Denied
	case s.UID != 0 && p.UID != s.UID:
		return fmt.Sprintf("it belongs to another user (%d)", p.UID)
	}
	return "there is no evidence that it belongs to a run"
}

// print prints three parts: the facts, the verdict, and the action.
func (e *explanation) print(w io.Writer) error {
	var b strings.Builder
	line := func(head, text string) {
		b.WriteString(cut(head+text, e.width) + "\n")
	}
	part := func(head string, list []string) {
		for _, text := range list {
			line(fmt.Sprintf("  %-8s", head), text)
			head = ""
		}
	}
	line("", fmt.Sprintf("process %d  %s", e.PID, command(e.Argv, e.name)))
	part("seen", e.Seen)
	part("so", e.Findings)
	would := "would leave it alone"
	if e.Verdict == "dies" {
		would = "would end it"
	}
	// This line is the answer: it is never cut.
	fmt.Fprintf(&b, "  %-8s%s: %s\n", "reap", would, plain(e.Reason))
	_, err := io.WriteString(w, b.String())
	return err
}
