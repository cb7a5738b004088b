package hosttest

import (
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Mode is how the worker is held.
type Mode int

const (
	GuardGroup        Mode = iota // the worker leads a group
	GuardSession                  // and a session
	GuardShared                   // it is in its parent's group
	GuardInside                   // it leads the group in which the watchdog or its parent is
	RunReaper                     // started, with the subreaper
	RunCgroup                     // and a cgroup
	RunSearch                     // started, without the subreaper
	RunSentinel                   // started by a sentinel
	RunSentinelCgroup             // and a cgroup
	modes
)

func (m Mode) String() string {
	return [...]string{"guard, own group", "guard, own session", "guard, parent's group",
		"guard, watchdog in the group", "run", "run with a cgroup", "run without a subreaper",
		"run with a sentinel", "run with a sentinel and a cgroup"}[m]
}

// Scene is one worker, guarded in one world. It may be used again and again.
type Scene struct {
	World World
	Host  Host
	Stats Stats
	// Mode and Labelled say what was drawn.
	Mode     Mode
	Labelled bool
	Seed     uint64
	// Bomb makes each a scene of a fork bomb, in which every process is in a
	// session of its own, held by nothing but the subreaper.
	Bomb bool

	shell, parent *Proc
	sentinel      stop.Tree // as the sentinel knows it
	root          *handle
	never         []proc.Info
}

// Play runs the scene of this seed to its end and returns what went wrong.
func (s *Scene) Play(seed uint64) []string {
	w := &s.World
	s.Seed, s.root, s.sentinel = seed, nil, stop.Tree{}
	s.build(seed)
	s.Stats.Runs++
	s.Stats.Modes[s.Mode]++
	trivial, killed, status, err := s.guard()
	switch {
	case trivial:
		s.Stats.Trivial++
		return w.Failures()
	case killed:
		s.Stats.WatchdogKilled++
		s.avenge()
		s.count()
		return w.Failures()
	}
	if w.struck != nil {
		s.Stats.SentinelKilled++
	}
	w.doomed = nil
	s.judgeEnd(status, err)
	s.dismiss()
	s.Host.Tree.Close()
	if s.root != nil {
		s.root.Close()
	}
	s.judgeHandles()
	s.count()
	return w.Failures()
}

func (s *Scene) count() {
	w := &s.World
	s.Stats.Calls += w.calls
	if s.Host.survivors > 0 {
		s.Stats.Survived++
	}
	forced := false
	for i := range w.used {
		forced = forced || w.slab[i].killAt > 0
		if w.slab[i].Tree && w.firstKill > 0 && w.slab[i].born > w.firstKill {
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

// build draws a world, and in it a parent, a worker and a watchdog.
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
	if s.Stats.Condemned == nil {
		s.Stats.Condemned = make(map[string]int)
	}
	s.Host.Stats, s.Host.scene = &s.Stats, s
	s.Host.reset(w)
	s.Mode, s.Labelled = Mode(w.N(int(modes))), w.Chance(50)
	if s.Bomb {
		s.Mode = RunReaper
	}
	s.Host.Child = s.Mode >= RunReaper
	s.Host.Poll, s.Host.Lossy = w.Chance(3), w.Chance(40)
	s.Host.Grace = []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second}[w.N(4)]
	s.Host.cfg = watch.Config{Owns: s.Host.Child, Grace: s.Host.Grace, StopSignal: proc.TERM, Surveys: !s.Host.Child,
		WorkerFirst: !s.Bomb && w.Chance(50)}
	if !s.Bomb && w.Chance(20) {
		s.drawHeart()
	}
	s.people()
	w.pass(w.now + w.Between(2*tickLength, 5*tickLength)) // whoever is above us was there before
	if s.Mode >= RunSentinel {
		s.post()
	}
	s.worker()
	if w.Sentinel != nil && w.Chance(60) {
		s.doom()
	}
	for range w.N(8) { // what happened before the watchdog looks
		w.pass(w.now + w.Between(0, 8*time.Millisecond))
		w.act()
	}
	s.causes()
	w.Budget = w.N(40)
	if w.Bomb = s.Bomb; w.Bomb {
		w.Budget = maxProcs
	}
	w.actLater()
}

// people are those around: a shell, the parent, another worker of the run.
func (s *Scene) people() {
	w := &s.World
	s.shell = w.Fork(w.Init)
	s.shell.Name, s.shell.UID, s.shell.temper = "shell", ownUID, temper{}
	w.Setsid(s.shell)
	s.parent = w.Fork(s.shell)
	s.parent.Name = "parent"
	w.Setpgid(s.parent, s.parent)
	w.Run = "r4nd0m7"
	if s.Labelled {
		w.Label = "w1"
		w.ByLabels = s.Mode < RunReaper || s.Mode == RunSearch
	}
	starter := s.parent // of the watchdog
	if w.Chance(30) {
		starter = s.shell
	}
	w.Self = w.Fork(starter)
	w.Self.Name, w.Self.Leash = "watchdog", true
	if w.Root {
		w.Self.UID = 0
	}
	if w.Chance(50) || s.Host.Child {
		w.Setpgid(w.Self, w.Self)
	}
	if sibling := w.Fork(s.parent); sibling != nil {
		sibling.Name, sibling.Run, sibling.Label = "sibling", w.Run, "another"
	}
	for p := w.Self; p != nil; p = p.parent {
		p.never = true
	}
	s.Host.parent = s.parent
}

// worker starts one, if the system is not full.
func (s *Scene) worker() bool {
	w := &s.World
	from := s.parent
	if s.Host.Child {
		from = w.Self
	}
	if s.Mode >= RunSentinel && !w.watched() {
		if s.post(); w.Sentinel != nil {
			s.Host.alone = false
		}
	}
	if w.watched() {
		from = w.Sentinel
	}
	p := w.Fork(from)
	if p == nil {
		return false
	}
	p.Name, p.UID, p.Run, p.Label, p.Tree, p.contained = "worker", ownUID, w.Run, w.Label, true, true
	w.Worker = p
	switch s.Mode {
	case GuardGroup:
		w.Setpgid(p, p)
	case GuardShared:
	case GuardInside:
		w.Setpgid(p, p)
		w.Shared = true
		if above := w.Self.parent; above == s.parent && w.Chance(50) {
			w.Setpgid(above, p)
		} else {
			w.Setpgid(w.Self, p)
		}
	default:
		w.Setsid(p)
		if !s.Host.Child && s.parent.never && w.Chance(30) { // the watchdog and its parent come of the worker's session
			w.move(w.Self, w.Self.group, p)
			w.move(s.parent, s.parent.group, p)
		}
	}
	if s.Host.Child && s.Mode != RunSearch {
		w.Self.Subreaper = true
	}
	s.meet()
	return true
}

// causes are the parent's death, and before that perhaps something else.
func (s *Scene) causes() {
	w, h := &s.World, &s.Host
	at := w.Between(0, 2*time.Second)
	if h.heart.on || h.cfg.Restart != watch.RestartNever {
		at = w.Between(0, []time.Duration{2, 8, 40}[w.N(3)]*time.Second)
	}
	if w.Chance(20) {
		at = 0
	}
	switch n := w.N(100); {
	case n < 15:
		w.after(at, timerExit, w.Worker)
		at += 3 * time.Second
	case n < 25:
		h.signal(at, []proc.Signal{proc.TERM, proc.INT}[w.N(2)], watch.Ends)
		if w.Chance(50) {
			h.signal(at+w.Between(0, time.Second), proc.INT, watch.Ends)
		}
		at += 3 * time.Second
	}
	w.after(at, timerExit, s.parent)
	if h.Child && w.Chance(20) {
		h.signal(w.Between(0, 3*time.Second), proc.Signal{Num: 1, Name: "SIGHUP"}, watch.Forwarded)
	}
	if h.Child && (w.Chance(5) || h.heart.on && w.Chance(20)) {
		h.signal(w.Between(0, 2*time.Second), proc.Signal{Num: 20, Name: "SIGTSTP"}, watch.Suspends)
	}
}

func (h *Host) signal(in time.Duration, sig proc.Signal, role watch.Role) {
	h.pending = append(h.pending, notice{at: h.W.now + in, kind: noticeSignal,
		sig: watch.Signalled{Signal: sig, Role: role}})
}

// follow starts the next worker. Nothing that could be known of the one before
// is left then.
func (s *Scene) follow() bool {
	w, h := &s.World, &s.Host
	if s.root != nil {
		s.judgeLeft()
		h.Tree.Close()
		s.root.Close()
		s.dismiss()
		s.judgeHandles()
	}
	h.Tree, s.root = stop.Tree{Parent: h.Tree.Parent}, nil
	h.generation = generation{firstLog: len(h.records), exit: h.exit, exited: true, told: true}
	h.left, h.heart.said = h.left[:0], h.heart.said[:0]
	if !s.worker() {
		return false
	}
	h.exited, h.told = false, false
	w.rootSeenTick = 0
	for s.root == nil { // reading /proc may fail
		s.adopt()
	}
	h.heart.resting, h.heart.startStatus = false, 0
	h.heart.gens++
	h.live()
	if w.Chance(40) {
		kind := timerExit
		if w.Chance(50) {
			kind = timerLeave
		}
		w.after(w.Between(0, 2*time.Second), kind, w.Worker)
	}
	w.Budget += w.N(10)
	w.actLater()
	return true
}

// adopt does what the real host does with a worker that runs, or was started.
func (s *Scene) adopt() (ok bool) {
	w, h := &s.World, &s.Host
	s.never = s.never[:0]
	for p := w.Self; p != nil; p = p.parent {
		i := p.info()
		i.Inode = 0 // they are looked at without a handle
		s.never = append(s.never, i)
	}
	h.Tree.Kernel, h.Tree.Never = Kernel{w}, s.never
	if w.Worker.phase == reaped {
		return false
	}
	root := w.open(w.Worker)
	h.Tree.Root = root
	info, err := h.Tree.Adopt()
	if err == nil && info.Dead() && !h.Child || err != nil {
		root.Close()
		return false
	}
	s.root = root
	root.Notify()
	if s.Labelled {
		h.Tree.RunID, h.Tree.WorkerID = w.Run, w.Label
	}
	switch s.Mode {
	case RunReaper, RunCgroup, RunSentinel, RunSentinelCgroup:
		h.Tree.Parent, h.Tree.Empty = w.Self.PID, h.reap
		if w.Sentinel != nil && !h.alone {
			h.Tree.Parent = w.Sentinel.PID
			if h.heir {
				h.Tree.Beside = w.Self.PID
			}
		}
		if s.Mode == RunCgroup || s.Mode == RunSentinelCgroup {
			h.Tree.KillAll = h.killAll
		}
	case RunSearch:
		h.Tree.Search = h.searchAll
	default:
		h.Tree.Survey(false)
		h.Tree.Search = h.searchAll
	}
	return true
}

// killAll is cgroup.kill.
func (h *Host) killAll() bool {
	w := h.W
	w.step()
	w.Trace.said(w.now, "SIGKILL", inAll, nil)
	w.group = w.group[:0]
	for _, p := range w.live {
		if p.contained {
			w.group = append(w.group, p)
		}
	}
	for _, p := range w.group {
		w.send(p, proc.KILL, inAll)
	}
	return true
}
