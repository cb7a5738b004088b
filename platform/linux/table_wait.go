//go:build linux

package linux

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/scan"
)

// waiter waits for the ends of many processes.
type waiter struct {
	loop   *loop
	waited map[int]*handle
	start  time.Time
	blind  bool // nobody tells of ends: ask again and again
}

func (w *waiter) init(k *Kernel) (err error) {
	w.waited, w.start, w.blind = make(map[int]*handle), time.Now(), !k.PIDFDs
	if w.loop, err = newLoop(); err != nil {
		return err
	}
	k.notify, k.forget = w.notify, w.forget
	return nil
}

func (w *waiter) notify(h *handle) {
	if h.dir || h.token != 0 || h.fd < 0 {
		return
	}
	if token := w.loop.token(); w.loop.add(h.fd, token) == nil {
		h.token, w.waited[token] = token, h
	}
}

func (w *waiter) forget(h *handle) {
	delete(w.waited, h.token)
	w.loop.remove(h.fd)
	h.token = 0
}

// Now stands still while the machine sleeps (CLOCK_MONOTONIC).
func (t *Table) Now() time.Duration { return time.Since(t.wait.start) }

// Wait returns true when the last whose end is waited for has ended, and false
// at the deadline.
func (t *Table) Wait(until time.Duration) (quiet bool, err error) {
	w := &t.wait
	for {
		left := until - t.Now()
		if left <= 0 {
			return false, nil
		}
		if w.blind {
			pause(min(left, endingPoll))
			return true, nil
		}
		waiting := len(w.waited) > 0
		err := w.loop.wait(left, true, func(token int) {
			if h := w.waited[token]; h != nil {
				w.forget(h)
				h.ended = true
			}
		})
		if err != nil {
			return false, err
		}
		if waiting && len(w.waited) == 0 {
			return true, nil
		}
	}
}

// Age is how long ago a process started.
func (t *Table) Age(start uint64) time.Duration {
	return time.Duration(t.Kernel.Tick()-min(start, t.Kernel.Tick())) * (time.Second / userHZ)
}

// Tick is the present in the unit of proc.ID.Start.
func (t *Table) Tick() uint64 { return t.Kernel.Tick() }

// TableHandle stands for one process and never for a later one of its number.
type TableHandle struct {
	*handle
	t *Table
}

// Open takes a handle on whoever has the number now.
func (t *Table) Open(pid int) (*TableHandle, error) {
	h, err := t.Kernel.open(pid)
	if err != nil {
		return nil, err
	}
	if h.fd > t.most {
		h.Close()
		return nil, unix.EMFILE
	}
	return &TableHandle{h, t}, nil
}

// Read reads anew what is known of the process, and of no other.
func (h *TableHandle) Read() (scan.Process, error) {
	p, err := h.t.first.read(h.pid)
	if gone := h.probe(); gone != nil {
		return p, gone
	}
	p.Inode = h.inode
	return p, err
}

// Same looks whether it is still, or again, the process of a scan that began
// at a tick before which that one had started. Whoever has the number now and
// started then too is he: a later owner would have started later.
func (h *TableHandle) Same(p *scan.Process, tick uint64) bool {
	if p.Start >= tick {
		return false
	}
	b, err := h.t.first.short(h.pid, "stat")
	if err != nil {
		return false
	}
	info, err := ParseStat(b)
	return err == nil && info.Start == p.Start && h.probe() == nil
}

// Inode is that of the handle.
func (h *TableHandle) Inode() uint64 { return h.inode }

// Over reports whether Wait has heard of its end.
func (h *TableHandle) Over() bool { return h.ended }

// Read reads one process; proc.ErrGone if there is none.
func (t *Table) Read(pid int) (scan.Process, error) {
	h, err := t.Open(pid)
	if errors.Is(err, proc.ErrGone) {
		return scan.Process{}, err
	}
	if err == nil {
		defer h.Close()
		return h.Read()
	}
	return t.first.read(pid)
}
