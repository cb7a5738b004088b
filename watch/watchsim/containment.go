package watchsim

import (
	"errors"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// containment keeps the process tree of one worker together as on Linux: by the watchdog as
// subreaper, by a sentinel, by a cgroup, or not at all.
type containment struct {
	s    *System
	host *Host
	o    system.Options

	root     *handle
	started  bool // by the watchdog
	cgroup   bool // the worker is in one of its own
	sentinel *sentinel
	lost     bool // the sentinel was killed, and LostSentinel was not called yet
	heir     bool // the watchdog has orphans that are not, or not any more, below a sentinel
}

var _ system.Containment = (*containment)(nil)

var (
	errNoCommand = errors.New("no such program")
	errFull      = errors.New("resource temporarily unavailable")
	errSentinel  = errors.New("the sentinel was killed")
	errUnstarted = errors.New("the sentinel was killed before it had started anything")
)

// Contain prepares to keep one worker's process tree together.
func (s *System) Contain(o system.Options) system.Containment {
	c := &containment{s: s, o: o, host: s.host}
	c.host.hold = c
	if o.SentinelPID != 0 {
		c.use(s.W.holder(o.SentinelPID))
	}
	return c
}

func (c *containment) tell() {
	c.s.wake(system.Wake{Kind: system.Changed, Owner: c.o.Owner})
}

// Start starts the worker in a session of its own.
func (c *containment) Start(cmd system.Command) (system.Handle, error) {
	w, s := c.s.W, c.s
	if !s.drawn {
		s.drawn = true
		s.sole = c.host.mode.subreaper()
		w.Self.Subreaper = s.sole
	}
	w.step()
	c.need(cmd)
	if cmd.Path == "" {
		return nil, errNoCommand
	}
	h, err := c.start()
	if err == errUnstarted {
		c.need(cmd)
		h, err = c.start()
	}
	if err != nil {
		return nil, err
	}
	c.root, c.started = h, true
	h.p.child = h
	w.step()
	return h, nil
}

// need starts a sentinel if one is wanted. If that fails the watch goes on without it.
func (c *containment) need(cmd system.Command) {
	if cmd.Sentinel && c.sentinel == nil {
		if p := c.s.W.post(); p != nil {
			c.use(p)
		}
	}
}

func (c *containment) use(p *Proc) {
	if p == nil || p.sentinel == nil {
		return
	}
	c.sentinel = p.sentinel
	c.sentinel.c = c
	if p.phase != alive {
		c.sentinelDied()
	}
}

// start starts the worker, by the sentinel if there is one.
func (c *containment) start() (*handle, error) {
	w, from := c.s.W, c.s.W.Self
	if c.sentinel != nil {
		if w.step(); c.sentinel.p.phase != alive {
			c.sentinelDied()
			return nil, errUnstarted
		}
		from = c.sentinel.p
	}
	p := c.host.born(from)
	if p == nil {
		return nil, errFull
	}
	if c.cgroup = c.host.mode.cgroup(); c.cgroup {
		p.cgroup = c
	}
	if c.sentinel != nil {
		c.sentinel.meet(p)
		if w.step(); c.sentinel.p.phase != alive {
			c.sentinelDied()
			c.endStray()
			return nil, errSentinel
		}
	}
	return w.open(p), nil
}

// endStray kills the process that a sentinel started before it died: it is a child of the
// watchdog now.
func (c *containment) endStray() {
	w := c.s.W
	for range 64 {
		for i := len(w.live) - 1; i >= 0; i-- {
			if i < len(w.live) && w.live[i].parent == w.Self {
				w.kill(w.live[i])
			}
		}
		if c.s.reap() {
			return
		}
		w.pass(w.now + 10*time.Millisecond)
	}
}

// Started lets the sentinel reap the worker once it has ended.
func (c *containment) Started() error {
	c.s.W.step()
	if c.sentinel != nil {
		c.sentinel.release()
	}
	return nil
}

// Adopt takes a worker that was running already.
func (c *containment) Adopt(h system.Handle) error {
	c.root = h.(*handle)
	return nil
}

// AdoptGone takes a worker that was reaped.
func (c *containment) AdoptGone(pid int) (system.Handle, bool) {
	h := c.s.W.open(c.host.root)
	c.root = h
	return h, true
}

// Kill kills a worker whose identity could not be read.
func (c *containment) Kill() {
	c.root.SignalGroup(proc.KILL)
	c.root.Signal(proc.KILL)
	if c.cgroup {
		c.killAll()
	}
}

// Hold is how the tree is kept together now.
func (c *containment) Hold() (h stop.Hold) {
	if !c.started {
		return h
	}
	self := c.s.W.Self.PID
	switch {
	case c.sentinel != nil:
		h.Parent, h.Empty = c.sentinel.p.PID, c.reap
		if c.heir && c.s.sole {
			h.Beside = self
		}
	case c.s.sole:
		h.Parent, h.Empty = self, c.reap
	case c.cgroup:
		h.Inside, h.Vacant = c.inside, c.vacant
	}
	if c.cgroup {
		h.KillAll, h.Means = c.killAll, "cgroup"
	}
	return h
}

// Search finds processes that following the tree cannot; below a subreaper there are none.
func (c *containment) Search() func(*stop.Tree) ([]int, error) {
	if c.started && (c.sentinel != nil || c.s.sole) {
		return nil
	}
	return c.search
}

// search lists candidates as the real system does, and some wrong ones, since the table may
// be stale.
func (c *containment) search(t *stop.Tree) ([]int, error) {
	w := c.s.W
	w.lists++ // these PIDs were not just listed as children
	root := t.Worker()
	labels, session := t.RunID != "" && t.WorkerID != "", root.SID == root.PID
	if !labels && !session && !(t.Leads() && !errors.Is(t.Root.SignalGroup(proc.Signal{}), proc.ErrGone)) {
		return nil, nil
	}
	if w.SearchFails > 0 && w.Chance(w.SearchFails) {
		w.Trace.said(w.now, "search", errTooMany.Error(), nil)
		return nil, errTooMany
	}
	w.step()
	var pids []int
	for _, p := range w.live {
		if p.phase == alive && (t.Leads() && p.group.PID == root.PID || session && p.session.PID == root.PID ||
			labels && p.Run == t.RunID && p.Label == t.WorkerID && w.may(p)) {
			pids = append(pids, p.PID)
		}
	}
	if w.Chance(20) {
		pids = append(pids, w.N(len(w.byPID)), w.N(len(w.byPID)))
	}
	w.step()
	return pids, nil
}

// Names are the mechanisms, strongest first.
func (c *containment) Names() (names []string) {
	if c.cgroup {
		names = append(names, "cgroup")
	}
	if c.Hold().Parent != 0 {
		names = append(names, "subreaper")
	}
	if c.sentinel != nil {
		names = append(names, "sentinel")
	}
	return names
}

// Cgroup is the path of the cgroup.
func (c *containment) Cgroup() string {
	if !c.cgroup {
		return ""
	}
	return "/sys/fs/cgroup/leash"
}

// killAll is cgroup.kill.
func (c *containment) killAll() bool {
	w := c.s.W
	w.step()
	w.Trace.said(w.now, "SIGKILL", inAll, nil)
	w.group = w.group[:0]
	for _, p := range w.live {
		if p.cgroup == c {
			w.group = append(w.group, p)
		}
	}
	for _, p := range w.group {
		w.send(p, proc.KILL, inAll)
	}
	return true
}

// inside is cgroup.procs.
func (c *containment) inside() (pids []int) {
	w := c.s.W
	w.step()
	for _, p := range w.live {
		if p.cgroup == c && p.phase == alive {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// vacant is cgroup.events, populated.
func (c *containment) vacant() bool { return len(c.inside()) == 0 }

// Holds reports whether a process is in the worker's own cgroup.
func (c *containment) Holds(h stop.Handle, _ []stop.Handle) bool {
	return c.cgroup && h.(*handle).p.cgroup == c
}

// HookStarted: orphans of the hook become children of the watchdog, not of the sentinel.
func (c *containment) HookStarted() {
	c.heir = true
	c.o.Changed()
}

// LostSentinel reports once that the sentinel was killed.
func (c *containment) LostSentinel() bool {
	lost := c.lost
	c.lost = false
	return lost
}

// Forget releases the worker before the next one.
func (c *containment) Forget() {
	c.root, c.started, c.cgroup = nil, false, false
}

// Close releases everything.
func (c *containment) Close(living int) {
	s := c.sentinel
	if s == nil {
		return
	}
	if !c.started || living == 0 {
		c.started = false
		s.kill()
		c.sentinelDied()
		return
	}
	c.sentinel = nil
}

// reap reaps zombies. It reports whether no process is left of the worker's tree.
func (c *containment) reap() (none bool) {
	w := c.s.W
	none = c.s.reap()
	if c.sentinel == nil {
		return none
	}
	w.step() // the request
	if c.sentinel == nil || c.sentinel.p.phase != alive {
		c.sentinelDied()
		return c.s.reap() && c.s.sole
	}
	sentinel := c.sentinel.p
	none = c.sentinel.reap()
	w.step() // the answer
	c.hear()
	beside := c.heir && c.s.sole
	return none && (!beside || !c.s.hasOtherChildren(sentinel))
}

func (s *System) hasOtherChildren(but *Proc) bool {
	s.W.step()
	for _, p := range s.W.live {
		if p.parent == s.W.Self && p != but {
			return true
		}
	}
	return false
}

// hear reads the sentinel's messages, and notices its end.
func (c *containment) hear() {
	s := c.sentinel
	if s == nil {
		return
	}
	if h := c.root; s.said && h != nil && s.worker == h.p && !h.reaped {
		h.reaped, h.exit = true, h.p.Exit
		c.tell()
	}
	s.said = false
	if s.p.phase != alive {
		c.sentinelDied()
	}
}

// sentinelDied is called when its end is noticed. Its descendants are the watchdog's now.
func (c *containment) sentinelDied() {
	s := c.sentinel
	if s == nil {
		return
	}
	w := c.s.W
	c.sentinel, s.c = nil, nil
	if s.p.phase == zombie {
		w.reap(s.p)
	}
	if h := c.root; s.said && h != nil && s.worker == h.p && !h.reaped { // its last message
		h.reaped, h.exit = true, h.p.Exit
	}
	s.dismiss()
	c.heir = true
	for _, p := range w.live { // a watchdog that the tree has started lives on
		p.ofHook = p.ofHook || p.Tree == c.host || p.Leash && !p.never
	}
	if c.started {
		c.lost = true
		c.tell()
		c.o.Changed()
	}
}
