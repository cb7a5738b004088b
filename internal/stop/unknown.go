package stop

import (
	"errors"
	"maps"
	"slices"

	"leash/internal/proc"
)

// unopened is a process that could not be opened or read.
type unopened struct {
	err error
	// It was started before until, and was a child in the tree at an instant after
	// from. Both are 0 if only a search named it.
	from, until uint64
}

// retry tries again to open processes that could not be opened. Their parents may
// have exited since, so that no list names them any more.
func (t *Tree) retry() {
	for _, pid := range slices.Sorted(maps.Keys(t.unopened)) {
		u := t.unopened[pid]
		delete(t.unopened, pid)
		if u.from == 0 {
			continue // a candidate of the search, which names it again
		}
		t.consider(pid, u.from, func(_ Handle, info proc.Info) bool {
			// Started between the two, it may be the one that was listed or a later one.
			if info.Start >= u.from && info.Start <= u.until {
				t.lose(info.ID, u.err, "it could not be opened before its parent ended")
			}
			return info.Start != 0 && info.Start < u.from
		})
	}
}

// lose records that processes of the tree may never be found. With a subreaper they
// are found: they become its children.
func (t *Tree) lose(id proc.ID, err error, what string) {
	known := slices.ContainsFunc(t.lost, func(l Left) bool { return l.ID == id })
	if err != nil && t.Parent == 0 && !t.Adopted && !known && len(t.lost) < mostLost {
		t.lost = append(t.lost, Left{id, what + ": " + err.Error()})
	}
}

// mostLost bounds the list; more entries would not change the result.
const mostLost = 16

const unlistedBefore = "its children could not be listed before it ended, and may live"

func (t *Tree) unopen(pid int, from uint64, err error) {
	if from == 0 && t.unopened[pid].from != 0 {
		return // known as a child in the tree, and now named by a search too
	}
	u := unopened{err: err, from: from}
	if from != 0 {
		u.until = t.Kernel.Tick()
	}
	t.unopened[pid] = u
}

// relist lists the children of a process again and returns an error if they are not
// all known. before is the error of the last attempt: it stands if the process has
// ended since, because its children now have another parent.
func (t *Tree) relist(pid int, h Handle, before error) error {
	err := t.walk(pid, h)
	if err == nil && before != nil {
		if info, e := h.Info(); errors.Is(e, proc.ErrGone) || e == nil && info.Dead() {
			return before
		}
	}
	return err
}
