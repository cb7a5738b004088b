package darwin

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Host guards one worker. It implements watch.Host but for Log.
type Host struct {
	Kernel *Kernel

	launcher launcher
	backend  string        // event or poll
	interval time.Duration // of the poll backend
	tree     stop.Tree
	parents  []*parent
	loop     *loop
	exits    *exits
	// blind: of somebody nobody will tell, so that all are looked at now and then.
	blind bool

	lifeline int

	worker  *handle
	child   bool // we started it
	reaped  bool // and collected it
	exit    proc.Exit
	exited  bool
	told    bool // WorkerExited was returned
	ending  bool
	forward bool // signals are meant for the worker

	nextPoll time.Duration
	events   []watch.Event
	hook     *handle // the command of a hung worker's last words; nil: none runs
	start    time.Time

	inner  inner
	sentry *sentry // nil: none
	// NoSentinel: none is to be started.
	NoSentinel      bool
	sentinels       int    // started so far
	runID, workerID string // labels of the worker that was started last

	mu    sync.Mutex
	inbox []proc.Signal // that came in and were not handled yet
}

type parent struct {
	h    *handle
	dead bool
}

// endingPoll is the interval while a tree is being ended, where nobody tells.
const endingPoll = 20 * time.Millisecond

// newHost prepares to wait; nothing is watched yet.
func newHost(k *Kernel, l launcher, q queue, backend string, interval time.Duration) (*Host, error) {
	h := &Host{Kernel: k, launcher: l, backend: backend, interval: interval, lifeline: -1,
		loop: &loop{q: q}, start: time.Now()}
	h.exits = newExits(h.loop)
	// Signals wake the queue by this.
	if err := h.loop.change(kevent{Ident: wakeIdent, Filter: filterUser, Flags: evAdd | evClear}); err != nil {
		return nil, fmt.Errorf("kevent: %w", err)
	}
	h.tree.Kernel = k
	h.tree.Never = k.ancestors()
	k.notify, k.forget = h.notify, h.exits.drop
	return h, nil
}

const wakeIdent = 1

// Backend says how ends are noticed: event or poll.
func (h *Host) Backend() string { return h.backend }

// Now stands still while the machine sleeps (mach_absolute_time).
func (h *Host) Now() time.Duration { return time.Since(h.start) }

// AddParent watches a process whose death ends the worker. It reports false if
// that process is dead already.
func (h *Host) AddParent(pid int) (alive bool, err error) {
	hd, err := h.Kernel.open(pid)
	if errors.Is(err, proc.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := hd.Look()
	if gone(info, err) {
		hd.Close()
		return false, nil
	}
	h.parents = append(h.parents, &parent{h: hd})
	if err == nil {
		h.tree.Employers = append(h.tree.Employers, info)
	}
	// If it dies in this moment, the first Wait tells.
	h.notify(hd)
	return true, nil
}

// notify has the end of a process told by the queue.
func (h *Host) notify(hd *handle) {
	if h.backend == "event" && h.exits.add(hd) != nil {
		h.blind = true
	}
}

// AddLifeline watches a descriptor whose end-of-file is the parent's death. It
// is not read, because the worker may be reading from it. With evClear what is
// written to it wakes us once and not for as long as it lies there, and with the
// low-water mark not even that, mostly.
func (h *Host) AddLifeline(fd int) (alive bool, err error) {
	kind, err := h.launcher.Input(fd)
	if err != nil {
		return false, err
	}
	if kind == alwaysReady {
		if !h.launcher.Drain(fd) {
			return false, errors.New("it never ends and cannot be waited on: give it a pipe or a socket")
		}
		return false, nil
	}
	err = h.loop.change(kevent{Ident: uint64(fd), Filter: filterRead, Flags: evAdd | evClear, Fflags: noteLowWater, Data: 1 << 30})
	if err != nil {
		return false, fmt.Errorf("descriptor %d cannot be waited on: %w", fd, err)
	}
	h.lifeline = fd
	return true, nil
}

// Wait is watch.Host's.
func (h *Host) Wait(deadline time.Duration, timed bool) ([]watch.Event, error) {
	h.events = h.events[:0]
	if h.exited && !h.told {
		h.tellExit()
		return h.events, nil
	}
	for asked := false; ; asked = true { // at least once, however late it is
		for _, hd := range h.exits.take() {
			h.ended(hd)
		}
		h.readSignals()
		now := h.Now()
		if h.polls() && now >= h.pollAt(now) {
			h.pollAll(now)
		}
		if len(h.events) > 0 || asked && timed && now >= deadline {
			return h.events, nil
		}
		until, wakes := deadline, timed
		if at := h.pollAt(now); h.polls() && (!timed || at < deadline) {
			until, wakes = at, true
		}
		if err := h.loop.wait(until-now, wakes, h.happened); err != nil {
			return nil, fmt.Errorf("cannot wait any longer: %w", err)
		}
	}
}

func (h *Host) happened(e kevent) {
	switch {
	case e.Filter == filterRead && h.lifeline >= 0 && int(e.Ident) == h.lifeline:
		if e.Flags&(evEOF|evError) != 0 {
			h.loop.change(kevent{Ident: e.Ident, Filter: filterRead, Flags: evDelete})
			h.lifeline = -1
			h.events = append(h.events, watch.ParentDied{By: "lifeline"})
		}
	case e.Filter == filterProc:
		ended, lost := h.exits.event(e, h.launcher.WaitStatus)
		h.blind = h.blind || len(lost) > 0
		for _, hd := range ended {
			h.ended(hd)
		}
	}
}

// ended is called when a process has certainly ended.
func (h *Host) ended(hd *handle) {
	for _, p := range h.parents {
		if p.h == hd {
			h.parentDied(p, "kqueue")
			return
		}
	}
	switch {
	case hd == h.worker:
		h.workerEnded()
	case hd == h.hook:
		h.reapHook(true)
	case h.sentry != nil && hd == h.sentry.h:
		h.relieve()
	}
	if h.ending && h.exits.empty(h.outsider) {
		h.events = append(h.events, watch.Quiet{})
	}
}

// outsider: its end is waited for, but not in order to end the tree.
func (h *Host) outsider(hd *handle) bool {
	if h.sentry != nil && hd == h.sentry.h {
		return true
	}
	for _, p := range h.parents {
		if p.h == hd {
			return true
		}
	}
	return false
}

func (h *Host) parentDied(p *parent, by string) {
	if !p.dead {
		p.dead = true
		h.events = append(h.events, watch.ParentDied{PID: p.h.pid, By: by})
	}
}

// workerEnded: its end is certain. A child of ours is not reaped yet if there is
// another way to know its status: for as long as it is a zombie nobody else gets
// its number, nor a group of that number, so that the group can be signalled.
func (h *Host) workerEnded() {
	if !h.exited {
		h.noteExit()
	}
	if !h.told {
		h.tellExit()
	}
}

func (h *Host) noteExit() {
	h.exited, h.exit = true, h.exitOf(h.worker)
	if h.child && !h.exit.Known {
		h.exit, h.reaped = h.reap(h.worker), true
	}
}

// lookAtWorker notes its end, should nobody have told of it yet.
func (h *Host) lookAtWorker() {
	if h.worker != nil && !h.exited && gone(h.worker.Look()) {
		h.noteExit()
	}
}

// exitOf is how a process ended, as the queue told, or as its zombie shows.
func (h *Host) exitOf(hd *handle) proc.Exit {
	if hd.exit.Known {
		return hd.exit
	}
	if e, err := hd.entry(); err == nil && e.Stat == statZombie {
		return h.launcher.WaitStatus(e.Status)
	}
	return proc.Exit{}
}

// reap collects a child whose end is certain. It may become a zombie only a
// moment later, so that this waits.
func (h *Host) reap(hd *handle) proc.Exit {
	exit, _ := h.launcher.Reap(hd.pid, true)
	return exit
}

// reapWorker collects who is a zombie of ours still.
func (h *Host) reapWorker() {
	if h.child && h.exited && !h.reaped {
		h.reaped = true
		h.reap(h.worker)
	}
}

func (h *Host) tellExit() {
	h.told = true
	h.events = append(h.events, watch.WorkerExited{Exit: h.exit})
}

// Exit is watch.Host's.
func (h *Host) Exit() (proc.Exit, bool) {
	if h.exited {
		h.told = true
	}
	return h.exit, h.exited
}

// polls reports whether somebody must be looked at now and then.
func (h *Host) polls() bool { return h.backend != "event" || h.blind }

func (h *Host) pollAt(now time.Duration) time.Duration {
	every := h.interval
	if h.ending {
		every = min(every, endingPoll)
	}
	if h.nextPoll > now+every || h.nextPoll == 0 {
		h.nextPoll = now + every
	}
	return h.nextPoll
}

// pollAll looks at everyone whose end would otherwise be told by the kernel.
func (h *Host) pollAll(now time.Duration) {
	h.nextPoll = 0
	h.lookAtParents("poll")
	h.reapHook(false)
	if h.sentry != nil && gone(h.sentry.h.Look()) {
		h.relieve()
	}
	h.lookAtWorker()
	if h.exited && !h.told {
		h.tellExit()
	}
	if h.ending {
		h.events = append(h.events, watch.Quiet{})
	}
}

// lookAtParents reports whether one of them is dead.
func (h *Host) lookAtParents(by string) (dead bool) {
	for _, p := range h.parents {
		if !p.dead && gone(p.h.Look()) {
			h.parentDied(p, by)
		}
		dead = dead || p.dead
	}
	return dead
}

// gone takes only a reaped process or a zombie for dead: what cannot be read may
// well be alive.
func gone(info proc.Info, err error) bool {
	return errors.Is(err, proc.ErrGone) || err == nil && info.Dead()
}

// Ask, AskNew, AskWorker, Force, Count, Survey and Forward are watch.Host's.
func (h *Host) Ask(s proc.Signal) []stop.Sent {
	h.ending = true
	return h.tree.Ask(s)
}

func (h *Host) AskNew(s proc.Signal) []stop.Sent { return h.tree.AskNew(s) }

func (h *Host) AskWorker(s proc.Signal, group bool) []stop.Sent {
	h.ending = true
	return h.tree.AskWorker(s, group)
}

func (h *Host) Force() []stop.Sent {
	h.ending = true
	return h.tree.Force()
}

func (h *Host) Count() stop.Census {
	h.ending = true
	h.lookAtWorker()
	return h.tree.Count()
}

func (h *Host) Survey() { h.tree.Survey(false) }

func (h *Host) Forward(s proc.Signal) []stop.Sent { return h.tree.Forward(s) }

// Shock is watch.Host's.
func (h *Host) Shock(s proc.Signal) []stop.Sent { return h.tree.Shock(s) }

// Survivors says who could not be ended, and why.
func (h *Host) Survivors() []stop.Left { return h.tree.Survivors() }

// Close lets go of everything. A worker of ours that lives, because something
// failed, is left to the sentinel.
func (h *Host) Close() {
	h.dismiss(h.worker == nil || h.exited)
	h.tree.Close()
	h.reapWorker()
	h.loop.q.Close()
}
