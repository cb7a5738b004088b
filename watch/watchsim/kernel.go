package watchsim

import (
	"errors"

	"leash/internal/proc"
	"leash/internal/stop"
)

var errTooMany = errors.New("too many open files")

// Kernel is a world as a stop.Kernel for stop.Tree.
type Kernel struct{ W *World }

var _ stop.Kernel = Kernel{}

// Open implements stop.Kernel.
func (k Kernel) Open(pid int) (stop.Handle, error) {
	w := k.W
	w.step()
	p := w.holder(pid)
	if p == nil {
		return nil, proc.ErrGone
	}
	if w.OpenFails > 0 && w.Chance(w.OpenFails) {
		w.Trace.said(w.now, "open", errTooMany.Error(), p)
		if p.list == w.lists && p.parent == p.listedBy { // it was just listed
			p.missed = true
		}
		return nil, errTooMany
	}
	return w.open(p), nil
}

func (w *World) open(p *Proc) *handle {
	var h *handle
	if w.handlesN < len(w.handles) {
		h = &w.handles[w.handlesN]
		w.handlesN++
	} else {
		h = new(handle)
	}
	*h = handle{w: w, p: p}
	p.missed = false
	if p.open++; p.open == 1 {
		p.held = w.calls
	}
	w.Trace.add(w.now, "open", p, nil, 0)
	return h
}

// Children implements stop.Kernel. It is as unreliable as proc_pid_task(5) says.
func (k Kernel) Children(pid int, buf []int) ([]int, error) {
	w := k.W
	w.step()
	parent := w.holder(pid)
	if parent == nil {
		return buf, nil
	}
	fails := w.ListFails > 0 && w.Chance(w.ListFails)
	if w.lists++; fails {
		w.Trace.said(w.now, "children", errTooMany.Error(), parent)
	}
	before := len(buf)
	for _, c := range w.live {
		if c.parent != parent {
			continue
		}
		if c.missed = fails; fails && w.Chance(50) { // the list of one thread could be read
			continue
		}
		c.list, c.listedBy = w.lists, parent
		buf = append(buf, c.PID)
	}
	if fails {
		return buf, errTooMany
	}
	if n := len(buf) - before; n > 1 && w.Chance(20) {
		return w.tornList(parent, buf, before, before+1+w.N(n-1)), nil
	}
	return buf, nil
}

// tornList: processes acted while the list was being read. If one that was listed already is
// no child any more, one after it is missed.
func (w *World) tornList(parent *Proc, buf []int, before, at int) []int {
	w.step()
	missed := false
	for _, pid := range buf[before:at] {
		missed = missed || !w.isChild(pid, parent)
	}
	rest := buf[at:]
	buf = buf[:at]
	for _, pid := range rest {
		if missed {
			missed = false
		} else if w.isChild(pid, parent) {
			buf = append(buf, pid)
		}
	}
	return buf
}

func (w *World) isChild(pid int, parent *Proc) bool {
	p := w.holder(pid)
	return p != nil && p.parent == parent
}

// Tick implements stop.Kernel.
func (k Kernel) Tick() uint64 {
	w := k.W
	w.step()
	w.lastTick, w.lastWasTick = w.tick(), true
	return w.lastTick
}

type handle struct {
	w      *World
	p      *Proc
	closed bool

	owner   any // as given to Watch
	watched bool
	told    bool // its end was reported
	reaped  bool // as a child of the watchdog, or of a sentinel that reported it
	exit    proc.Exit
}

func (h *handle) use() {
	if h.closed {
		h.w.fail("a closed handle was used", h.p)
	}
}

// Info reads the process, then checks that the PID was not reused.
func (h *handle) Info() (proc.Info, error) {
	h.use()
	w, p := h.w, h.p
	afterTick := w.lastWasTick
	w.step()
	if w.LookFails > 0 && p.phase != reaped && w.Chance(w.LookFails) {
		w.Trace.said(w.now, "look", errTooMany.Error(), p)
		return proc.Info{ID: proc.ID{PID: p.PID, Inode: p.inode}}, errTooMany
	}
	info := p.info()
	seen := w.calls
	if w.Chance(10) {
		w.step()
	}
	if p.phase == reaped {
		return proc.Info{}, proc.ErrGone
	}
	p.looked = seen
	if info.Leash {
		p.leashLooks = seen
	}
	if p.is != nil && p.is.root == p && afterTick {
		p.is.rootSeenTick = w.lastTick
	}
	w.Trace.said(w.now, "look", string(info.State), p)
	return info, nil
}

func (p *Proc) info() proc.Info {
	i := proc.Info{ID: proc.ID{PID: p.PID, Start: p.start, Inode: p.inode},
		PGID: p.group.PID, SID: p.session.PID, State: 'S', Threads: 1, UID: p.UID, Leash: p.Leash}
	if p.parent != nil {
		i.PPID = p.parent.PID
	}
	switch {
	case p.phase == zombie:
		i.State, i.Leash = 'Z', false // a zombie has no executable
	case p.leaderGone:
		i.State, i.Threads = 'Z', 2
	case p.sleep:
		i.State = 'D'
	case p.stopped:
		i.State = 'T'
	}
	return i
}

func (w *World) may(p *Proc) bool { return w.Root || p.UID == ownUID }

// Signal implements stop.Handle.
func (h *handle) Signal(sig proc.Signal) error {
	h.use()
	w, p := h.w, h.p
	w.step()
	if p.phase == reaped {
		return proc.ErrGone
	}
	if sig.Num != 0 {
		w.Trace.said(w.now, sig.Name, alone, p)
	}
	if !w.may(p) {
		return proc.ErrDenied
	}
	w.send(p, sig, alone)
	return nil
}

// SignalGroup implements stop.Handle.
func (h *handle) SignalGroup(sig proc.Signal) error {
	h.use()
	w, leader := h.w, h.p
	w.step()
	if !w.GroupByHandle && (leader.phase == reaped || leader.group != leader) {
		return errors.ErrUnsupported
	}
	if sig.Num != 0 {
		w.Trace.said(w.now, sig.Name, "to the group of", leader)
	}
	if sig == proc.KILL && leader.ofHook && w.System.isHook(h) {
		w.killGroup(leader)
		return nil
	}
	w.group = w.group[:0]
	for _, p := range w.live {
		if p.group == leader {
			w.group = append(w.group, p)
		}
	}
	err := proc.ErrGone
	for _, p := range w.group {
		switch {
		case w.may(p):
			w.send(p, sig, inGroup)
			err = nil
		case err != nil:
			err = proc.ErrDenied
		}
	}
	return err
}

// Labels implements stop.Handle: those of a zombie or of another user cannot be read.
func (h *handle) Labels() (run, worker string) {
	h.use()
	h.w.step()
	if h.p.phase != alive || !h.w.may(h.p) {
		return "", ""
	}
	return h.p.Run, h.p.Label
}

// Close implements stop.Handle.
func (h *handle) Close() {
	h.use()
	h.closed = true
	h.p.open--
	if h.watched {
		h.w.System.unwatch(h)
	}
}
