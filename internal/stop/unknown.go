package stop

import (
	"errors"
	"maps"
	"slices"

	"leash/internal/proc"
)

// unopened is a process that could not be opened or looked at.
type unopened struct {
	err error
	// It was born before until, and was a child of the tree at an instant after
	// from. Both are 0 if nobody says that it is of the tree.
	from, until uint64
}

// retry tries once more to open what could not be opened. Their parents may
// have ended since, so that no list names them any more.
func (t *Tree) retry() {
	for _, pid := range slices.Sorted(maps.Keys(t.unopened)) {
		u := t.unopened[pid]
		delete(t.unopened, pid)
		if u.from == 0 {
			continue // a candidate of the search, which names it again
		}
		t.consider(pid, u.from, func(_ Handle, info proc.Info) bool {
			// Born between the two, it may be the one that was listed or another.
			if info.Start >= u.from && info.Start <= u.until {
				t.lose(info.ID, u.err, "it could not be opened before its parent ended")
			}
			return info.Start != 0 && info.Start < u.from
		})
	}
}

// lose notes that there may be processes of the tree that will never be found.
// With a subreaper they are: they become its children.
func (t *Tree) lose(id proc.ID, err error, what string) {
	known := slices.ContainsFunc(t.lost, func(l Left) bool { return l.ID == id })
	if err != nil && t.Parent == 0 && !known && len(t.lost) < mostLost {
		t.lost = append(t.lost, Left{id, what + ": " + err.Error()})
	}
}

// mostLost is as bad as more.
const mostLost = 16

const unlistedBefore = "its children could not be listed before it ended, and may live"

func (t *Tree) unopen(pid int, from uint64, err error) {
	u := unopened{err: err, from: from}
	if from != 0 {
		u.until = t.Kernel.Tick()
	}
	t.unopened[pid] = u
}

// relist lists the children of a process once more, and says whether they are not
// known now. before says so of the last time: a process that has ended since has none,
// and those that it had are somewhere else.
func (t *Tree) relist(pid int, h Handle, before error) error {
	err := t.walk(pid, h)
	if err == nil && before != nil {
		if info, e := h.Look(); errors.Is(e, proc.ErrGone) || e == nil && info.Dead() {
			return before
		}
	}
	return err
}
