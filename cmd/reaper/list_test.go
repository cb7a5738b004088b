package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"leash/internal/gauge"
	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/reap"
	"leash/scan"
)

func age(start uint64) time.Duration { return time.Duration(now-start) * 10 * time.Millisecond }

// shown prints the scene as list does.
func shown(t *testing.T, width int, colour bool) string {
	t.Helper()
	return drawn(t, measured(reported(listed)), width, colour)
}

// measured gives each process the memory that list would read.
func measured(r *report) *report {
	for _, p := range r.index {
		p.Figures = &Figures{MemoryBytes: 3 << 20, Ports: []gauge.Port{}, GPUs: []string{}}
	}
	return r
}

func drawn(t *testing.T, r *report, width int, colour bool) string {
	t.Helper()
	r.close(0)
	var b strings.Builder
	list := tree{w: &b, report: r, age: age, width: width, colour: colour}
	if err := list.print(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTree(t *testing.T) {
	expect(t, shown(t, 0, false), `
run abc1234  dead  age 1m15s  parent 50, gone
├─ 60       1m15s   3.0 MiB  environ     python3 -c two·lines ·[31m
├─ 61          1s   3.0 MiB  descendant  sleep <&>
└─ 62         10s   3.0 MiB  argv        grep --run-id abc1234
   reap would leave it alone: only its arguments name the run, and its parent (PID 51) is alive and not of it
run liv1234  alive  age 10s  parent 51
└─ 70         10s   3.0 MiB  environ  python3 `+"\ufffd"+`
run unc1234 of user 1000  unclaimed  age 1m15s  no owner of it is known
└─ 80       1m15s   3.0 MiB  environ  [worker]
3 runs, 5 processes; reap would end 2
`)
}

func TestTreeIsCut(t *testing.T) {
	expect(t, shown(t, 20, false), `
run abc1234  dead  …
├─ 60       1m15s  …
├─ 61          1s  …
└─ 62         10s  …
   reap would leave…
run liv1234  alive …
└─ 70         10s  …
run unc1234 of user…
└─ 80       1m15s  …
3 runs, 5 processes…
`)
	for line := range strings.Lines(shown(t, 1, true)) {
		if line != "…\n" {
			t.Errorf("in one column: %q", line)
		}
	}
}

// Only the state is coloured, and colours do not count as columns.
func TestTreeInColours(t *testing.T) {
	for _, width := range []int{0, 40, 1000} {
		got, plain := shown(t, width, true), shown(t, width, false)
		for _, want := range []string{"abc1234  \x1b[31mdead\x1b[0m  ", "liv1234  \x1b[32malive\x1b[0m  ", "unc1234 of user 1000  \x1b[33munclaimed\x1b[0m  "} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%q", want, got)
			}
		}
		for _, c := range colours {
			got = strings.ReplaceAll(got, c, "")
		}
		if got = strings.ReplaceAll(got, "\x1b[0m", ""); got != plain || strings.Contains(plain, "\x1b") {
			t.Errorf("without its colours\n%q\nis not\n%q", got, plain)
		}
	}
	// A colour that would be cut in two is left out.
	if got := shown(t, 20, true); strings.Contains(got, "\x1b[33m") {
		t.Errorf("%q", got)
	}
}

func TestTreeOfNothing(t *testing.T) {
	r := newReport()
	r.add(&snapshot.Snapshot{Scanned: 1}, nil, listed)
	var b strings.Builder
	list := tree{w: &b, report: r, age: age}
	if err := list.print(); err != nil {
		t.Fatal(err)
	}
	expect(t, b.String(), "no runs; 1 process scanned\n")
}

// An owner that may be alive is shown with the reason.
func TestTreeOfAnOwnerThatCannotBeChecked(t *testing.T) {
	s := snapshotOfThreeRuns()
	s.Lives = map[proc.ID]snapshot.Life{}
	s.Procs = s.Procs[:1]
	r := newReport()
	r.add(s, scan.Judge(s, scan.Request{}), listed)
	var b strings.Builder
	list := tree{w: &b, report: r, age: age}
	list.print()
	expect(t, b.String(), `
run abc1234  alive  age 1m15s  parent 50: its owner (PID 50) cannot be checked
└─ 60       1m15s         -  environ  python3 -c two·lines ·[31m
1 run, 1 process; reap would end none
`)
}

// The number of hidden environments is printed last, and only if there are any.
func TestHidden(t *testing.T) {
	r := newReport()
	r.add(&snapshot.Snapshot{Scanned: 9, Hidden: 2}, nil, listed)
	r.add(&snapshot.Snapshot{Scanned: 9, Hidden: 1}, nil, listed)
	const told = "the system hides the environment of 2 processes (System Integrity Protection): " +
		"only arguments, the ledger, groups, sessions and descent can show whether they belong to a run\n"
	var b strings.Builder
	if err := (&tree{w: &b, report: r, age: age}).print(); err != nil {
		t.Fatal(err)
	}
	expect(t, b.String(), "no runs; 9 processes scanned\n"+told)
	expect(t, printed(t, r, false, 0), "nothing to end; 9 processes scanned\n"+told)
	b.Reset()
	if err := writeJSON(&b, r); err != nil || !strings.Contains(b.String(), `"unread":0,"hidden":2,`) {
		t.Errorf("%s %v", b.String(), err)
	}
}

var errFull = errors.New("full")

type full struct{ writes int }

func (f *full) Write([]byte) (int, error) { f.writes++; return 0, errFull }

// A write that failed is not repeated.
func TestTreeWithoutAReader(t *testing.T) {
	w := &full{}
	list := tree{w: w, report: reported(listed), age: age}
	if err := list.print(); err != errFull || w.writes != 1 {
		t.Errorf("%v after %d writes", err, w.writes)
	}
	o := outcome{report: reported(reaped)}
	if err := o.print(&full{}); err != errFull {
		t.Error(err)
	}
}

func printed(t *testing.T, r *report, dry bool, width int) string {
	t.Helper()
	r.close(0)
	var b strings.Builder
	o := outcome{report: r, dry: dry, width: width}
	if err := o.print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestOutcomeOfADryRun(t *testing.T) {
	expect(t, printed(t, reported(dry), true, 0), `
run abc1234  dead, its owner (PID 50) is gone: 2 would be ended, 1 skipped
  would end 60  python3 -c two·lines ·[31m
  would end 61  sleep <&>
  skipped 62  grep --run-id abc1234
    only its arguments name the run, and its parent (PID 51) is alive and not of it
run liv1234  alive, its owner (PID 51) lives: 1 left alone
run unc1234 of user 1000  unclaimed, no owner of it is known: 1 left alone
would end 2 processes of 12 scanned; nothing was signalled
`)
}

func TestOutcome(t *testing.T) {
	r, s := reported(reaped), snapshotOfThreeRuns()
	r.ended(&reap.Ended{Process: s.Procs[0], Fate: reap.Survived, Reason: "it \x1bhangs"})
	r.ended(&reap.Ended{Process: s.Procs[1], Fate: reap.Killed})
	expect(t, printed(t, r, false, 40), `
run abc1234  dead, its owner (PID 50) i…
  survived 60  python3 -c two·lines ·[3…
    it ·hangs
  skipped 62  grep --run-id abc1234
    only its arguments name the run, an…
run liv1234  alive, its owner (PID 51) …
run unc1234 of user 1000  unclaimed, no…
ended 1 process, 1 by SIGKILL; 1 surviv…
`)
	r = reported(reaped)
	r.ended(&reap.Ended{Process: s.Procs[0], Fate: reap.Terminated})
	r.ended(&reap.Ended{Process: s.Procs[1], Fate: reap.Terminated})
	if got := printed(t, r, false, 0); !strings.HasPrefix(got, "run abc1234  dead, its owner (PID 50) is gone: 2 terminated, 1 skipped\n") ||
		!strings.HasSuffix(got, "\nended 2 processes; none survived\n") {
		t.Error(got)
	}
}

func TestOutcomeOfNothing(t *testing.T) {
	for _, dry := range []bool{false, true} {
		r := newReport()
		r.add(&snapshot.Snapshot{Scanned: 60}, nil, reaped)
		expect(t, printed(t, r, dry, 0), "nothing to end; 60 processes scanned\n")
	}
	if err := (&outcome{report: newReport()}).print(io.Discard); err != nil {
		t.Error(err)
	}
}

// A worker whose watchdog is dead while the owner of its run lives is shown as unguarded.
func TestUnguardedIsShown(t *testing.T) {
	dog, boss := proc.ID{PID: 40, Start: now - 9000}, proc.ID{PID: 51, Start: now - 9000}
	worker := snapshot.Process{Info: proc.Info{ID: proc.ID{PID: 70, Start: now - 1000, Inode: 7}, PPID: 51, State: 'S', Threads: 1},
		Args: []string{"python3"}}
	s := &snapshot.Snapshot{Boot: "b", NS: 1, Tick: now, Scanned: 1, Procs: []snapshot.Process{worker},
		Records: []ledger.Record{{RunID: "liv1234", Boot: "b", NS: 1, Watchdog: dog, Worker: worker.ID, Parents: []proc.ID{boss}, Seen: now}},
		Lives:   map[proc.ID]snapshot.Life{dog: snapshot.Dead, boss: snapshot.Alive, worker.ID: snapshot.Alive}}
	r := newReport()
	r.add(s, scan.Judge(s, scan.Request{}), listed)
	r.close(0)
	var b strings.Builder
	list := tree{w: &b, report: r, age: age}
	if err := list.print(); err != nil {
		t.Fatal(err)
	}
	expect(t, b.String(), `
run liv1234  alive  age 10s  parent 51
└─ 70         10s         -  ledger  python3
   its owner (PID 51) lives; unguarded, for its watchdog (PID 40) is gone: left alone unless --unguarded or --run-id says otherwise
1 run, 1 process; reap would end none
1 process is unguarded: reap --unguarded would end it
`)
	b.Reset()
	if err := writeJSON(&b, r); err != nil || !strings.Contains(b.String(), `"unguarded":true`) || !strings.Contains(b.String(), `"state":"alive"`) {
		t.Errorf("%v: %s", err, b.String())
	}
	e := &explanation{PID: 70, Verdict: "lives"}
	if e.judge(s, &worker); !e.Unguarded || e.Verdict != "lives" || !strings.Contains(strings.Join(e.Findings, "\n"), "it is unguarded") {
		t.Errorf("%+v", e)
	}
}

// A run without an ID is listed as such.
func TestARunWithoutAnID(t *testing.T) {
	p := snapshot.Process{Info: proc.Info{ID: proc.ID{PID: 70, Start: now - 1000}, PPID: 1, State: 'S', Threads: 1}, Name: "sleep",
		Leaf: &snapshot.Leaf{Name: "leash-1-40-9", PID: 40, Tick: 9}}
	s := &snapshot.Snapshot{Boot: "b", NS: 1, Tick: now, Scanned: 1, Procs: []snapshot.Process{p}, Lives: map[proc.ID]snapshot.Life{}}
	r := newReport()
	r.add(s, scan.Judge(s, scan.Request{}), dry)
	r.close(0)
	o := outcome{report: r, dry: true}
	var b strings.Builder
	if err := o.print(&b); err != nil {
		t.Fatal(err)
	}
	expect(t, b.String(), `
a run without an ID  dead, its watchdog (PID 40) is gone, and no record of its worker is there: 1 would be ended
  would end 70  [sleep]
would end 1 process of 1 scanned; nothing was signalled
`)
}
