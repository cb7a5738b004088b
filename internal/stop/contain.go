package stop

import (
	"errors"

	"leash/internal/proc"
)

// deepest is how far above a process the worker is looked for.
const deepest = 64

// Contains reports whether a process is the worker or one of its tree, without
// following the tree anew: it is known, it has the worker's marks, or one of
// those above it is or has. What has been reaped cannot be told any more.
func (t *Tree) Contains(h Handle) bool {
	info, err := h.Look()
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
		parent, err := p.Look()
		if err != nil || t.never(parent.ID) {
			return false
		}
		// Had the number changed hands before it was opened, the child would
		// have another parent by now.
		again, err := h.Look()
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

// marked reports whether a process belongs by what is known of itself.
func (t *Tree) marked(h Handle, info proc.Info) bool {
	if info.PID == t.root.PID {
		return is(t.Root, t.root.ID, info.ID)
	}
	if info.Leash { // held, if at all, to look below it; below the worker it is found by its parents
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

// is reports whether a process is the one that is held. Where only numbers tell,
// they tell as long as the one that is held has not been reaped.
func is(held Handle, known, found proc.ID) bool {
	switch known.Match(found) {
	case proc.Same:
		return true
	case proc.Perhaps:
		_, err := held.Look()
		return !errors.Is(err, proc.ErrGone)
	}
	return false
}

// Shock sends a signal to the worker itself, then SIGCONT, so that one who is
// stopped hears it.
func (t *Tree) Shock(sig proc.Signal) []Sent {
	t.sent = t.sent[:0]
	if t.lookAtRoot(false); !t.rootDead {
		t.one(t.Root, t.root.PID, sig)
		t.one(t.Root, t.root.PID, CONT)
	}
	return t.sent
}
