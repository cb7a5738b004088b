package watch

import (
	"errors"
	"slices"

	"leash/internal/proc"
	"leash/internal/stop"
)

// parent is a process at whose exit the worker is ended.
type parent struct {
	w    *Worker
	h    stop.Handle
	id   proc.ID
	dead bool
	// lent: it is another worker's, which watches it.
	lent bool
}

// AddParent watches a process at whose exit the worker is ended. It reports false if
// that process has exited already.
func (w *Worker) AddParent(pid int) (alive bool, err error) {
	h, err := w.Sys.OpenParent(pid)
	if errors.Is(err, proc.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := h.Info()
	if gone(info, err) {
		h.Close()
		return false, nil
	}
	p := &parent{w: w, h: h, id: info.ID}
	p.id.PID = pid
	w.parents = append(w.parents, p)
	info.ID = p.id // if the read failed only the PID is known; a parent is never part of the tree
	w.tree.Parents = append(w.tree.Parents, info)
	if w.Sys.Watch(h, p) != nil {
		w.blind = true
	}
	return true, nil
}

// Borrow takes the parents of another worker, which watches them: for a worker beside it, the
// death of a parent comes from outside (Watch.Feed).
func (w *Worker) Borrow(from *Worker) {
	for _, p := range from.parents {
		w.parents = append(w.parents, &parent{w: w, h: p.h, id: p.id, lent: true})
	}
	w.tree.Parents = from.tree.Parents
}

// ParentsDied returns the events of parents that have died, of a worker that is in no loop.
func (w *Worker) ParentsDied() []Event {
	if w.Backend() != "event" || w.blind {
		w.checkParents("poll")
	}
	taken := w.events
	w.events, w.spare = w.spare[:0], taken
	return taken
}

// Polls reports whether the ends of parents are not reported.
func (w *Worker) Polls() bool { return w.polls() }

// AddLifeline watches a descriptor whose end-of-file means that the parent has exited.
// It is not read: the worker may be reading from the same descriptor. It reports false
// if the end-of-file has come already.
func (w *Worker) AddLifeline(fd int) (alive bool, err error) {
	alive, err = w.Sys.WatchFD(fd, w)
	if alive && err == nil {
		w.lifeline = fd
	}
	return alive, err
}

func (p *parent) died(by string) {
	if !p.dead {
		p.dead = true
		p.w.events = append(p.w.events, ParentDied{PID: p.id.PID, By: by})
	}
}

// checkParents polls the parents, adds events, and reports whether one has exited.
func (w *Worker) checkParents(by string) (dead bool) {
	for _, p := range w.parents {
		if !p.dead && !p.lent {
			info, err := p.h.Info()
			if gone(info, err) || err == nil && p.id.Match(info.ID) == proc.Different {
				p.died(by)
			}
		}
		dead = dead || p.dead
	}
	return dead
}

// orphaned reports whether a parent has exited, or the end-of-file of the lifeline has
// come. The event still comes from Wait.
func (w *Worker) orphaned() bool {
	if w.cut || w.lifeline >= 0 && w.Sys.FDEnded(w.lifeline) {
		return true
	}
	return slices.ContainsFunc(w.parents, func(p *parent) bool {
		return p.dead || gone(p.h.Info())
	})
}

// gone reports whether a process was reaped or is a zombie. One that cannot be read or
// signalled may be alive.
func gone(info proc.Info, err error) bool {
	return errors.Is(err, proc.ErrGone) || err == nil && info.Dead()
}

func (w *Worker) parentHandles() []stop.Handle {
	all := make([]stop.Handle, len(w.parents))
	for i, p := range w.parents {
		all[i] = p.h
	}
	return all
}
