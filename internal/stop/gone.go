package stop

import (
	"errors"
	"slices"

	"leash/internal/proc"
)

// AdoptGone is Adopt for a worker that was reaped before it could be read: only the
// labels in the environment of its descendants identify the tree. The group and
// session with its PID may be another process's and prove nothing. h is a handle that
// returns proc.ErrGone; uid is the user whose processes may belong to the tree.
func (t *Tree) AdoptGone(h Handle, pid int, uid uint32) {
	t.members, t.unopened = make(map[int]*member), make(map[int]unopened)
	t.Root, t.root = h, proc.Info{ID: proc.ID{PID: pid}, State: 'X', UID: uid}
	t.rootDead, t.rootGone = true, true
}

// doubt notes a process that is left over from a worker that was reaped before it could be
// read, or belongs to the next worker: a parent that is PID 1 adopts the former and starts
// the latter. It is not signalled, and it counts as left.
func (t *Tree) doubt(info proc.Info, run, worker string) {
	ofInit := slices.ContainsFunc(t.Parents, func(p proc.Info) bool { return p.PID == 1 })
	labelled := run == t.RunID && worker == t.WorkerID && info.UID == t.root.UID && !info.Leash
	if t.rootTick == 0 && ofInit && labelled && t.belowSuccessor(info) {
		t.doubtful = append(t.doubtful, Left{info.ID, "it has the worker's labels, but below PID 1 it may be the next worker: " +
			"name the parent with --parent-pid"})
	}
}

// belowSuccessor reports whether a process descends from the next worker with the
// same ID, whose descendants have the same labels.
func (t *Tree) belowSuccessor(info proc.Info) bool {
	for range deepest {
		if t.successor(info) {
			return true
		}
		if len(t.Parents) == 0 || info.PPID <= 1 || t.members[info.PPID] != nil || info.PPID == t.root.PID && !t.rootGone {
			return false
		}
		h, err := t.Kernel.Open(info.PPID)
		if err != nil {
			return !errors.Is(err, proc.ErrGone) // its ancestors are unknown
		}
		parent, err := h.Info()
		h.Close()
		if err != nil {
			return !errors.Is(err, proc.ErrGone)
		}
		if parent.Start > info.Start { // the PID was reused
			return false
		}
		info = parent
	}
	return true
}
