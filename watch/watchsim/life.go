package watchsim

import (
	"strconv"
	"time"

	"leash/internal/proc"
)

// canAct reports whether the process can run code.
func (p *Proc) canAct() bool {
	return p.phase == alive && !p.stopped && !p.sleep && !p.pendKill
}

func (p *Proc) String() string {
	s := strconv.Itoa(p.PID) + "#" + strconv.Itoa(p.n)
	if p.Name != "" {
		s += "(" + p.Name + ")"
	}
	switch {
	case p.Leash && !p.never:
		s += "[leash]"
	case p.Tree != nil:
		s += "[tree]"
	}
	return s
}

// birth puts a new process into the table.
func (w *World) birth(pid int, parent *Proc) *Proc {
	p := &w.slab[w.used]
	*p = Proc{PID: pid, n: w.used, parent: parent, UID: ownUID, refs: 1,
		start: w.tick(), born: w.calls, joined: w.calls, moved: w.calls, bornAt: w.now}
	w.used++
	if w.Inodes {
		p.inode = uint64(5000 + w.used)
	}
	w.byPID[pid] = p
	w.live = append(w.live, p)
	return p
}

// Fork makes a child of the process; nil if the system is full.
func (w *World) Fork(parent *Proc) *Proc {
	pid := w.freePID()
	if pid == 0 || w.used == len(w.slab) {
		return nil
	}
	p := w.birth(pid, parent)
	p.group, p.session = parent.group, parent.session
	p.group.refs++
	p.session.refs++
	p.UID, p.Run, p.Label = parent.UID, parent.Run, parent.Label
	p.Tree, p.cgroup = parent.Tree, parent.cgroup
	p.ofHook = parent.ofHook
	p.below = parent.below || parent.Leash && !parent.never
	p.temper = w.anyTemper()
	w.claim(p)
	w.Trace.add(w.now, "fork", parent, p, 0)
	return p
}

// freePID returns a PID that is not the ID of a process, group or session.
func (w *World) freePID() int {
	if w.Newest && len(w.freed) > 0 {
		pid := w.freed[len(w.freed)-1]
		w.freed = w.freed[:len(w.freed)-1]
		if w.isFree(pid) {
			return pid
		}
	}
	top := len(w.byPID)
	for range top {
		pid := w.nextPID
		if w.nextPID++; w.nextPID >= top {
			w.nextPID = 2
		}
		if w.isFree(pid) {
			return pid
		}
	}
	return 0
}

func (w *World) isFree(pid int) bool { return w.byPID[pid] == nil || w.byPID[pid].refs == 0 }

// holder is the process that has the PID now.
func (w *World) holder(pid int) *Proc {
	if pid < 1 || pid >= len(w.byPID) {
		return nil
	}
	if p := w.byPID[pid]; p != nil && p.phase != reaped {
		return p
	}
	return nil
}

func (w *World) unref(p *Proc) {
	if p.refs--; p.refs == 0 {
		w.freed = append(w.freed, p.PID)
	}
}

// exit makes the process a zombie, gives its children a new parent and notifies its own.
func (w *World) exit(p *Proc, how proc.Exit) {
	if p.phase == alive && p != w.Init && p != w.Self && p.sentinel == nil {
		w.end(p, how)
	}
}

func (w *World) end(p *Proc, how proc.Exit) {
	p.phase, p.Exit, p.ended, p.endedAt = zombie, how, w.calls, w.now
	p.stopped, p.sleep = false, false
	w.Trace.add(w.now, "exit", p, nil, how.Status())
	heir := w.heir(p)
	for i := 0; i < len(w.live); i++ { // reaping takes from the list
		c := w.live[i]
		if c.parent != p {
			continue
		}
		c.parent, c.moved = heir, w.calls
		if c.phase == zombie && w.parentReaps(c) {
			i--
		}
	}
	if w.System != nil {
		w.System.ended(p)
	}
	w.parentReaps(p)
}

// heir is the new parent of its children: the nearest subreaper above, or PID 1.
func (w *World) heir(p *Proc) *Proc {
	for q := p.parent; q != nil && q != w.Init; q = q.parent {
		if q.Subreaper && q.phase == alive {
			return q
		}
	}
	return w.Init
}

// parentReaps reports whether the parent reaped the zombie at once.
func (w *World) parentReaps(p *Proc) bool {
	switch q := p.parent; {
	case q == w.Self: // reaps when it calls Exit
	case q.sentinel != nil:
		w.after(w.Between(0, 5*time.Millisecond), timerReap, p)
	case q == w.Init && w.InitReaps == 0:
		w.reap(p)
		return true
	case q == w.Init:
		w.after(w.InitReaps, timerReap, p)
	case q.temper.reaps == reapsAtOnce && q.canAct():
		w.reap(p)
		return true
	case q.temper.reaps == reapsLate:
		w.after(w.Between(0, 50e6), timerReap, p)
	}
	return false
}

func (w *World) reap(p *Proc) {
	p.phase = reaped
	w.Trace.add(w.now, "reap", p, nil, 0)
	for i, q := range w.live {
		if q == p {
			w.live = append(w.live[:i], w.live[i+1:]...)
			break
		}
	}
	w.unref(p.group)
	w.unref(p.session)
	w.unref(p)
}

// Setsid makes it the leader of a new session, unless it leads a group.
func (w *World) Setsid(p *Proc) bool {
	if p.group == p || w.groupExists(p) {
		return false
	}
	w.move(p, p, p)
	w.Trace.add(w.now, "setsid", p, nil, 0)
	return true
}

// Setpgid moves it into the group of that leader, which may be itself.
func (w *World) Setpgid(p, leader *Proc) bool {
	if p.session == p || p.group == leader || leader != p && !w.groupIn(leader, p.session) {
		return false
	}
	w.move(p, leader, p.session)
	w.Trace.add(w.now, "setpgid", p, leader, 0)
	return true
}

func (w *World) move(p, group, session *Proc) {
	group.refs++
	session.refs++
	w.unref(p.group)
	w.unref(p.session)
	p.group, p.session, p.joined = group, session, w.calls
	w.claim(p)
}

// claim updates Tree: a process in a worker's group or session belongs to its tree, if that is
// not the watchdog's own group too, and so does one with its labels.
func (w *World) claim(p *Proc) {
	if p.Leash || p.never || p.parentOf || p.Tree != nil {
		return
	}
	for _, h := range w.Hosts {
		switch root := h.root; {
		case root == nil:
		case p.group == root && !h.shared,
			p.session == root,
			h.byLabels && p.Run == h.run && p.Label == h.label && p.UID == root.UID:
			p.Tree = h
		}
	}
}

func (w *World) groupExists(leader *Proc) bool {
	for _, q := range w.live {
		if q.group == leader {
			return true
		}
	}
	return false
}

func (w *World) groupIn(leader, session *Proc) bool {
	for _, q := range w.live {
		if q.group == leader {
			return q.session == session
		}
	}
	return false
}
