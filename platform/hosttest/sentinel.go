package hosttest

import (
	"fmt"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Under run the worker is started by a sentinel, a child of the watchdog, and both
// are subreapers. One of the two may be killed between any two calls.

// watchdogKilled is the panic that ends whatever the watchdog was doing.
type watchdogKilled struct{}

// doom has one of our own processes killed at a call to come.
func (s *Scene) doom() {
	w := &s.World
	w.doomed = w.Self
	if w.Chance(50) {
		w.doomed = w.Sentinel
	}
	w.doomAt = w.calls + 1 + w.N([]int{10, 60, 300, 1500}[w.N(4)])
}

// strike kills it.
func (w *World) strike() {
	p := w.doomed
	w.doomed, w.struck, w.struckAt = nil, p, w.now
	w.Trace.said(w.now, "SIGKILL by another", "", p)
	if p.phase != alive {
		return
	}
	w.end(p, proc.Exit{Known: true, Signal: proc.KILL})
	if p == w.Sentinel && w.Worker != nil {
		w.deliver(w.Worker, proc.KILL) // PR_SET_PDEATHSIG
	}
	if p == w.Self {
		if hook := w.host.heart.hook; hook != nil {
			w.deliver(hook, proc.KILL)
		}
		panic(watchdogKilled{})
	}
}

// post starts a sentinel.
func (s *Scene) post() {
	w := &s.World
	w.Sentinel = w.Fork(w.Self)
	if p := w.Sentinel; p != nil {
		p.Name, p.Leash, p.never, p.Subreaper = "sentinel", true, true, true
		p.Run, p.Label, p.Tree, p.temper = "", "", false, temper{}
		w.Setsid(p)
	}
}

func (w *World) watched() bool { return w.Sentinel != nil && w.Sentinel.phase == alive }

// meet has the sentinel know the worker that it has started.
func (s *Scene) meet() {
	w := &s.World
	s.dismiss()
	if !w.watched() {
		return
	}
	t := &s.sentinel
	t.Kernel, t.Root = Kernel{w}, w.open(w.Worker)
	t.Parent, t.Empty = w.Sentinel.PID, func() bool { w.step(); return s.Host.reapBelow(w.Sentinel) }
	if s.Mode == RunSentinelCgroup {
		t.KillAll = s.Host.killAll
	}
	for p := w.Sentinel; p != nil; p = p.parent {
		i := p.info()
		i.Inode = 0
		t.Never = append(t.Never, i)
	}
	for {
		if _, err := t.Adopt(); err == nil {
			return
		}
	}
}

// dismiss has it forget what it knew.
func (s *Scene) dismiss() {
	if s.sentinel.Root != nil {
		s.sentinel.Close()
		s.sentinel.Root.Close()
	}
	s.sentinel = stop.Tree{}
}

// guard runs the watchdog. killed: it did not come to its end.
func (s *Scene) guard() (trivial, killed bool, status int, err error) {
	defer func() {
		if e := recover(); e != nil {
			if _, killed = e.(watchdogKilled); !killed {
				panic(e)
			}
		}
	}()
	if !s.adopt() {
		return true, false, 0, nil
	}
	s.Host.live()
	status, err = watch.Guard(watch.NewMachine(s.Host.cfg), &s.Host)
	return false, false, status, err
}

// avenge is what the sentinel does about a watchdog that was killed: nothing of the
// tree is left then but what no signal ends.
func (s *Scene) avenge() {
	w, h, t := &s.World, &s.Host, &s.sentinel
	for i := range w.used { // the system has closed them
		w.slab[i].open = 0
	}
	h.waited = h.waited[:0]
	if t.Root != nil {
		t.Root.(*handle).p.open = 1
	}
	h.dead = true
	var err error
	if w.Worker != nil && t.Root != nil && !h.reapBelow(w.Sentinel) {
		err = stop.EndNow(t, func(d time.Duration) { w.pass(w.now + d) })
	}
	took, slow := w.now-w.struckAt, false
	for i := range w.used {
		p := &w.slab[i]
		if !p.Tree || p.Leash || p.never || p.ofHook { // a hook is the watchdog's child
			continue
		}
		slow = slow || p.temper.slow > 0 || p.sleep || p.phase == alive
		switch raced := p.below && max(p.born, p.joined, p.moved) >= h.askedBelow; {
		case p.phase != alive, raced, w.OpenFails > 0, w.faulty() && err != nil:
		case err != nil && (p.pendKill || !w.may(p)):
		case err != nil && leashLives(w): // which goes on starting processes
		default:
			w.fail(fmt.Sprintf("lives although the sentinel has ended the tree (%v)", err), p)
		}
	}
	if took > 2*time.Second && !slow && !w.faulty() {
		w.fail(fmt.Sprintf("the sentinel took %v", took), nil)
	}
	s.dismiss()
	s.judgeHandles()
}

func leashLives(w *World) bool {
	for _, p := range w.live {
		if p.Leash && !p.never && p.phase == alive {
			return true
		}
	}
	return false
}

// sentinelGone is called when the host notices that its sentinel is dead. What was
// below it is its own now.
func (h *Host) sentinelGone() {
	if h.alone {
		return
	}
	h.alone, h.heir = true, true
	for _, p := range h.W.live { // a watchdog that the tree has started stays, and goes on
		p.ofHook = p.ofHook || p.Tree || p.Leash && !p.never
	}
	if h.Tree.Root != nil && !h.heart.resting {
		h.lost = true
		h.Tree.Parent, h.Tree.Beside = h.W.Self.PID, 0
	}
}

// reap reaps what has ended. It reports whether nothing is left of the tree.
func (h *Host) reap() (none bool) {
	w := h.W
	w.step()
	none = h.reapBelow(w.Self)
	if w.Sentinel == nil || h.alone {
		return none
	}
	w.step() // the question
	if !w.watched() {
		h.reapBelow(w.Self)
		h.sentinelGone()
		return h.reapBelow(w.Self)
	}
	none = h.reapBelow(w.Sentinel) && (none || h.Tree.Beside == 0)
	w.step() // the answer
	return none
}

// reapBelow is wait4(2) by one of our processes until nothing more has ended. It
// reports whether no child is left at all.
func (h *Host) reapBelow(parent *Proc) (none bool) {
	w := h.W
	h.askedBelow = w.calls
	none = true
	for i := 0; i < len(w.live); i++ {
		p := w.live[i]
		if p.parent != parent {
			continue
		}
		if p.phase != zombie {
			none = none && p == w.Sentinel
			continue
		}
		if p == w.Worker {
			h.exited, h.exit = true, p.Exit
		}
		if p == h.heart.hook && !h.dead {
			h.hookEnded()
		}
		w.reap(p)
		i--
		if p == w.Sentinel {
			h.sentinelGone()
		}
	}
	return none
}
