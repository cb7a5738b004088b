//go:build windows

package windows

import (
	"time"

	"leash/internal/proc"
	"leash/scan"
)

// TableHandle stands for one process and never for a later one of its number.
type TableHandle struct {
	*handle
	t    *Table
	over bool // Wait has told of its end
}

// Open takes a handle on whoever has the number now, but for the hosts of
// consoles (see Kernel.Open).
func (t *Table) Open(pid int) (*TableHandle, error) {
	h, err := t.Kernel.open(pid)
	if err != nil {
		return nil, err
	}
	if isConsoleHost(h.exe) {
		h.Close()
		return nil, proc.ErrGone
	}
	th := &TableHandle{handle: h, t: t}
	t.open[pid] = th
	return th, nil
}

// Close lets go of it.
func (h *TableHandle) Close() {
	if h.t.open[h.pid] == h {
		delete(h.t.open, h.pid)
	}
	h.handle.Close()
}

// Same reports whether it is the process of a scan that began at a tick before
// which that one had started: who gets the number later is created later, and
// nobody gets it while we hold the handle.
func (h *TableHandle) Same(p *scan.Process, tick uint64) bool {
	return p.PID == h.pid && p.Start == h.start && p.Start < tick && !h.closed() && !h.ended()
}

// Read reads anew what is known of the process, and of no other.
func (h *TableHandle) Read() (scan.Process, error) {
	p, _, err := h.t.read(h.handle)
	return p, err
}

// Inode is none: the creation time tells more.
func (h *TableHandle) Inode() uint64 { return 0 }

// Notify has Wait tell of its end.
func (h *TableHandle) Notify() {
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

// Over reports whether Wait has heard of its end.
func (h *TableHandle) Over() bool { return h.over }

func (t *Table) forget(h *handle) {
	t.waits.remove(h.entry)
	delete(t.waited, h.entry)
	h.entry = nil
}

// Wait returns true when the last whose end is waited for has ended, and false
// at the deadline.
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

// sleep blocks until somebody has ended, or for that long.
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
