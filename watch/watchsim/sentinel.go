package watchsim

import (
	"fmt"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
)

// Under run the worker is started by a sentinel, a child of the watchdog, and both
// are subreapers. One of the two may be killed between any two calls, or while the
// watchdog waits.

// sentinel is the second process of a run.
type sentinel struct {
	w *World
	p *Proc
	c *containment // nil: the watchdog does not use it, or not any more

	worker *Proc
	held   bool // it must not be reaped yet
	said   bool // the worker's exit status was sent, and not read yet
	tree   stop.Tree
	root   *handle
}

// post starts a sentinel for a containment.
func (w *World) post() *Proc {
	p := w.Fork(w.Self)
	if p == nil {
		return nil
	}
	p.Name, p.Leash, p.never, p.Subreaper = "sentinel", true, true, true
	p.Run, p.Label, p.Tree, p.cgroup, p.temper = "", "", nil, nil, temper{}
	p.sentinel = &sentinel{w: w, p: p}
	w.Setsid(p)
	return p
}

// meet tells it which worker it has started.
func (s *sentinel) meet(p *Proc) {
	s.dismiss()
	s.worker, s.held, s.said = p, true, false
	t := &s.tree
	t.Kernel, t.Root = Kernel{s.w}, s.w.open(p)
	s.root = t.Root.(*handle)
	t.Parent, t.Empty = s.p.PID, func() bool { s.w.step(); return s.reap() }
	if p.cgroup != nil {
		t.KillAll, t.Means = p.cgroup.killAll, "cgroup"
	}
	t.Protected = s.w.System.above(s.p)
	for s.p.phase == alive {
		if _, err := t.Adopt(); err == nil {
			return
		}
	}
}

// dismiss makes it forget its containment and worker.
func (s *sentinel) dismiss() {
	if s.root != nil {
		s.tree.Close()
		s.root.Close()
	}
	s.tree, s.root = stop.Tree{}, nil
}

// release: the watchdog has read the worker, which may be reaped now.
func (s *sentinel) release() {
	s.held = false
	if p := s.worker; p != nil && p.phase == zombie && p.parent == s.p {
		s.w.after(0, timerReap, p)
	}
}

// reap is wait4(2). It reports whether no child is left at all.
func (s *sentinel) reap() (none bool) {
	w := s.w
	w.askedBelow = w.calls
	none = true
	if s.p.phase != alive {
		return false
	}
	for i := 0; i < len(w.live); i++ {
		p := w.live[i]
		if p.parent != s.p {
			continue
		}
		if p.phase != zombie || p == s.worker && s.held {
			none = false
			continue
		}
		if w.reap(p); p == s.worker && s.c != nil {
			s.said = true
			w.System.notify(notice{kind: noticeSentinel, c: s.c})
		}
		i--
	}
	return none
}

// kill sends it SIGKILL from the watchdog.
func (s *sentinel) kill() {
	if s.p.phase == alive {
		s.w.end(s.p, proc.Exit{Known: true, Signal: proc.KILL})
	}
}

// watchdogKilled is the panic that ends the watchdog in the middle of a call.
type watchdogKilled struct{}

// doomed is which process, watchdog or sentinel, will be killed.
type doomed uint8

const (
	nobodyDoomed doomed = iota
	watchdogDoomed
	sentinelDoomed
)

// doom draws which of the two will be killed, and at which later call or time.
func (w *World) doom() {
	w.doomed = watchdogDoomed
	if w.Chance(50) {
		w.doomed = sentinelDoomed
	}
	w.doomAt = w.calls + 1 + w.N([]int{10, 60, 300, 1500}[w.N(4)])
	if w.Chance(25) {
		w.doomAt = 1 << 60
		w.after(w.Between(0, 3*time.Second), timerDoom, nil)
	}
}

// strike kills it.
func (w *World) strike() {
	p := w.Self
	if w.doomed == sentinelDoomed {
		p = w.aSentinel()
	}
	if w.doomed == nobodyDoomed || p == nil { // a sentinel that comes later is killed then
		return
	}
	w.doomed, w.struck, w.struckAt = nobodyDoomed, p, w.now
	w.Trace.said(w.now, "SIGKILL by another", "", p)
	if p == w.Self {
		w.System.dead = true
	}
	var bound []*Proc // by PR_SET_PDEATHSIG
	for _, h := range w.Hosts {
		if h.root != nil && h.root.parent == p && h.Child && h.root.phase == alive {
			bound = append(bound, h.root)
			h.root.bySentinel = p.sentinel != nil
		}
	}
	w.end(p, proc.Exit{Known: true, Signal: proc.KILL})
	for _, q := range bound {
		w.deliver(q, proc.KILL)
	}
	if p == w.Self {
		for _, h := range w.System.hooks {
			w.deliver(h.p, proc.KILL)
		}
		panic(watchdogKilled{})
	}
}

func (w *World) aSentinel() *Proc {
	for _, p := range w.live {
		if p.sentinel != nil && p.phase == alive && p.sentinel.c != nil {
			return p
		}
	}
	return nil
}

// avenge is what a sentinel does after its watchdog was killed: it ends the tree, except for
// processes that no signal ends.
func (s *Scene) avenge() {
	w := &s.World
	w.retime()
	for i := range w.used { // the system has closed them
		w.slab[i].open = 0
	}
	for _, p := range w.live {
		if p.sentinel != nil && p.sentinel.root != nil {
			p.sentinel.root.p.open++
		}
	}
	for _, h := range w.Hosts {
		s.avengeOf(h)
	}
	s.judgeHandles()
}

func (s *Scene) avengeOf(h *Host) {
	w := &s.World
	var own *sentinel
	for _, p := range w.live {
		if p.sentinel != nil && p.phase == alive && p.sentinel.worker != nil && p.sentinel.worker.is == h {
			own = p.sentinel
		}
	}
	if own == nil { // there was no sentinel yet, or not any more
		if h.root != nil && !h.root.bound() {
			w.fail("the worker lives, and neither a sentinel nor a signal ends it", h.root)
		}
		return
	}
	own.held = false
	var err error
	if own.root != nil && !own.reap() {
		err = stop.EndNow(&own.tree, func(d time.Duration) { w.pass(w.now + d) })
	}
	took, slow := w.now-w.struckAt, false
	for i := range w.used {
		p := &w.slab[i]
		if p.Tree != h || p.Leash || p.never || p.ofHook { // a hook is the watchdog's child
			continue
		}
		slow = slow || p.temper.slow > 0 || p.sleep || p.phase == alive
		switch raced := p.below && max(p.born, p.joined, p.moved) >= w.askedBelow; {
		case p.phase != alive, raced, w.OpenFails > 0, w.faulty() && err != nil:
		case err != nil && (p.pendKill || !w.may(p)):
		case err != nil && leashLives(w): // a watchdog in the tree goes on starting processes
		default:
			w.fail(fmt.Sprintf("lives although the sentinel has ended the tree (%v)", err), p)
		}
	}
	if took > 2*time.Second && !slow && !w.faulty() {
		w.fail(fmt.Sprintf("the sentinel took %v", took), nil)
	}
	own.dismiss()
}

// bound reports whether the death of the process that started it ends it.
func (p *Proc) bound() bool { return p.phase != alive || p.pendKill || p.bySentinel }

func leashLives(w *World) bool {
	for _, p := range w.live {
		if p.Leash && !p.never && p.phase == alive {
			return true
		}
	}
	return false
}
