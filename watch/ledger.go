package watch

import (
	"time"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
)

// Record is the ledger's record of this watch, without its labels. The worker must have
// been started or adopted.
func (w *Worker) Record() (ledger.Record, error) {
	r := ledger.Record{Worker: w.tree.Worker().ID, Started: time.Now(), Cgroup: w.hold.Cgroup()}
	var err error
	if r.Boot, r.NS, err = w.Sys.Here(); err != nil {
		return r, err
	}
	if r.Watchdog, err = w.Sys.Self(); err != nil {
		return r, err
	}
	for _, p := range w.parents {
		r.Parents = append(r.Parents, p.id)
	}
	w.Refresh(&r)
	return r, nil
}

// Refresh updates what changes while the worker lives. It reports whether the record was
// out of date: a process was started since, or the worker changed its group or session.
func (w *Worker) Refresh(r *ledger.Record) (stale bool) {
	since := r.Seen
	tick := w.Sys.Tick()
	w.Tallied(r)
	// A zombie keeps its PID, and with it the IDs of group and session.
	if info, err := w.worker.Info(); err == nil {
		stale = r.Group != info.PGID || r.Session != info.SID
		r.Seen, r.Group, r.Session = tick, info.PGID, info.SID
	}
	if w.ending { // the record is written anyway, and the scan would delay the ending
		return stale
	}
	for _, l := range w.tree.Survivors() {
		stale = stale || l.Match(r.Worker) == proc.Different && l.Start >= since
	}
	return stale
}

// Owner is the identity of the first parent in the form of LEASH_RUN_OWNER; empty if it
// is not known.
func (w *Worker) Owner() string {
	if len(w.parents) == 0 {
		return ""
	}
	boot, ns, err := w.Sys.Here()
	if err != nil {
		return ""
	}
	id := w.parents[0].id
	return owner.Owner{PID: id.PID, Start: id.Start, Boot: boot, NS: ns}.String()
}

// Created is when a process was started.
func (w *Worker) Created(id proc.ID) time.Time { return w.Sys.Created(id) }
