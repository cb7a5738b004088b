//go:build linux

package linux

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/snapshot"
)

// waiter waits for the exits of many processes.
type waiter struct {
	loop   *loop
	waited map[int]*handle
	start  time.Time
	blind  bool // exits are not noticed: Wait returns soon, and its caller scans again
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

// Now is the time since the table was opened. It stands still while the machine sleeps
// (CLOCK_MONOTONIC).
func (t *Table) Now() time.Duration { return time.Since(t.wait.start) }

// Wait returns true once all watched processes have ended, and false at the deadline.
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

// Tick is the present in the unit of proc.ID.Start, clock ticks since boot.
func (t *Table) Tick() uint64 { return t.Kernel.Tick() }

// tableHandle is snapshot.Handle.
type tableHandle struct {
	*handle
	t *Table
}

// Open opens a handle on the process that has the PID now; proc.ErrGone if there is none.
func (t *Table) Open(pid int) (snapshot.Handle, error) {
	h, err := t.Kernel.open(pid)
	if err != nil {
		return nil, err
	}
	if h.fd > t.most {
		h.Close()
		return nil, unix.EMFILE
	}
	return &tableHandle{h, t}, nil
}

// Read reads again what is known of the process that the handle stands for.
func (h *tableHandle) Read() (snapshot.Process, error) {
	p, err := h.t.first.read(h.pid)
	if gone := h.probe(); gone != nil {
		return p, gone
	}
	p.Inode = h.inode
	return p, err
}

// Same reports whether the handle stands for a process that a scan found which began at that
// tick. A process that has the PID now and started before the scan is the same one: any later
// process would have started later.
func (h *tableHandle) Same(p *snapshot.Process, tick uint64) bool {
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

// Inode is the pidfd's; 0 where it identifies nothing (before Linux 6.9).
func (h *tableHandle) Inode() uint64 { return h.inode }

// Over reports whether Wait has noticed the exit.
func (h *tableHandle) Over() bool { return h.ended }

// Read reads one process; proc.ErrGone if there is none.
func (t *Table) Read(pid int) (snapshot.Process, error) {
	h, err := t.Open(pid)
	if errors.Is(err, proc.ErrGone) {
		return snapshot.Process{}, err
	}
	if err == nil {
		defer h.Close()
		return h.Read()
	}
	return t.first.read(pid)
}
