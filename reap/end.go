package reap

import (
	"errors"

	"leash/internal/proc"
	"leash/internal/stop"
)

// end performs a step of the sequence, and returns the next.
func (r *Reaper) end(seq *stop.Sequence, do stop.Do) ([]stop.Do, error) {
	switch do {
	case stop.SignalAll, stop.SignalNew:
		r.terminate()
	case stop.Kill:
		return nil, r.kill()
	case stop.Count:
		now := r.System.Now()
		c, err := r.count()
		if err != nil {
			return nil, err
		}
		return seq.Counted(now, c), nil
	}
	return nil, nil
}

// terminate sends the stop signal to all members before it sends SIGCONT to any, so
// that a stopped one receives it too and the others receive it at once.
func (r *Reaper) terminate() {
	for _, m := range r.members {
		if !m.over && !m.signalled {
			m.h.Signal(proc.TERM)
		}
	}
	for _, m := range r.members {
		if !m.over && !m.signalled {
			m.signalled = true
			m.h.Signal(stop.CONT)
			m.h.Notify()
		}
	}
}

// kill stops all members, so that none can fork, searches for further ones, and kills
// all. What was stopped is killed also when a pass fails.
func (r *Reaper) kill() error {
	if r.Shield != nil { // no member may be left stopped
		defer r.Shield()()
	}
	var failed error
	for range freezes {
		for _, m := range r.members {
			if !m.over && !m.killed {
				m.h.Signal(stop.STOP)
			}
		}
		found, err := r.pass()
		if failed = err; err != nil || found == 0 {
			break
		}
	}
	for _, m := range r.members {
		if m.over {
			continue
		}
		m.killed = true // before it is sent, so that a crash in between errs on the safe side
		m.h.Signal(proc.KILL)
		m.h.Notify()
	}
	return failed
}

// count says how many members live. It makes a pass when none is left that can be
// ended, and when the last one is old.
func (r *Reaper) count() (stop.Census, error) {
	c := r.census()
	var failed error
	if c.Living-r.missed.count() == c.Denied || !r.passed || r.System.Now()-r.scanned > rescan {
		if failed = r.rest(); failed == nil {
			_, failed = r.pass()
		}
		c = r.census()
	}
	for _, m := range r.members {
		if !m.over && m.signalled {
			m.h.Notify()
		}
	}
	return c, failed
}

// rest lets more than a tick pass before a further scan, unless there was nothing to
// do so far.
func (r *Reaper) rest() error {
	until := r.scanned + apart
	if !r.passed || len(r.members)+r.missed.count()+r.missed.young == 0 || r.System.Now() >= until {
		return nil
	}
	_, err := r.System.Wait(until)
	return err
}

func (r *Reaper) census() stop.Census {
	n := r.missed.count()
	c := stop.Census{Living: n, Unsignalled: n}
	for _, m := range r.members {
		if r.refresh(m); m.over {
			continue
		}
		c.Living++
		if !m.signalled {
			c.Unsignalled++
		}
		if m.denied() {
			c.Denied++
		}
	}
	return c
}

// refresh notes that a member has ended.
func (r *Reaper) refresh(m *member) {
	if m.over || m.fresh {
		m.fresh = false
		return
	}
	if !m.h.Over() {
		tick := r.System.Tick()
		info, err := m.h.Info()
		if err == nil && !info.Dead() {
			m.seen = tick
			return
		}
		if err != nil && !errors.Is(err, proc.ErrGone) {
			return
		}
	}
	m.over = true
	m.h.Close()
	switch {
	case m.killed:
		m.Fate = Killed
	case m.signalled:
		m.Fate = Terminated
	default:
		m.Reason = "it ended before it was signalled"
	}
	r.done(&m.Ended)
}

// denied reports whether the system refuses our signals to it.
func (m *member) denied() bool { return errors.Is(m.h.Signal(proc.Signal{}), proc.ErrDenied) }

func (m *member) whySurvived() string {
	info, err := m.h.Info()
	return stop.Reason(info, err != nil || m.denied())
}
