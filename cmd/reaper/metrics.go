package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"leash/internal/gauge"
	"leash/internal/ledger"
	"leash/internal/snapshot"
	"leash/platform"
	"leash/scan"
)

// metrics prints what is to be watched, in Prometheus' text format.
func metrics(f *flags) error {
	j, s, err := observe(f)
	if err != nil {
		return err
	}
	j.problems()
	runs := scan.Judge(s, scan.Request{})
	x := &exposition{}
	x.runs(runs, func(pids []int) map[int]uint64 { return gauge.Memory(pids) })
	x.workers(s, time.Now())
	x.counts(j.table.Counts())
	last, ok := j.table.LastReap()
	x.reap(last, ok)
	x.gauge("leash_ledger_writable", "Whether a watchdog of this user could write its record.", sample{value: oneIf(platform.CheckLedger() == nil)})
	x.gauge("leash_scanned_processes", "Processes that were read for these figures.", sample{value: float64(s.Scanned)})
	x.gauge("leash_unread_processes", "Processes of this user that could not be read.", sample{value: float64(s.Unread)})
	if f.Metrics.Output != "" {
		if err := platform.ReplaceFile(f.Metrics.Output, x.Bytes()); err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		return nil
	}
	_, err = os.Stdout.Write(x.Bytes())
	return err
}

// exposition is a page of Prometheus' text format.
type exposition struct{ bytes.Buffer }

// sample is one line: labels in pairs, and a value.
type sample struct {
	labels []string
	value  float64
}

func (x *exposition) gauge(name, help string, samples ...sample) {
	x.family(name, "gauge", help, samples)
}

func (x *exposition) counter(name, help string, samples ...sample) {
	x.family(name, "counter", help, samples)
}

func (x *exposition) family(name, kind, help string, samples []sample) {
	if len(samples) == 0 {
		return
	}
	fmt.Fprintf(x, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	for _, s := range samples {
		x.WriteString(name)
		for i := 0; i < len(s.labels); i += 2 {
			x.WriteString(string("{,"[min(i, 1)]) + s.labels[i] + `="` + labelValue(s.labels[i+1]) + `"`)
		}
		if len(s.labels) > 0 {
			x.WriteByte('}')
		}
		x.WriteString(" " + strconv.FormatFloat(s.value, 'f', -1, 64) + "\n")
	}
}

// mostLabel bounds the bytes of a label: any user can choose a worker ID.
const mostLabel = 256

// labelValue escapes a value of a label (Prometheus, "Exposition formats").
func labelValue(text string) string {
	if len(text) > mostLabel {
		text = text[:mostLabel]
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(text, "\ufffd"))
}

func oneIf(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// states are in every page, also with 0: else an alert would not see the end of it.
var states = []string{scan.DeadRun.String(), scan.AliveRun.String(), scan.Unclaimed.String()}

// runs counts runs and their processes. A process of two runs of one state counts once.
func (x *exposition) runs(runs []*scan.Run, memory func([]int) map[int]uint64) {
	count, processes := make(map[string]int), make(map[string]map[int]bool)
	unguarded := make(map[int]bool)
	all := make(map[int]bool)
	for _, r := range runs {
		state := r.State.String()
		count[state]++
		if processes[state] == nil {
			processes[state] = make(map[int]bool)
		}
		for i := range r.Members {
			m := &r.Members[i]
			processes[state][m.PID], all[m.PID] = true, true
			if m.Unguarded {
				unguarded[m.PID] = true
			}
		}
	}
	sizes := memory(slices.Collect(maps.Keys(all)))
	var a, b, c []sample
	for _, state := range states {
		label, total := []string{"state", state}, uint64(0)
		for pid := range processes[state] {
			total += sizes[pid]
		}
		a = append(a, sample{label, float64(count[state])})
		b = append(b, sample{label, float64(len(processes[state]))})
		c = append(c, sample{label, float64(total)})
	}
	x.gauge("leash_runs", "Runs that have processes, by state: dead ones are left over.", a...)
	x.gauge("leash_processes", "Processes of runs, by the state of their run.", b...)
	x.gauge("leash_memory_bytes", "Resident memory of the processes of runs, by the state of their run.", c...)
	x.gauge("leash_unguarded_processes", "Processes of live runs whose watchdog is dead.", sample{value: float64(len(unguarded))})
}

// mostWorkers bounds the series: root reads the records of all users.
const mostWorkers = 10_000

// workers shows the living workers of the ledger. Workers with the same names are one series.
func (x *exposition) workers(s *snapshot.Snapshot, now time.Time) {
	type names struct{ run, worker string }
	type figures struct {
		ledger.Counts
		age   float64
		beats bool
	}
	found := make(map[names]*figures)
	for i := range s.Records {
		r := &s.Records[i]
		if !s.Here(r) || s.Lives[r.Worker] != snapshot.Alive {
			continue
		}
		n := names{r.RunID, r.WorkerID}
		f := found[n]
		if f == nil && len(found) >= mostWorkers {
			continue
		}
		if f == nil {
			f = &figures{}
			found[n] = f
		}
		f.Add(r.Counts)
		if !r.Beat.IsZero() {
			f.age, f.beats = max(f.age, now.Sub(r.Beat).Seconds()), true
		}
	}
	order := slices.SortedFunc(maps.Keys(found), func(a, b names) int {
		return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(a.worker, b.worker))
	})
	var restarts, hangs, missed, ages []sample
	for _, n := range order {
		f, labels := found[n], []string{"run_id", n.run, "worker_id", n.worker}
		restarts = append(restarts, sample{labels, float64(f.Restarts)})
		hangs = append(hangs, sample{labels, float64(f.Hangs)})
		missed = append(missed, sample{labels, float64(f.Missed)})
		if f.beats {
			ages = append(ages, sample{labels, max(0, f.age)})
		}
	}
	x.gauge("leash_workers", "Living workers with a record.", sample{value: float64(len(order))})
	x.counter("leash_worker_restarts_total", "Restarts by the watchdog of a living worker.", restarts...)
	x.counter("leash_worker_hangs_total", "Workers that hung, by the watchdog of a living worker.", hangs...)
	x.counter("leash_worker_missed_beats_total", "Heartbeats that were missed, by the watchdog of a living worker.", missed...)
	x.gauge("leash_worker_last_beat_age_seconds", "Seconds since the last heartbeat of a living worker, five too many at most.", ages...)
}

// counts shows what all watchdogs have counted, also those of ended workers.
func (x *exposition) counts(c ledger.Counts) {
	for _, f := range []struct {
		name, help string
		n          uint64
	}{
		{"leash_restarts_total", "Restarts of workers.", c.Restarts},
		{"leash_hangs_total", "Workers that hung.", c.Hangs},
		{"leash_missed_beats_total", "Heartbeats that were missed.", c.Missed},
		{"leash_parent_deaths_total", "Workers that were ended because their parent had died.", c.ParentDeaths},
		{"leash_restarts_exhausted_total", "Workers that failed too often in a row and were not restarted.", c.Exhausted},
	} {
		x.counter(f.name, f.help, sample{value: float64(f.n)})
	}
}

// reap shows what the last reap found and did, if there was one.
func (x *exposition) reap(l ledger.LastReap, ok bool) {
	if !ok {
		return
	}
	x.gauge("leash_reap_last_timestamp_seconds", "When the last reap ended.", sample{value: float64(l.At.UnixMilli()) / 1000})
	x.gauge("leash_reap_last_scanned_processes", "Processes that the last reap read.", sample{value: float64(l.Scanned)})
	var list []sample
	for _, a := range []struct {
		action string
		n      int
	}{{actionTerm, l.Terminated}, {actionKill, l.Killed}, {actionLeft, l.Survived}, {actionSkip, l.Skipped}} {
		list = append(list, sample{[]string{"action", a.action}, float64(a.n)})
	}
	x.gauge("leash_reap_last_processes", "What the last reap did, in processes.", list...)
}

// keep remembers for metrics what this reap did. Where that is not possible metrics shows an
// older one.
func (j *job) keep() {
	r := j.report
	platform.KeepReap(&ledger.LastReap{At: time.Now(), Scanned: r.Scanned, Terminated: r.Terminated,
		Killed: r.Killed, Survived: r.Survived, Skipped: r.Skipped})
}
