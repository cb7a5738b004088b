package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"leash/internal/owner"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/reap"
	"leash/scan"
)

// The scene of these tests is at tick 10000, a hundred ticks a second: three
// runs, of which one is dead and one is another user's.
const (
	boot = "b"
	ns   = 7
	now  = 10000
)

func process(pid, ppid int, start uint64, args ...string) snapshot.Process {
	p := snapshot.Process{Args: args, Name: "worker"}
	p.PID, p.PPID, p.PGID, p.SID, p.Start, p.State = pid, ppid, pid, pid, start, 'S'
	return p
}

func labelled(p snapshot.Process, run, owner string) snapshot.Process {
	p.EnvRuns, p.Owner = []string{run}, owner
	return p
}

func snapshotOfThreeRuns() *snapshot.Snapshot {
	dead, living := owner.Owner{PID: 50, Start: 40, Boot: boot, NS: ns}, owner.Owner{PID: 51, Start: 41, Boot: boot, NS: ns}
	grep := process(62, 51, 9000, "grep", "--run-id", "abc1234")
	grep.ArgRuns = []string{"abc1234"}
	other := labelled(process(80, 1, 2500), "unc1234", "")
	other.UID = 1000
	return &snapshot.Snapshot{Boot: boot, NS: ns, Tick: now, Scanned: 12, Unread: 1,
		Procs: []snapshot.Process{
			labelled(process(60, 1, 2500, "python3", "-c", "two\nlines \x1b[31m"), "abc1234", dead.String()),
			process(61, 60, 9900, "sleep", "<&>"),
			grep,
			labelled(process(70, 51, 9000, "python3", "\xff"), "liv1234", living.String()),
			other,
		},
		Lives:   map[proc.ID]snapshot.Life{{PID: 50, Start: 40}: snapshot.Dead, {PID: 51, Start: 41}: snapshot.Alive},
		Parents: map[int]snapshot.Process{51: process(51, 1, 41, "beam")},
	}
}

func reported(say intent) *report {
	r, s := newReport(), snapshotOfThreeRuns()
	r.add(s, scan.Judge(s, scan.Request{}), say)
	return r
}

// Users rely on these fields, all of them, also if they are empty.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	r := reported(reaped)
	r.close(1500 * time.Microsecond)
	if err := writeJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	const spared = `only its arguments name the run, and its parent (PID 51) is alive and not of it`
	want := `{"runs":[` +
		`{"run_id":"abc1234","uid":0,"state":"dead","reason":"its owner (PID 50) is gone","owner":{"pid":50,"alive":false},"processes":[` +
		`{"pid":60,"ppid":1,"uid":0,"argv":["python3","-c","two\nlines \u001b[31m"],"evidence":["environ"],"action":"none","reason":"its owner (PID 50) is gone; it is of the run by its environment"},` +
		`{"pid":61,"ppid":60,"uid":0,"argv":["sleep","<&>"],"evidence":["descendant"],"action":"none","reason":"its owner (PID 50) is gone; it is of the run by its parent (PID 60)"},` +
		`{"pid":62,"ppid":51,"uid":0,"argv":["grep","--run-id","abc1234"],"evidence":["argv"],"action":"skipped","reason":"` + spared + `"}]},` +
		`{"run_id":"liv1234","uid":0,"state":"alive","reason":"its owner (PID 51) lives","owner":{"pid":51,"alive":true},"processes":[` +
		`{"pid":70,"ppid":51,"uid":0,"argv":["python3","\ufffd"],"evidence":["environ"],"action":"none","reason":"its owner (PID 51) lives"}]},` +
		`{"run_id":"unc1234","uid":1000,"state":"unclaimed","reason":"no owner of it is known","owner":null,"processes":[` +
		`{"pid":80,"ppid":1,"uid":1000,"argv":[],"evidence":["environ"],"action":"none","reason":"no owner of it is known: left alone unless --unclaimed or --run-id says otherwise"}]}],` +
		`"scanned":12,"terminated":0,"killed":0,"survived":0,"skipped":1,"unread":1,"duration_ms":1}`
	if got := strings.TrimSuffix(b.String(), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !utf8.Valid(b.Bytes()) || !json.Valid(b.Bytes()) || strings.Count(b.String(), "\n") != 1 {
		t.Errorf("this is not one line of JSON: %q", b.String())
	}
}

func TestJSONOfNothing(t *testing.T) {
	r := newReport()
	r.add(&snapshot.Snapshot{Scanned: 3}, nil, reaped)
	r.close(0)
	var b bytes.Buffer
	if err := writeJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	const want = `{"runs":[],"scanned":3,"terminated":0,"killed":0,"survived":0,"skipped":0,"unread":0,"duration_ms":0}` + "\n"
	if b.String() != want {
		t.Errorf("got %swant %s", b.String(), want)
	}
	// The lists of a process without evidence are empty, not null.
	b.Reset()
	p := snapshot.Process{}
	r.run(&scan.Run{Key: snapshot.Key{ID: "abc1234"}})
	r.add(&snapshot.Snapshot{}, []*scan.Run{{Key: snapshot.Key{ID: "abc1234"}, Members: []scan.Member{{Process: &p}}}}, reaped)
	writeJSON(&b, r)
	if !strings.Contains(b.String(), `"owner":null`) || !strings.Contains(b.String(), `"argv":[],"evidence":[]`) {
		t.Errorf("null for an empty list: %s", b.String())
	}
}

// The actions of each command.
func TestActions(t *testing.T) {
	for _, c := range []struct {
		name   string
		say    intent
		end    string // of a process that is to be ended
		skip   string
		reason string // of a process that is to be ended
	}{
		{"list", listed, actionNone, actionNone, "reap would end it: its owner"},
		{"--dry-run", dry, actionDry, actionSkip, "its owner"},
		{"reap", reaped, actionNone, actionSkip, "its owner"}, // until it is ended
	} {
		got := reported(c.say).Runs[0].Processes
		if got[0].Action != c.end || got[2].Action != c.skip || !strings.HasPrefix(got[0].Reason, c.reason) || got[2].Reason == "" {
			t.Errorf("%s: %+v and %+v", c.name, got[0], got[2])
		}
	}
}

// An action stays in the report, whatever later scans find, and is counted once.
func TestEndedIsCounted(t *testing.T) {
	r, s := newReport(), snapshotOfThreeRuns()
	runs := scan.Judge(s, scan.Request{})
	r.add(s, runs, reaped)
	end := func(i int, f reap.Fate, why string) { r.ended(&reap.Ended{Process: s.Procs[i], Fate: f, Reason: why}) }
	end(0, reap.Terminated, "a")
	end(1, reap.Killed, "b")
	end(3, reap.Survived, "c")
	r.add(s, runs, reaped)
	r.close(0)
	if r.Terminated != 1 || r.Killed != 1 || r.Survived != 1 || r.Skipped != 1 {
		t.Errorf("%+v", r)
	}
	p := r.Runs[0].Processes
	if p[0].Action != actionTerm || p[0].Reason != "a" || p[1].Action != actionKill || r.Runs[1].Processes[0].Action != actionLeft {
		t.Errorf("%+v %+v", p[0], p[1])
	}
}
