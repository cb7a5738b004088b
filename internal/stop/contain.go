package stop

import (
	"errors"

	"leash/internal/proc"
)

// deepest is how many ancestors of a process are searched for the worker.
const deepest = 64

// Contains reports whether a process is the worker or in its tree, without a new
// scan: the process or one of its ancestors is known to be, or has the worker's
// group, session or labels. It is false for a process that has been reaped.
func (t *Tree) Contains(h Handle) bool {
	info, err := h.Info()
	if err != nil || t.Root == nil || t.never(info.ID) || t.fosters(info.PID) { // without a root: between two workers
		return false
	}
	if t.marked(h, info) {
		return true
	}
	var above []Handle
	defer func() {
		for _, p := range above {
			p.Close()
		}
	}()
	for range deepest {
		if t.fosters(info.PPID) {
			return true
		}
		if info.PPID <= 1 {
			return false
		}
		p, err := t.Kernel.Open(info.PPID)
		if err != nil {
			return false
		}
		above = append(above, p)
		parent, err := p.Info()
		if err != nil || t.never(parent.ID) {
			return false
		}
		// If the PID had been reused before it was opened, the child would have
		// another parent by now.
		again, err := h.Info()
		if err == nil && again.PPID != info.PPID {
			info = again
			continue
		}
		if err != nil && !errors.Is(err, proc.ErrGone) || parent.Start > info.Start {
			return false
		}
		if t.marked(p, parent) {
			return true
		}
		h, info = p, parent
	}
	return false
}

// marked reports whether a process belongs by its own identity, group, session or
// labels, whatever its ancestors are.
func (t *Tree) marked(h Handle, info proc.Info) bool {
	if info.PID == t.root.PID {
		return is(t.Root, t.root.ID, info.ID)
	}
	if info.Leash { // kept, if at all, to find its children; one in the tree is found by its ancestors
		return false
	}
	if m := t.members[info.PID]; m != nil && is(m.h, m.info.ID, info.ID) {
		return true
	}
	run, worker := "", ""
	// Another user's environment, of any length, need not be read.
	if t.RunID != "" && t.WorkerID != "" && info.UID == t.root.UID {
		run, worker = h.Labels()
	}
	return t.Claims(info, run, worker)
}

// is reports whether a process is the one that is held. Without inodes a PID and a
// start time identify it only until the process that is held has been reaped.
func is(held Handle, known, found proc.ID) bool {
	switch known.Match(found) {
	case proc.Same:
		return true
	case proc.Perhaps:
		_, err := held.Info()
		return !errors.Is(err, proc.ErrGone)
	}
	return false
}

// SignalHung sends a signal to the worker alone, then SIGCONT, so that a stopped
// worker handles it.
func (t *Tree) SignalHung(sig proc.Signal) []Sent {
	t.asking()
	t.sent = t.sent[:0]
	if t.readRoot(false); !t.rootDead {
		t.one(t.Root, t.root.PID, sig)
		t.one(t.Root, t.root.PID, CONT)
	}
	return t.sent
}
