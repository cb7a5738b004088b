package watchsim

import (
	"time"

	"leash/internal/proc"
)

// anyTemper draws how a new process behaves.
func (w *World) anyTemper() temper {
	t := temper{onTerm: dies}
	if w.Bomb {
		t.onTerm = ignores
		return t
	}
	switch n := w.N(100); {
	case n < 55:
	case n < 70:
		t.onTerm = diesLate
	case n < 85:
		t.onTerm = ignores
	case n < 95:
		t.onTerm = forksAndDies
	default:
		t.onTerm = forksAndStays
	}
	switch n := w.N(100); {
	case n < 60:
	case n < 85:
		t.reaps = reapsLate
	default:
		t.reaps = reapsNever
	}
	switch n := w.N(100); {
	case n < 80:
	case n < 95:
		t.slow = w.Between(0, 60*time.Millisecond)
	case n < 99:
		t.slow = w.Between(0, 5*time.Second)
	default:
		t.slow = time.Minute
	}
	return t
}

// act has one process of the world do something.
func (w *World) act() {
	if w.Bomb {
		if p := w.anyOfTree(); p != nil && w.Fork(p) != nil {
			w.Setsid(w.live[len(w.live)-1])
		}
		return
	}
	if w.Chance(25) {
		w.bystander()
		return
	}
	if p := w.anyOfTree(); p != nil {
		w.treeMove(p)
	}
}

// anyOfTree picks a process that can act; often the youngest, as a chain of forks is the
// hardest to follow.
func (w *World) anyOfTree() *Proc {
	n := len(w.live)
	from := w.N(n)
	if w.Chance(40) {
		from = n - 1
	}
	for i := range n {
		p := w.live[(from-i+n)%n]
		if p.Tree != nil && p.canAct() && !p.never {
			return p
		}
	}
	return nil
}

func (w *World) treeMove(p *Proc) {
	switch n := w.N(100); {
	case n < 26:
		w.Fork(p)
	case n < 36: // a daemon
		if c := w.Fork(p); c != nil {
			if w.Chance(60) {
				w.Setsid(c)
			}
			w.Fork(c)
			w.exit(c, proc.Exit{Known: true})
		}
	case n < 48: // changes its PID by fork and exit
		if !p.Leash && (p.is == nil || w.Chance(20)) {
			w.Fork(p)
			w.exit(p, proc.Exit{Known: true})
		}
	case n < 58:
		w.Setsid(p)
	case n < 64:
		w.Setpgid(p, p)
	case n < 67:
		if to := w.live[w.N(len(w.live))].group; to.Tree == nil && !p.Tree.pooled || to.Tree == p.Tree { // not that of another worker
			w.Setpgid(p, to)
		}
	case n < 80:
		if p.is == nil || w.Chance(30) {
			w.exit(p, proc.Exit{Known: true, Code: w.N(3)})
		}
	case n < 81:
		w.fallAsleep(p)
	case n < 82: // another stops it
		w.Trace.add(w.now, "stopped by another", p, nil, 0)
		w.deliver(p, stopSignal)
	case n < 84:
		p.leaderGone = !p.leaderGone
	case n < 87: // executes something with a clean environment
		if p.is == nil {
			p.Run, p.Label = "", ""
		}
	case n < 92:
		w.becomeLeash(p)
	case n < 95:
		if p.is == nil && !p.Leash {
			p.UID = otherUID
		}
	default:
		w.wakeSibling()
	}
}

func (w *World) fallAsleep(p *Proc) {
	if p.Leash {
		return
	}
	p.sleep = true
	w.Trace.add(w.now, "state D", p, nil, 0)
	d := w.Between(0, 200*time.Millisecond)
	if w.Chance(8) {
		d = time.Hour
	}
	w.after(d, timerWake, p)
}

// becomeLeash: the process executes a watchdog or reaper.
func (w *World) becomeLeash(p *Proc) {
	if p.is != nil || p.Leash || p.UID != ownUID {
		return
	}
	p.Leash, p.Subreaper, p.leashAt = true, w.Chance(50), w.calls
	p.temper.onTerm = ignores
	w.Trace.add(w.now, "exec watchdog", p, nil, 0)
}

// wakeSibling makes another process continue a stopped one.
func (w *World) wakeSibling() {
	for _, p := range w.live {
		if p.stopped && p.Tree != nil && !p.pendKill {
			w.Trace.add(w.now, "continued by another", p, nil, 0)
			w.deliver(p, contSignal)
			return
		}
	}
}

// bystander makes a bystander start, exit or change.
func (w *World) bystander() {
	var p *Proc
	for from, i, n := w.N(len(w.live)), 0, len(w.live); i < n; i++ {
		if q := w.live[(from+i)%n]; q.Tree == nil && !q.never && q.canAct() && !q.Leash {
			p = q
			break
		}
	}
	n := w.N(100)
	switch {
	case n < 55 || p == nil:
		w.newBystander()
	case n < 85:
		w.exit(p, proc.Exit{Known: true})
	case n < 95:
		w.Setsid(p)
	default:
		w.Setpgid(p, p)
	}
}

// newBystander makes a process that often looks like one of the tree.
func (w *World) newBystander() {
	parent := w.Init
	if q := w.live[w.N(len(w.live))]; q.Tree == nil && q.canAct() && !q.Leash && q != w.Self {
		parent = q
	}
	p := w.Fork(parent)
	if p == nil {
		return
	}
	p.UID, p.temper.slow = ownUID, 0
	p.Run, p.Label = "", ""
	if len(w.Hosts) == 0 {
		return
	}
	h := w.Hosts[w.N(len(w.Hosts))]
	switch n := w.N(100); {
	case n < 15: // of the same run
		p.Run, p.Label = h.run, "another"
	case n < 25:
		p.Run, p.Label, p.UID = h.run, h.label, otherUID
	case n < 35:
		p.Run, p.Label = h.run, h.label
		p.Leash, p.leashAt = true, w.calls
		p.parent, p.below = w.Init, false // as a child of a parent it would be the next worker
	case n < 38:
		p.Run, p.Label = h.run, h.label
		p.parent, p.below = w.Init, false
	case n < 42 && p.Tree == nil: // of the same pipeline
		if h.root != nil {
			w.Setpgid(p, h.root)
		}
	}
	if w.Chance(45) {
		w.Setsid(p) // a group and session with that ID
	} else if w.Chance(30) {
		w.Setpgid(p, p)
	}
	w.claim(p)
}
