package main

import (
	"strings"
	"testing"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/scan"
)

func TestMetricsOfRuns(t *testing.T) {
	x := &exposition{}
	x.runs(scan.Judge(snapshotOfThreeRuns(), scan.Request{}), func(pids []int) map[int]uint64 {
		sizes := map[int]uint64{}
		for _, pid := range pids {
			sizes[pid] = 1000
		}
		return sizes
	})
	for _, want := range []string{
		"# TYPE leash_runs gauge\nleash_runs{state=\"dead\"} 1\nleash_runs{state=\"alive\"} 1\nleash_runs{state=\"unclaimed\"} 1\n",
		`leash_processes{state="dead"} 3`, `leash_memory_bytes{state="dead"} 3000`, "leash_unguarded_processes 0\n",
	} {
		if !strings.Contains(x.String(), want) {
			t.Errorf("no %s in\n%s", want, x)
		}
	}
	x.Reset()
	x.runs(nil, func([]int) map[int]uint64 { return nil })
	if strings.Count(x.String(), `{state="`) != 9 {
		t.Errorf("a state is missing:\n%s", x)
	}
}

func TestMetricsOfWorkers(t *testing.T) {
	at := time.UnixMilli(1700000100000)
	record := func(pid int, worker string, c ledger.Counts, beat time.Duration) ledger.Record {
		r := ledger.Record{RunID: "abc1234", WorkerID: worker, Boot: "b", NS: 1, Worker: proc.ID{PID: pid, Start: 5}, Counts: c}
		if beat != 0 {
			r.Beat = at.Add(-beat)
		}
		return r
	}
	s := &snapshot.Snapshot{Boot: "b", NS: 1, Lives: map[proc.ID]snapshot.Life{},
		Records: []ledger.Record{
			record(2, "w\"1\\\n\xff", ledger.Counts{Restarts: 1}, 0),
			record(3, "same", ledger.Counts{Restarts: 2, Hangs: 1}, 1500*time.Millisecond),
			record(4, "same", ledger.Counts{Restarts: 3}, 500*time.Millisecond),
			record(5, "dead", ledger.Counts{Restarts: 9}, time.Second),
			record(6, "elsewhere", ledger.Counts{Restarts: 9}, time.Second),
			record(7, "future", ledger.Counts{}, -time.Hour),
		}}
	for i, life := range []snapshot.Life{snapshot.Alive, snapshot.Alive, snapshot.Alive, snapshot.Dead, snapshot.Alive, snapshot.Alive} {
		s.Lives[s.Records[i].Worker] = life
	}
	s.Records[4].NS = 2
	x := &exposition{}
	x.workers(s, at)
	for _, want := range []string{
		`leash_worker_restarts_total{run_id="abc1234",worker_id="w\"1\\\n` + "\ufffd" + `"} 1` + "\n",
		`leash_worker_restarts_total{run_id="abc1234",worker_id="same"} 5` + "\n",
		`leash_worker_hangs_total{run_id="abc1234",worker_id="same"} 1` + "\n",
		`leash_worker_last_beat_age_seconds{run_id="abc1234",worker_id="same"} 1.5` + "\n",
		`leash_worker_last_beat_age_seconds{run_id="abc1234",worker_id="future"} 0` + "\n",
		"leash_workers 3\n",
	} {
		if !strings.Contains(x.String(), want) {
			t.Errorf("no %s in\n%s", want, x)
		}
	}
	if text := x.String(); strings.Contains(text, "dead") || strings.Contains(text, "elsewhere") || strings.Count(text, "last_beat_age_seconds{") != 2 {
		t.Errorf("\n%s", text)
	}
}

// Before the first reap there is no figure of one.
func TestMetricsOfTheLastReap(t *testing.T) {
	x := &exposition{}
	if x.reap(ledger.LastReap{}, false); x.Len() > 0 {
		t.Error(x)
	}
	x.reap(ledger.LastReap{At: time.UnixMilli(1700000000250), Killed: 2, Survived: 1}, true)
	for _, want := range []string{"leash_reap_last_timestamp_seconds 1700000000.25\n", `{action="terminated"} 0`, `{action="killed"} 2`, `{action="survived"} 1`, `{action="skipped"} 0`} {
		if !strings.Contains(x.String(), want) {
			t.Errorf("no %s in\n%s", want, x)
		}
	}
}

func TestLongLabels(t *testing.T) {
	if got := labelValue(strings.Repeat("ä", 1000)); len(got) > mostLabel+3 {
		t.Errorf("%d bytes", len(got))
	}
}
