package watchsim

import (
	"time"

	"leash/internal/proc"
	"leash/watch"
)

// Mode is how a worker's tree is kept together.
type Mode int

const (
	GuardGroup        Mode = iota // the worker leads a group
	GuardSession                  // and a session
	GuardShared                   // it is in its parent's group
	GuardInside                   // it leads the group in which the watchdog or its parent is
	RunReaper                     // started, with the subreaper
	RunCgroup                     // and a cgroup
	RunSearch                     // started, without the subreaper
	RunCgroupSearch               // and a cgroup
	RunSentinel                   // started by a sentinel
	RunSentinelCgroup             // and a cgroup
	modes
)

func (m Mode) String() string {
	return [...]string{"guard, own group", "guard, own session", "guard, parent's group",
		"guard, watchdog in the group", "run", "run with a cgroup", "run without a subreaper",
		"run with a cgroup and no subreaper", "run with a sentinel", "run with a sentinel and a cgroup"}[m]
}

func (m Mode) sentinel() bool  { return m == RunSentinel || m == RunSentinelCgroup }
func (m Mode) cgroup() bool    { return m == RunCgroup || m == RunCgroupSearch || m == RunSentinelCgroup }
func (m Mode) searches() bool  { return m < RunReaper || m == RunSearch || m == RunCgroupSearch }
func (m Mode) subreaper() bool { return !m.searches() }

// Scene is one watchdog in one world, with one worker or several. It can be reused.
type Scene struct {
	World  World
	System System
	Stats  Stats
	Seed   uint64
	// Bomb makes each run a fork bomb, in which every process is in a session of its own
	// and kept together by the subreaper alone.
	Bomb bool

	hosts   []*Host
	shell   *Proc
	parents []*Proc // at the exit of any of these the workers are ended
	watches []*watch.Watch
	early   bool // a cause to end the workers may come before the watch begins
}

// Play runs the scene of this seed to its end and returns the failures.
func (s *Scene) Play(seed uint64) []string {
	w := &s.World
	s.Seed = seed
	s.build(seed)
	s.Stats.Runs++
	s.Stats.Modes[w.Hosts[0].mode]++
	trivial, killed := s.guard()
	switch {
	case killed:
		s.Stats.WatchdogKilled++
		s.avenge()
	case trivial:
		s.Stats.Trivial++
	case w.struck != nil:
		s.Stats.SentinelKilled++
	}
	if !trivial || killed {
		s.count()
	}
	return w.Failures()
}

func (s *Scene) count() {
	w := &s.World
	s.Stats.Calls += w.calls
	for _, h := range w.Hosts {
		if h.survivors > 0 {
			s.Stats.Survived++
		}
	}
	if len(w.Hosts) > 1 {
		s.Stats.Several++
	}
	forced := false
	for i := range w.used {
		forced = forced || w.slab[i].killAt > 0
		if w.slab[i].Tree != nil && w.firstKill > 0 && w.slab[i].born > w.firstKill {
			s.Stats.Forked++
		}
		if p := w.byPID[w.slab[i].PID]; p != &w.slab[i] {
			s.Stats.Reused++
		}
	}
	if forced {
		s.Stats.Forced++
	}
}

// build draws a world, and in it a parent, workers and a watchdog.
func (s *Scene) build(seed uint64) {
	w := &s.World
	r := Rand{seed}
	o := Options{Inodes: r.Chance(60), GroupByHandle: r.Chance(60), PIDs: []int{14, 18, 24, 40, 64}[r.N(5)],
		Newest: r.Chance(50), Root: r.Chance(15), Busy: []int{2, 6, 15, 40}[r.N(4)]}
	if r.Chance(40) {
		o.InitReaps = r.Between(0, 200*time.Millisecond)
	}
	if r.Chance(5) {
		o.OpenFails = 20
	}
	if r.Chance(5) {
		o.LookFails = 20
	}
	if r.Chance(5) {
		o.ListFails = []int{5, 20, 60}[r.N(3)]
	}
	if r.Chance(3) {
		o.SearchFails = 30
	}
	if s.Bomb {
		o.ListFails, o.SearchFails = 0, 0
		o.OpenFails, o.LookFails, o.Busy, o.PIDs = 0, 0, 5, 60
	}
	w.Reset(r.Next(), o)
	if s.Stats.TimedOut == nil {
		s.Stats.TimedOut = make(map[string]int)
	}
	s.System.reset(w, &s.Stats)
	s.System.Poll, s.System.Lossy, s.System.Blind = w.Chance(6), w.Chance(40), w.Chance(3)
	n := 1
	if !s.Bomb && w.Chance(4) {
		n = 2 + w.N(2)
	}
	for i := range n {
		s.draw(i, n > 1)
	}
	s.people()
	w.pass(w.now + w.Between(2*tickLength, 5*tickLength)) // the ancestors are older
	for _, h := range w.Hosts {
		if !h.Child {
			h.born(s.parents[0])
		}
	}
	s.someMoves()
	if s.early = !s.Bomb && w.Chance(20); s.early {
		s.causes()
	}
}

// someMoves lets processes act before the watchdog scans.
func (s *Scene) someMoves() {
	w := &s.World
	for range w.N(8) {
		w.pass(w.now + w.Between(0, 8*time.Millisecond))
		w.act()
	}
}

// draw draws the properties and settings of a worker. If there are several, each is guarded.
func (s *Scene) draw(i int, several bool) {
	w := &s.World
	if i == len(s.hosts) {
		s.hosts = append(s.hosts, new(Host))
	}
	h := s.hosts[i]
	*h = Host{W: w, Stats: &s.Stats, scene: s, records: h.records[:0], left: h.left[:0], run: "r4nd0m7"}
	w.Hosts = append(w.Hosts, h)
	h.mode, h.labelled = Mode(w.N(int(modes))), w.Chance(50)
	if several {
		h.mode = Mode(w.N(int(GuardShared)))
	}
	if s.Bomb {
		h.mode = RunReaper
	}
	if h.labelled {
		h.label = "w" + string(rune('1'+i))
		h.byLabels = h.mode.searches()
	}
	h.Child = h.mode >= RunReaper
	h.Grace = []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second}[w.N(4)]
	h.cfg = watch.Config{Owns: h.Child, Grace: h.Grace, StopSignal: proc.TERM, Scans: !h.Child, Labels: !h.Child, Record: true,
		WorkerFirst: !s.Bomb && w.Chance(50)}
	if !s.Bomb && w.Chance(20) {
		h.drawHeart()
	}
}

// people makes the processes around: a shell, the parent, another worker of the run.
func (s *Scene) people() {
	w := &s.World
	s.shell = w.Fork(w.Init)
	s.shell.Name, s.shell.UID, s.shell.temper = "shell", ownUID, temper{}
	w.Setsid(s.shell)
	parent := w.Fork(s.shell)
	parent.Name = "parent"
	w.Setpgid(parent, parent)
	starter := parent // the parent of the watchdog
	if w.Chance(30) {
		starter = s.shell
	}
	w.Self = w.Fork(starter)
	w.Self.Name, w.Self.Leash = "watchdog", true
	if w.Root {
		w.Self.UID = 0
	}
	if w.Chance(50) || w.Hosts[0].Child {
		w.Setpgid(w.Self, w.Self)
	}
	if sibling := w.Fork(parent); sibling != nil {
		sibling.Name, sibling.Run, sibling.Label = "sibling", w.Hosts[0].run, "another"
	}
	for p := w.Self; p != nil; p = p.parent {
		p.never = true
	}
	s.parents = append(s.parents[:0], parent)
	if w.Chance(15) { // a launcher, which is a watched parent too
		if launcher := w.Fork(s.shell); launcher != nil {
			launcher.Name, launcher.temper = "launcher", temper{}
			s.parents = append(s.parents, launcher)
		}
	}
	for _, p := range s.parents {
		p.parentOf = true
	}
	for _, h := range w.Hosts {
		h.parents = s.parents
	}
}

// causes draws when a parent exits, and perhaps another cause before that.
func (s *Scene) causes() {
	w, h := &s.World, s.World.Hosts[0]
	at := w.Between(0, 2*time.Second)
	if h.cfg.Beats != nil || h.cfg.Restart != watch.RestartNever {
		at = w.Between(0, []time.Duration{2, 8, 40}[w.N(3)]*time.Second)
	}
	if w.Chance(20) {
		at = 0
	}
	switch n := w.N(100); {
	case n < 15:
		s.leaves(at)
		at += 3 * time.Second
	case n < 25:
		s.System.signal(at, []proc.Signal{proc.TERM, proc.INT}[w.N(2)])
		if w.Chance(50) {
			s.System.signal(at+w.Between(0, time.Second), proc.INT)
		}
		at += 3 * time.Second
	}
	w.after(at, timerExit, s.parents[w.N(len(s.parents))])
	if h.Child && w.Chance(20) {
		s.System.signal(w.Between(0, 3*time.Second), proc.Signal{Num: 1, Name: "SIGHUP"})
	}
	if h.Child && (w.Chance(5) || h.cfg.Beats != nil && w.Chance(20)) {
		s.System.signal(w.Between(0, 2*time.Second), proc.Signal{Num: 20, Name: "SIGTSTP"})
	}
	if h.Child && w.Chance(10) { // just when the parent exits
		s.System.signal(at+w.Between(0, time.Millisecond), proc.Signal{Num: 20, Name: "SIGTSTP"})
	}
	if !h.Child && w.Chance(5) {
		s.System.signal(w.Between(0, 2*time.Second), contSignal)
	}
	if h.mode.sentinel() && w.Chance(60) {
		w.doom()
	}
}

// leaves makes the first worker exit at that time.
func (s *Scene) leaves(at time.Duration) {
	if h := s.World.Hosts[0]; h.root != nil {
		s.World.after(at, timerExit, h.root)
	} else {
		h.leavesAt = at
	}
}

// guard runs the watchdog. trivial: there was no worker to guard. killed: the watchdog was
// killed.
func (s *Scene) guard() (trivial, killed bool) {
	defer func() {
		if e := recover(); e != nil {
			if _, killed = e.(watchdogKilled); !killed {
				panic(e)
			}
		}
	}()
	w := &s.World
	loop := watch.NewLoop(&s.System)
	loop.Trace = s.happens
	s.watches = s.watches[:0]
	trivial = true
	for _, h := range w.Hosts {
		first, ok := h.setUp()
		if !ok {
			s.watches, h.done = append(s.watches, nil), true
			h.end()
			continue
		}
		trivial = false
		s.watches = append(s.watches, loop.Add(watch.NewMachine(h.cfg), h.Worker, h, first...))
	}
	if !s.early {
		s.causes()
	}
	w.Budget = w.N(40)
	if w.Bomb = s.Bomb; w.Bomb {
		w.Budget = maxProcs
	}
	w.actLater()
	var err error
	for s.finish(err); loop.Len() > 0 && err == nil; s.finish(err) {
		err = loop.Round()
	}
	w.doomed = nobodyDoomed
	s.judgeHandles()
	return trivial, false
}

// finish checks the watches that have ended, and releases their workers.
func (s *Scene) finish(err error) {
	for i, g := range s.watches {
		if h := s.World.Hosts[i]; g != nil && (g.Done || err != nil) {
			s.watches[i], h.done = nil, true
			s.judgeEnd(h, g.Status, err)
			h.end()
		}
	}
}

func (s *Scene) happens(w *watch.Worker, e watch.Event) {
	for _, h := range s.World.Hosts {
		if h.Worker == w {
			h.happens(e)
		}
	}
}

// setUp does what comes before the loop. It reports false if there is no worker to guard.
func (h *Host) setUp() (first []watch.Event, ok bool) {
	w, sys := h.W, h.W.System
	sys.host = h
	w.acting = h
	fd, pid := -1, 0
	if h.mode.sentinel() && w.Chance(50) {
		if p := w.post(); p != nil {
			fd, pid = 3, p.PID
		}
	}
	h.Worker = watch.NewWorker(sys, pollEvery, fd, pid)
	h.onlyLifeline = len(h.parents) == 1 && (h.root == nil || h.parents[0].session != h.root) && w.Chance(8)
	for _, p := range h.parents {
		if h.onlyLifeline {
			continue
		}
		alive, err := h.AddParent(p.PID)
		if err != nil || p.phase == reaped {
			return nil, false
		}
		if !alive && first == nil {
			first = append(first, watch.ParentDied{PID: p.PID, By: "start"})
		}
	}
	if h.onlyLifeline || w.Chance(5) {
		if alive, _ := h.AddLifeline(sys.addLifeline(h.parents[0])); !alive && first == nil {
			first = append(first, watch.ParentDied{By: "lifeline"})
		}
	}
	h.Listen(h.Child)
	if !h.Child {
		if h.root.phase == reaped || !h.adopt() {
			return nil, false
		}
		h.listenForBeats()
		h.enter()
		h.live()
		return first, true
	}
	h.listenForBeats()
	if first != nil {
		return nil, false
	}
	if h.start() != nil {
		h.judgeUnstarted()
		return nil, false
	}
	h.enter()
	h.live()
	if h.leavesAt > 0 {
		w.after(h.leavesAt, timerExit, h.root)
	}
	h.scene.someMoves()
	return first, true
}

const pollEvery = time.Second

func (h *Host) listenForBeats() {
	if h.cfg.Beats != nil {
		h.Worker.ListenForBeats("", false)
	}
}

// end releases everything, as the end of the program does.
func (h *Host) end() {
	s := h.hold.sentinel
	h.Worker.Close()
	if s != nil {
		s.dismiss() // it goes on to end the survivors
	}
}

// follow starts the next worker. No process of the previous one that could be found is left
// then.
func (h *Host) follow() error {
	w := h.W
	h.generation = generation{firstLog: len(h.records)}
	h.left = h.left[:0]
	if err := h.start(); err != nil {
		return err
	}
	h.failed = false
	h.enter()
	h.heart.resting, h.heart.startStatus = false, 0
	h.heart.gens++
	h.live()
	if w.Chance(40) {
		kind := timerExit
		if w.Chance(50) {
			kind = timerLeave
		}
		w.after(w.Between(0, 2*time.Second), kind, h.root)
	}
	w.Budget += w.N(10)
	w.actLater()
	return nil
}
