package stop

import (
	"errors"

	"leash/internal/proc"
)

// AdoptGone makes known a worker that was reaped before anybody looked: nothing
// of it is left but its labels, which its children have in their environment. Of
// its number nothing is concluded: group and session of that number may be
// another's. h is a handle that says proc.ErrGone, uid the user whose processes
// may belong to the tree.
func (t *Tree) AdoptGone(h Handle, pid int, uid uint32) {
	t.members, t.unopened = make(map[int]*member), make(map[int]unopened)
	t.Root, t.root = h, proc.Info{ID: proc.ID{PID: pid}, State: 'X', UID: uid}
	t.rootDead, t.rootGone = true, true
}

// belowSuccessor reports whether a process descends from the next worker of the
// same name: what that one starts has the same labels.
func (t *Tree) belowSuccessor(info proc.Info) bool {
	for range deepest {
		if t.successor(info) {
			return true
		}
		if len(t.Employers) == 0 || info.PPID <= 1 || t.members[info.PPID] != nil || info.PPID == t.root.PID && !t.rootGone {
			return false
		}
		h, err := t.Kernel.Open(info.PPID)
		if err != nil {
			return !errors.Is(err, proc.ErrGone) // whose it is cannot be told
		}
		parent, err := h.Look()
		h.Close()
		if err != nil {
			return !errors.Is(err, proc.ErrGone)
		}
		if parent.Start > info.Start { // the number is another's by now
			return false
		}
		info = parent
	}
	return true
}
