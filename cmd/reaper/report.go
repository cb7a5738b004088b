package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/reap"
	"leash/scan"
)

// report is the output of --json; users rely on its fields.
type report struct {
	Runs       []*runReport `json:"runs"`
	Scanned    int          `json:"scanned"`
	Terminated int          `json:"terminated"`
	Killed     int          `json:"killed"`
	Survived   int          `json:"survived"`
	Skipped    int          `json:"skipped"`
	Unread     int          `json:"unread"`           // processes of our user whose files could not be read
	Hidden     int          `json:"hidden,omitempty"` // processes whose environment the system hides
	DurationMS int64        `json:"duration_ms"`

	index map[entryKey]*processReport
	same  map[proc.ID][]*processReport // in each run that it counts to
	runs  map[snapshot.Key]*runReport
	scans int
}

type runReport struct {
	RunID     string           `json:"run_id"`
	UID       uint32           `json:"uid"`
	State     string           `json:"state"`
	Reason    string           `json:"reason"`
	Owner     *ownerReport     `json:"owner"`
	Processes []*processReport `json:"processes"`

	told bool // it was logged
}

type ownerReport struct {
	PID   int  `json:"pid"`
	Alive bool `json:"alive"`
}

type processReport struct {
	PID      int      `json:"pid"`
	PPID     int      `json:"ppid"`
	UID      uint32   `json:"uid"`
	Argv     []string `json:"argv"`
	Evidence []string `json:"evidence"`
	Action   string   `json:"action"`
	Reason   string   `json:"reason"`
	// Unguarded: its watchdog is dead, but its run is alive.
	Unguarded bool `json:"unguarded,omitempty"`
	*Figures       // nil but in a list

	proc     snapshot.Process
	evidence scan.Evidence
	verdict  scan.Verdict
	ending   bool // something was done to it, or is to be
	watchdog int  // that was ending it
	seen     int  // in which scan
}

type entryKey struct {
	run snapshot.Key
	id  proc.ID
}

// The actions of the report.
const (
	actionNone = "none"
	actionTerm = "terminated"
	actionKill = "killed"
	actionLeft = "survived"
	actionSkip = "skipped"
	actionDry  = "would_terminate"
)

func newReport() *report {
	return &report{Runs: []*runReport{}, index: make(map[entryKey]*processReport),
		same: make(map[proc.ID][]*processReport), runs: make(map[snapshot.Key]*runReport)}
}

// intent is how a verdict is reported.
type intent func(*scan.Member) (action, reason string)

// listed is the intent of list: no action, and the reason says what reap would do.
func listed(m *scan.Member) (string, string) {
	switch m.Verdict {
	case scan.End:
		return actionNone, "reap would end it: " + m.Reason
	case scan.Skip:
		return actionNone, "reap would leave it alone: " + m.Reason
	}
	return actionNone, m.Reason
}

// dry is the intent of a dry run: the action that reap would take.
func dry(m *scan.Member) (string, string) {
	if m.Verdict == scan.End {
		return actionDry, m.Reason
	}
	return reaped(m)
}

// reaped is the intent of reap: the action on a process to be ended is known later.
func reaped(m *scan.Member) (string, string) {
	if m.Verdict == scan.Skip {
		return actionSkip, m.Reason
	}
	return actionNone, m.Reason
}

// add adds one judgement.
func (r *report) add(s *snapshot.Snapshot, runs []*scan.Run, say intent) {
	r.Scanned, r.Unread, r.Hidden = max(r.Scanned, s.Scanned), max(r.Unread, s.Unread), max(r.Hidden, s.Hidden)
	r.scans++
	for _, run := range runs {
		rr := r.run(run)
		for i := range run.Members {
			m := &run.Members[i]
			p := r.process(rr, run.Key, m.Process)
			if p.ending {
				continue
			}
			// Keep earlier evidence: a parent may have exited since.
			p.evidence |= m.Evidence
			p.Evidence, p.verdict = p.evidence.Names(), m.Verdict
			p.watchdog, p.seen, p.Unguarded = m.Watchdog, r.scans, m.Unguarded
			p.Action, p.Reason = say(m)
		}
	}
}

func (r *report) run(run *scan.Run) *runReport {
	rr := r.runs[run.Key]
	if rr == nil {
		rr = &runReport{RunID: run.ID, UID: run.UID, Processes: []*processReport{}}
		r.runs[run.Key] = rr
		r.Runs = append(r.Runs, rr)
	}
	rr.State, rr.Reason = run.State.String(), run.Why
	if run.Owner != nil {
		rr.Owner = &ownerReport{run.Owner.PID, run.OwnerLives()}
	}
	return rr
}

func (r *report) process(rr *runReport, run snapshot.Key, p *snapshot.Process) *processReport {
	k := entryKey{run, proc.ID{PID: p.PID, Start: p.Start}}
	pr := r.index[k]
	if pr == nil {
		pr = &processReport{PID: p.PID, PPID: p.PPID, UID: p.UID, Argv: p.Args, proc: *p}
		if pr.Argv == nil {
			pr.Argv = []string{}
		}
		r.index[k] = pr
		r.same[k.id] = append(r.same[k.id], pr)
		rr.Processes = append(rr.Processes, pr)
	}
	return pr
}

var fates = map[reap.Fate]string{reap.None: actionNone, reap.Terminated: actionTerm, reap.Killed: actionKill, reap.Survived: actionLeft}

// ended sets the result for a process, in every run that lists it.
func (r *report) ended(e *reap.Ended) {
	for _, p := range r.same[proc.ID{PID: e.PID, Start: e.Start}] {
		p.ending, p.Action, p.Reason = true, fates[e.Fate], e.Reason
	}
}

// unseen is a note on how many processes have an environment that cannot be read, and which
// evidence is left; empty if there are none.
func (r *report) unseen() string {
	if r.Hidden == 0 {
		return ""
	}
	return "the system hides the environment of " + number(r.Hidden, "process") +
		" (System Integrity Protection): only arguments, the ledger, groups, sessions and descent can show whether they belong to a run"
}

// close counts and sorts.
func (r *report) close(took time.Duration) {
	r.DurationMS = took.Milliseconds()
	counts := map[string]*int{actionTerm: &r.Terminated, actionKill: &r.Killed, actionLeft: &r.Survived, actionSkip: &r.Skipped}
	for _, listed := range r.same {
		for _, p := range listed {
			if p.watchdog != 0 && p.seen < r.scans && p.Action == actionSkip {
				p.Action, p.Reason = actionNone, fmt.Sprintf("its watchdog (PID %d) has ended it", p.watchdog)
			}
		}
		if n := counts[listed[0].Action]; n != nil {
			*n++
		}
	}
	slices.SortFunc(r.Runs, func(a, b *runReport) int {
		return cmp.Or(cmp.Compare(a.RunID, b.RunID), cmp.Compare(a.UID, b.UID))
	})
	for _, run := range r.Runs {
		slices.SortFunc(run.Processes, func(a, b *processReport) int { return cmp.Compare(a.PID, b.PID) })
	}
}

// writeJSON writes one object in one line.
func writeJSON(w io.Writer, object any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(object)
}
