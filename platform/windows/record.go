//go:build windows

package windows

import (
	"time"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
)

// id is who a process is, beyond its number.
func (h *handle) id() proc.ID { return proc.ID{PID: h.pid, Start: h.start} }

// Record is what the ledger is to say of this watch, but for its labels. The
// worker must be known.
func (h *Host) Record() (ledger.Record, error) {
	r := ledger.Record{Worker: h.worker.id(), Watchdog: h.self.id(), Boot: everyBoot, Started: time.Now()}
	for _, p := range h.parents {
		r.Parents = append(r.Parents, p.h.id())
	}
	h.Refresh(&r)
	return r, nil
}

// Refresh brings up to date what changes while the worker lives. It reports
// whether the record as it was does not cover the tree any more: somebody was
// born since.
func (h *Host) Refresh(r *ledger.Record) (stale bool) {
	since := r.Seen
	tick := h.Kernel.Tick()
	if info, err := h.worker.Look(); err == nil {
		stale = r.Group != info.PGID
		r.Seen, r.Group = tick, info.PGID
	}
	if h.ending { // who hurries is written anyway
		return stale
	}
	for _, l := range h.tree.Survivors() {
		stale = stale || l.PID != r.Worker.PID && l.Start >= since
	}
	return stale
}

// Owner is the identity of the first parent as LEASH_RUN_OWNER holds it.
func (h *Host) Owner() string {
	if len(h.parents) == 0 {
		return ""
	}
	id := h.parents[0].h.id()
	return owner.Owner{PID: id.PID, Start: id.Start, Boot: everyBoot}.String()
}

// Created is when a process began.
func (h *Host) Created(id proc.ID) time.Time {
	return time.Unix(0, (int64(id.Start)-epoch)*100)
}

// epoch is the start of 1970 ("FILETIME structure": counted from 1601).
const epoch = 116444736000000000
