package watchsim

import (
	"time"

	"leash/internal/proc"
)

// Options say what kind of system a world is.
type Options struct {
	// Inodes: handles have an inode of their own (pidfs).
	Inodes bool
	// GroupByHandle: a group can be signalled by its leader's handle, also after that
	// leader was reaped; otherwise only while the leader holds the PID.
	GroupByHandle bool
	// PIDs is how many PIDs there are.
	PIDs int
	// Newest: the PID that was freed last is used first, so that most reuses happen
	// within one tick.
	Newest bool
	// InitReaps is how long PID 1 takes to reap.
	InitReaps time.Duration
	// Root may signal every process.
	Root bool
	// OpenFails, LookFails, ListFails and SearchFails are faults, in percent of
	// the calls.
	OpenFails, LookFails, ListFails, SearchFails int
	// Busy is the chance in percent that a process acts between two calls.
	Busy int
}

const (
	tickLength = 10 * time.Millisecond
	bootBefore = 1000 * time.Second
	maxProcs   = 400
	// ownUID is the user of the watchdog and of most others.
	ownUID   = 1000
	otherUID = 33
)

// World is the process table of one simulated system.
type World struct {
	Options
	Rand
	Trace Trace

	// Budget is how many more times processes act on their own.
	Budget int
	// Self is the watchdog.
	Self, Init *Proc
	// Bomb: every process of a tree that can act forks, and nothing else happens.
	Bomb bool
	// System is this world as a system.System; nil if there is no watchdog.
	System *System
	// Hosts are the watchdog's workers, with their state.
	Hosts []*Host

	now, slept time.Duration
	slab       []Proc
	used       int
	byPID      []*Proc
	live       []*Proc // all that are not reaped, oldest first
	freed      []int
	nextPID    int
	timers     []timer
	nextTimer  time.Duration
	group      []*Proc // while one is signalled
	handles    []handle
	handlesN   int
	firstKill  int   // the call of the first SIGKILL
	calls      int   // kernel calls so far: the order of things
	lists      int   // of children, so far
	askedBelow int   // the call at which the watchdog or a sentinel last listed children
	acting     *Host // the host that is acting
	opAt       int   // the call at which the current action began
	failures   []string

	doomed   doomed
	doomAt   int   // at this call
	struck   *Proc // the one that was killed
	struckAt time.Duration

	lastTick    uint64
	lastWasTick bool
}

// Proc is one process of a world. It is kept after its end, also when its PID is reused.
type Proc struct {
	PID  int
	Name string
	// UID and labels, as the system shows them.
	UID        uint32
	Run, Label string
	// Leash: it is a watchdog or reaper. Subreaper: orphans below it become its children.
	Leash, Subreaper bool
	// Tree is the worker to whose tree it belongs; nil if to none.
	Tree *Host
	// Exit is how it ended.
	Exit proc.Exit

	n              int // index in the order of starts
	start, inode   uint64
	parent         *Proc
	group, session *Proc // their leaders
	refs           int   // how many hold the PID: itself, its group, its session
	phase          phase
	stopped, sleep bool // T and D
	leaderGone     bool // its first thread has ended, others run
	pendTerm       bool
	pendKill       bool
	temper         temper
	never          bool         // the watchdog or an ancestor of it
	cgroup         *containment // the one in whose cgroup it is
	is             *Host        // the host of which it is, or was, the worker
	sentinel       *sentinel
	bySentinel     bool    // it was killed by its sentinel's death
	child          *handle // has its exit status once it was reaped
	parentOf       bool    // at its exit a worker is ended
	ofHook         bool    // of a hook, or not below the sentinel for another reason
	below          bool    // started by a watchdog or reaper, or by a descendant of one

	open int // handles on it
	// missed: it was a child of a process whose list, or whose own opening, failed,
	// and neither has succeeded since. list is the number of the last list that
	// named it, as a child of listedBy.
	missed                      bool
	list                        int
	listedBy                    *Proc
	born, joined, moved         int // calls
	looked, leashAt, leashLooks int
	termAt, killAt              int
	ended, held, stopAt         int
	bornAt, endedAt             time.Duration
}

type phase uint8

const (
	alive phase = iota
	zombie
	reaped
)

// temper is how a process behaves.
type temper struct {
	onTerm onTerm
	reaps  reaps
	// slow is the time from SIGKILL to the end.
	slow time.Duration
}

type onTerm uint8

const (
	dies onTerm = iota
	diesLate
	ignores
	forksAndDies
	forksAndStays
)

type reaps uint8

const (
	reapsAtOnce reaps = iota
	reapsLate
	reapsNever
)

type timerKind uint8

const (
	timerExit timerKind = iota
	timerReap
	timerWake // out of uninterruptible sleep
	timerAct
	timerBeat
	timerLeave // exits on its own
	timerDoom
)

type timer struct {
	at   time.Duration
	kind timerKind
	p    *Proc
}

const noTimer = time.Duration(1<<63 - 1)

// Reset makes it a new world with PID 1 only, by this seed.
func (w *World) Reset(seed uint64, o Options) {
	if w.slab == nil {
		w.slab = make([]Proc, maxProcs)
		w.handles = make([]handle, 2048)
	}
	if cap(w.byPID) < o.PIDs+2 {
		w.byPID = make([]*Proc, o.PIDs+2)
	}
	w.byPID = w.byPID[:o.PIDs+2]
	clear(w.byPID)
	w.Options, w.state = o, seed
	w.Trace.reset()
	w.Budget, w.used, w.handlesN, w.calls, w.lists = 0, 0, 0, 0, 0
	w.Self, w.System, w.Hosts = nil, nil, w.Hosts[:0]
	w.doomed, w.struck, w.acting, w.askedBelow, w.opAt = nobodyDoomed, nil, nil, 0, 0
	w.Bomb = false
	w.now, w.slept, w.firstKill = 0, 0, 0
	w.live, w.freed, w.timers, w.failures = w.live[:0], w.freed[:0], w.timers[:0], nil
	w.nextTimer, w.nextPID = noTimer, 2
	w.lastTick, w.lastWasTick = 0, false
	w.Init = w.birth(1, nil)
	w.Init.Name, w.Init.UID = "init", 0
	w.Init.group, w.Init.session = w.Init, w.Init
	w.Init.refs = 3
}

// Now stands still while the machine sleeps.
func (w *World) Now() time.Duration { return w.now }

func (w *World) tick() uint64 { return uint64((bootBefore + w.now + w.slept) / tickLength) }

// Sleep is a suspend of the whole machine.
func (w *World) Sleep(d time.Duration) { w.slept += d }

// step is what happens between two calls: time passes, and the world may move.
func (w *World) step() {
	w.calls++
	w.lastWasTick = false
	r := w.Next()
	w.now += time.Duration(2+r&31) * time.Microsecond
	if r>>32&127 == 0 {
		w.now += time.Duration(r>>40&15) * time.Millisecond
	}
	if w.nextTimer <= w.now {
		w.fire()
	}
	if w.Budget > 0 && w.Chance(w.Busy) {
		w.Budget--
		w.act()
	}
	if w.doomed != nobodyDoomed && w.calls >= w.doomAt {
		w.strike()
	}
}

// pass lets time pass until then, and fires timers.
func (w *World) pass(until time.Duration) {
	for w.nextTimer <= until {
		w.now = max(w.now, w.nextTimer)
		w.fire()
	}
	w.now = max(w.now, until)
}

func (w *World) after(d time.Duration, kind timerKind, p *Proc) {
	t := timer{w.now + d, kind, p}
	w.timers = append(w.timers, t)
	w.nextTimer = min(w.nextTimer, t.at)
}

// fire fires the timers that are due, the earliest first.
func (w *World) fire() {
	for {
		first := -1
		w.nextTimer = noTimer
		for i, t := range w.timers {
			if first < 0 || t.at < w.timers[first].at {
				first = i
			}
		}
		if first < 0 {
			return
		}
		t := w.timers[first]
		if t.at > w.now {
			w.nextTimer = t.at
			return
		}
		w.timers[first] = w.timers[len(w.timers)-1]
		w.timers = w.timers[:len(w.timers)-1]
		w.due(t)
	}
}

func (w *World) due(t timer) {
	switch t.kind {
	case timerExit:
		w.dueExit(t.p)
	case timerReap:
		switch {
		case t.p.phase != zombie || t.p.parent == w.Self:
		case t.p.parent.sentinel != nil:
			t.p.parent.sentinel.reap()
		default:
			w.reap(t.p)
		}
	case timerWake:
		w.wake(t.p)
	case timerAct:
		if w.Budget > 0 {
			w.Budget--
			w.act()
			w.actLater()
		}
	case timerBeat:
		t.p.is.beat(t.p)
	case timerLeave:
		if t.p.canAct() {
			w.exit(t.p, proc.Exit{Known: true, Code: w.N(2)})
		}
	case timerDoom:
		w.strike()
	}
}

// retime finds the next timer anew.
func (w *World) retime() {
	w.nextTimer = noTimer
	for _, t := range w.timers {
		w.nextTimer = min(w.nextTimer, t.at)
	}
}

func (w *World) dueExit(p *Proc) {
	switch {
	case p.phase != alive || p.sleep && p.pendKill:
	case p.pendKill:
		w.exit(p, proc.Exit{Known: true, Signal: proc.KILL})
	case p.canAct():
		w.exit(p, proc.Exit{Known: true, Signal: proc.TERM})
	default: // it acts once it may run
		p.pendTerm, p.temper.onTerm = true, dies
	}
}

// wake ends an uninterruptible sleep.
func (w *World) wake(p *Proc) {
	p.sleep = false
	switch {
	case p.phase != alive:
	case p.pendKill:
		w.exit(p, proc.Exit{Known: true, Signal: proc.KILL})
	case p.pendTerm && p.canAct():
		w.terminate(p)
	}
}

// actLater lets processes act also while there are no calls.
func (w *World) actLater() {
	if w.Budget > 0 {
		d := time.Duration(w.N(2000)) * time.Microsecond
		if w.Chance(40) {
			d = w.Between(0, 400*time.Millisecond)
		}
		w.after(d, timerAct, nil)
	}
}

// fail records a failure.
func (w *World) fail(what string, p *Proc) {
	if p != nil {
		what += ": " + p.String()
	}
	w.failures = append(w.failures, what)
	w.Trace.add(w.now, "FAILURE: "+what, p, nil, 0)
}

// Failures returns all recorded failures.
func (w *World) Failures() []string { return w.failures }
