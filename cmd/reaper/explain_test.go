package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"leash/internal/snapshot"
)

// explained explains one process of the scene, or another one.
func explained(t *testing.T, s *snapshot.Snapshot, p snapshot.Process, width int) string {
	t.Helper()
	e := explanation{PID: p.PID, Argv: p.Args, Verdict: "lives", name: p.Name, width: width}
	e.Seen = seen(&p, 75*time.Second, 3<<20)
	e.judge(s, &p)
	var b strings.Builder
	if err := e.print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestExplain(t *testing.T) {
	s := snapshotOfThreeRuns()
	s.Procs[0].Worker = "w\x1b1"
	expect(t, explained(t, s, s.Procs[0], 0), `
process 60  python3 -c two·lines ·[31m
  seen    user 0, parent 1, process group 60, session 60
          1m15s old, 3.0 MiB of memory
          run ID in its arguments: none
          run ID in its environment: abc1234
          worker ID in its environment: w·1
          owner in its environment: PID 50, started at tick 40
  so      it is of run abc1234 of user 0, by environ
          run abc1234 is dead: its owner (PID 50) is gone
  reap    would end it: its owner (PID 50) is gone; it is of the run by its environment
`)
	s.Procs[2].Owner = "\x1b[2J"
	expect(t, explained(t, s, s.Procs[2], 0), `
process 62  grep --run-id abc1234
  seen    user 0, parent 51, process group 62, session 62
          1m15s old, 3.0 MiB of memory
          run ID in its arguments: abc1234
          run ID in its environment: none
          owner in its environment: cannot be read
  so      it is of run abc1234 of user 0, by argv
          run abc1234 is dead: its owner (PID 50) is gone
  reap    would leave it alone: only its arguments name the run, and its parent (PID 51) is alive and not of it
`)
}

// The last line is the answer, and is never cut.
func TestExplainIsCut(t *testing.T) {
	s := snapshotOfThreeRuns()
	got := explained(t, s, s.Procs[3], 20)
	expect(t, got, `
process 70  python3…
  seen    user 0, p…
          1m15s old…
          run ID in…
          run ID in…
          owner in …
  so      it is of …
          run liv12…
  reap    would leave it alone: its owner (PID 51) lives
`)
}

// A process of no run gets the reason.
func TestExplainProcessOfNoRun(t *testing.T) {
	s := snapshotOfThreeRuns()
	p := func(change func(*snapshot.Process)) snapshot.Process { p := process(90, 1, 5); change(&p); return p }
	for _, c := range []struct {
		p    snapshot.Process
		want string
	}{
		{p(func(p *snapshot.Process) {}), "there is no evidence that it belongs to a run"},
		{p(func(p *snapshot.Process) { p.Leash = true }), "it is a watchdog or a reaper, and those are never of a run"},
		{p(func(p *snapshot.Process) { p.PID = 1 }), "it is PID 1, which is never of a run"},
		{p(func(p *snapshot.Process) { p.State = 'Z' }), "it is dead already (a zombie)"},
		{p(func(p *snapshot.Process) { p.Denied = "access denied: it is elevated" }), "access denied: it is elevated"},
		{p(func(p *snapshot.Process) { p.UID = 5 }), "there is no evidence that it belongs to a run"}, // to root all are open
	} {
		got := explained(t, s, c.p, 0)
		if strings.Contains(got, "\n  so ") || !strings.HasSuffix(got, "\n  reap    would leave it alone: "+c.want+"\n") {
			t.Errorf("want %q:\n%s", c.want, got)
		}
	}
	s.UID = 1000
	if got := explained(t, s, p(func(p *snapshot.Process) {}), 0); !strings.HasSuffix(got, "it belongs to another user (0)\n") {
		t.Error(got)
	}
}

// Evidence for two runs: both are listed, and the reason is that of the stronger verdict.
func TestExplainContradiction(t *testing.T) {
	s := snapshotOfThreeRuns()
	s.Procs[0].EnvRuns = []string{"abc1234", "liv1234"}
	s.Procs = append(s.Procs, labelled(process(95, 1, 3000, "x"), "abc1234", s.Procs[0].Owner))
	got := explained(t, s, s.Procs[0], 0)
	for _, want := range []string{"run abc1234 is dead", "run liv1234 is alive",
		"would leave it alone: the evidence contradicts itself: run abc1234 (environ) and run liv1234 (environ)\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestExplainJSON(t *testing.T) {
	s := snapshotOfThreeRuns()
	e := explanation{PID: 90, Argv: []string{}, Verdict: "lives", Seen: []string{"<x>"}, Findings: []string{}}
	stranger := process(90, 1, 5)
	e.judge(s, &stranger)
	var b bytes.Buffer
	if err := writeJSON(&b, e); err != nil {
		t.Fatal(err)
	}
	expect(t, b.String(), `{"pid":90,"argv":[],"verdict":"lives","reason":"there is no evidence that it belongs to a run","seen":["<x>"],"findings":[]}`+"\n")
	e = explanation{Verdict: "lives"}
	e.judge(s, &s.Procs[1])
	if e.Verdict != "dies" || !slices.Contains(e.Findings, "it is of run abc1234 of user 0, by descendant") {
		t.Errorf("%+v", e)
	}
}
