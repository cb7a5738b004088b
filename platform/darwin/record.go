package darwin

import (
	"time"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
)

// Record is what the ledger is to say of this watch, but for its labels. The
// worker must be known. macOS has no PID namespaces: that field is 0.
func (h *Host) Record() (ledger.Record, error) {
	r := ledger.Record{Worker: h.tree.Worker().ID, Started: time.Now()}
	var err error
	if r.Boot, err = h.Kernel.here(); err != nil {
		return r, err
	}
	self, err := h.Kernel.open(h.Kernel.sys.Self())
	if err != nil {
		return r, err
	}
	r.Watchdog = self.id()
	for _, p := range h.parents {
		r.Parents = append(r.Parents, p.h.id())
	}
	h.Refresh(&r)
	return r, nil
}

// Refresh brings up to date what changes while the worker lives. It reports
// whether the record as it was does not cover the tree any more: somebody was
// born since, or the worker went to another group.
func (h *Host) Refresh(r *ledger.Record) (stale bool) {
	since := r.Seen
	tick := h.Kernel.Tick()
	// A zombie keeps its number, and with it those of group and session.
	if info, err := h.worker.Look(); err == nil {
		stale = r.Group != info.PGID || r.Session != info.SID
		r.Seen, r.Group, r.Session = tick, info.PGID, info.SID
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
	boot, err := h.Kernel.here()
	if err != nil {
		return ""
	}
	id := h.parents[0].h.id()
	return owner.Owner{PID: id.PID, Start: id.Start, Boot: boot}.String()
}

// Created is when a process began, as the clock was then.
func (h *Host) Created(id proc.ID) time.Time { return time.UnixMicro(int64(id.Start)) }
