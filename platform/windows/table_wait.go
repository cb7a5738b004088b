//go:build windows

package windows

import (
	"time"

	"leash/internal/snapshot"
)

// tableHandle is snapshot.Handle.
type tableHandle struct {
	*handle
	t    *Table
	over bool // Wait has noticed its end
}

// Open takes a handle on the process that has the PID now; proc.ErrGone if none has, and
// for the hosts of consoles (see Kernel.openProgram).
func (t *Table) Open(pid int) (snapshot.Handle, error) {
	h, err := t.Kernel.openProgram(pid)
	if err != nil {
		return nil, err
	}
	th := &tableHandle{handle: h, t: t}
	t.open[pid] = th
	return th, nil
}

// Close closes the handle.
func (h *tableHandle) Close() {
	if h.t.open[h.pid] == h {
		delete(h.t.open, h.pid)
	}
	h.handle.Close()
}

// Same reports whether it is a process that a scan found which began at that tick:
// one that gets the PID later is created later, and none gets it while the handle is
// open.
func (h *tableHandle) Same(p *snapshot.Process, tick uint64) bool {
	return p.PID == h.pid && p.Start == h.start && p.Start < tick && !h.closed() && !h.ended()
}

// Read reads anew what is known of the process, and of no other.
func (h *tableHandle) Read() (snapshot.Process, error) {
	p, _, err := h.t.read(h.handle)
	return p, err
}

// Inode is 0: the creation time, in units of 100 ns, identifies a process better.
func (h *tableHandle) Inode() uint64 { return 0 }

// Notify makes Wait notice its end.
func (h *tableHandle) Notify() {
	if h.over || h.closed() || h.entry != nil {
		return
	}
	e, err := h.t.waits.add(h.handle)
	if err != nil { // for want of that right, say
		h.t.blind = true
		return
	}
	h.entry = e
	h.t.waited[e] = h
}

// Over reports whether Wait has noticed its end.
func (h *tableHandle) Over() bool { return h.over }

func (t *Table) forget(h *handle) {
	t.waits.remove(h.entry)
	delete(t.waited, h.entry)
	h.entry = nil
}

// Wait returns true when all processes that are waited for have ended, and false at the
// deadline.
func (t *Table) Wait(until time.Duration) (quiet bool, err error) {
	for {
		left := until - t.Now()
		if left <= 0 {
			return false, nil
		}
		blind := t.blind
		if blind {
			left = min(left, endingPoll)
		}
		waiting := len(t.waited) > 0
		t.sleep(left)
		if blind || waiting && len(t.waited) == 0 {
			return true, nil
		}
	}
}

// sleep blocks until a process has ended, or for that long.
func (t *Table) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case it := <-t.told:
		h := t.waited[it.ended]
		if h == nil { // closed meanwhile
			return
		}
		delete(t.waited, it.ended)
		h.entry, h.over = nil, true
	case <-timer.C:
	}
}
