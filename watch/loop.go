package watch

import (
	"container/heap"
	"fmt"
	"slices"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// Host performs the actions of one worker's machine: a Worker, and the program around
// it. One goroutine calls it.
type Host interface {
	SignalAll(proc.Signal) []stop.Sent
	SignalNew(proc.Signal) []stop.Sent
	// SignalWorker sends the stop signal to the worker alone or, with group, to its
	// process group. SignalAll sends it to the rest later.
	SignalWorker(s proc.Signal, group bool) []stop.Sent
	Kill() []stop.Sent
	Count() stop.Census
	// Exit is the worker's exit status, and whether it has ended.
	Exit() (proc.Exit, bool)
	Scan()
	Forward(proc.Signal) []stop.Sent
	// Suspend stops the worker, then the watchdog, and returns when both were continued.
	Suspend(proc.Signal) []stop.Sent

	// Hook starts the command that is run for a hung worker; a HookEnded event follows
	// when it has ended. EndHook kills its process group.
	Hook(reason string) error
	EndHook()
	// SignalHung sends a signal to the worker alone, then SIGCONT.
	SignalHung(proc.Signal) []stop.Sent
	// PassOn sends a message to the service manager of the watchdog.
	PassOn(text string)
	// Restart starts the next worker. If it fails, status is the exit status that the
	// failure means.
	Restart() (status int, err error)

	// ReadLabels and the following perform the actions of the same names. last: this
	// may be the last time that the worker's labels can be read.
	ReadLabels(last bool)
	UpdateRecord()
	MarkRecord()
	SaveRecord()
	RemoveRecord()

	Log(Record)
}

// Loop watches any number of workers on one system, with one wait and one queue of
// deadlines. An event costs O(log n) for each worker that it concerns, and nothing for
// the others.
type Loop struct {
	// Trace, if not nil, is called with each event before the machine takes it.
	Trace func(*Worker, Event)
	// Ended, if not nil, is called when a watch has ended.
	Ended func(*Watch)
	// Signalled, if not nil, is given the signals to this process, instead of every worker.
	Signalled func(proc.Signal)

	sys   system.System
	queue deadlines
	ready []*Watch // to be served in this round
	all   map[*Worker]*Watch
	list  []*Watch // the same in a fixed order, so that simulations can be replayed
}

// Watch is one worker in a loop.
type Watch struct {
	Machine *Machine
	Worker  *Worker
	Host    Host
	// Done: the watch has ended, with this exit status.
	Done   bool
	Status int

	loop  *Loop
	start time.Duration
	queue []Event
	acts  []Action

	due   time.Duration // when it must be served at the latest
	index int           // in the loop's queue; -1: it has no deadline
	at    int           // in the loop's list
	ready bool
}

// NewLoop returns a loop without workers.
func NewLoop(sys system.System) *Loop {
	return &Loop{sys: sys, all: make(map[*Worker]*Watch)}
}

// Add begins the watch of a worker that was started or adopted; first are events that
// have happened already.
func (l *Loop) Add(m *Machine, w *Worker, h Host, first ...Event) *Watch {
	g := l.Prepare(m, w, h)
	l.Begin(g, first...)
	return g
}

// Prepare is Add without its beginning: Begin must follow.
func (l *Loop) Prepare(m *Machine, w *Worker, h Host) *Watch {
	g := &Watch{Machine: m, Worker: w, Host: h, loop: l, start: l.sys.Now(), index: -1, at: len(l.list)}
	l.all[w], l.list = g, append(l.list, g)
	return g
}

// Begin begins a watch.
func (l *Loop) Begin(g *Watch, first ...Event) {
	for _, e := range first {
		if g.step(e) {
			l.remove(g)
			return
		}
	}
	g.serve()
}

// Uptime is how long the worker has run.
func (g *Watch) Uptime() time.Duration { return g.Machine.Uptime(g.now()) }

// Guard watches one worker until its end, and returns the exit status. It fails only if
// System.Wait fails.
func Guard(m *Machine, w *Worker, h Host, first ...Event) (status int, err error) {
	l := NewLoop(w.Sys)
	g := l.Add(m, w, h, first...)
	err = l.Run()
	return g.Status, err
}

// Len is how many workers are watched.
func (l *Loop) Len() int { return len(l.all) }

// Run serves the workers until none is left. It fails only if System.Wait fails.
func (l *Loop) Run() error {
	for len(l.all) > 0 {
		if err := l.Round(); err != nil {
			return err
		}
	}
	return nil
}

// Round waits once, and serves the workers that have events or a deadline.
func (l *Loop) Round() error { return l.RoundUntil(0, false) }

// RoundUntil is Round that waits no longer than until, if timed.
func (l *Loop) RoundUntil(until time.Duration, timed bool) error {
	if len(l.queue) > 0 && (!timed || l.queue[0].due < until) {
		until, timed = l.queue[0].due, true
	}
	wakes, err := l.sys.Wait(until, timed)
	if err != nil {
		return fmt.Errorf("cannot wait any longer: %w", err)
	}
	for i := range wakes {
		l.dispatch(&wakes[i])
	}
	for now := l.sys.Now(); len(l.queue) > 0 && l.queue[0].due <= now; {
		g := heap.Pop(&l.queue).(*Watch)
		l.serveLater(g)
	}
	for _, g := range l.ready {
		if g.ready = false; !g.Done {
			g.serve()
		}
	}
	l.ready = l.ready[:0]
	return nil
}

// dispatch hands an event to the worker that it concerns; a signal concerns all.
func (l *Loop) dispatch(e *system.Wake) {
	w := workerOf(e.Owner)
	if w == nil && e.Kind == system.Signalled && l.Signalled != nil {
		l.Signalled(e.Signal)
		return
	}
	if w == nil {
		for _, g := range l.list {
			g.Worker.happened(e)
			l.serveLater(g)
		}
		return
	}
	w.happened(e)
	if g := l.all[w]; g != nil {
		l.serveLater(g)
	}
}

func workerOf(owner any) *Worker {
	switch owner := owner.(type) {
	case *Worker:
		return owner
	case *parent:
		return owner.w
	case *hook:
		return owner.w
	}
	return nil
}

func (l *Loop) serveLater(g *Watch) {
	if !g.ready {
		g.ready = true
		l.ready = append(l.ready, g)
	}
}

func (l *Loop) remove(g *Watch) {
	g.Done = true
	delete(l.all, g.Worker)
	last := len(l.list) - 1
	l.list[g.at] = l.list[last]
	l.list[g.at].at, l.list[last] = g.at, nil
	l.list = l.list[:last]
	if g.index >= 0 {
		heap.Remove(&l.queue, g.index)
	}
	if l.Ended != nil {
		l.Ended(g)
	}
}

// Feed gives the machine an event that does not come from the system.
func (g *Watch) Feed(e Event) {
	switch {
	case g.Done:
	case g.step(e):
		g.loop.remove(g)
	default:
		g.schedule()
	}
}

// Drop ends the watch of a worker without doing anything to it.
func (l *Loop) Drop(g *Watch) {
	if !g.Done {
		l.remove(g)
	}
}

// Each calls f for every watch, of which f may end any.
func (l *Loop) Each(f func(*Watch)) {
	for _, g := range slices.Clone(l.list) {
		if !g.Done {
			f(g)
		}
	}
}

func (g *Watch) now() time.Duration { return g.loop.sys.Now() - g.start }

// serve feeds the machine the worker's events, then a tick if one is due.
func (g *Watch) serve() {
	for {
		at, timed := g.Machine.Deadline()
		due := timed && g.now() >= at
		events := g.Worker.take(due)
		for _, e := range events {
			if g.step(e) {
				g.loop.remove(g)
				return
			}
		}
		at, timed = g.Machine.Deadline()
		if due = timed && g.now() >= at; due && g.step(Tick{}) {
			g.loop.remove(g)
			return
		}
		if len(events) == 0 && !due {
			break
		}
	}
	g.schedule()
}

// schedule moves the worker in the queue to its next deadline.
func (g *Watch) schedule() {
	at, timed := g.Machine.Deadline()
	due, timed := g.Worker.until(g.start+at, timed)
	l := g.loop
	switch {
	case !timed && g.index >= 0:
		heap.Remove(&l.queue, g.index)
	case !timed:
	case g.index < 0:
		g.due = due
		heap.Push(&l.queue, g)
	case g.due != due:
		g.due = due
		heap.Fix(&l.queue, g.index)
	}
}

// step feeds one event and all that follow from it; true means that the watch has ended.
func (g *Watch) step(e Event) bool {
	if l := g.loop; l.Trace != nil {
		l.Trace(g.Worker, e)
	}
	g.queue = append(g.queue[:0], e)
	for i := 0; i < len(g.queue); i++ {
		// Actions add their events to the queue and do not call Step.
		g.acts = append(g.acts[:0], g.Machine.Step(g.now(), g.queue[i])...)
		for _, a := range g.acts {
			if a.Kind == DoExit {
				g.Status = a.Status
				return true
			}
			g.perform(a)
		}
	}
	return false
}

func (g *Watch) perform(a Action) {
	h := g.Host
	switch a.Kind {
	case DoSignalAll:
		g.sent(h.SignalAll(a.Signal))
	case DoSignalNew:
		g.sent(h.SignalNew(a.Signal))
	case DoSignalWorker, DoSignalGroup:
		g.sent(h.SignalWorker(a.Signal, a.Kind == DoSignalGroup))
	case DoKill:
		g.sent(h.Kill())
	case DoForward:
		g.sent(h.Forward(a.Signal))
	case DoSuspend:
		sent := h.Suspend(a.Signal)
		g.queue = append(g.queue, Resumed{}) // before the events of the signals sent
		g.sent(sent)
	case DoScan:
		h.Scan()
	case DoReadLabels:
		h.ReadLabels(g.Machine.State() == Ending)
	case DoUpdateRecord:
		h.UpdateRecord()
	case DoTally:
		g.Worker.tally(a.Tally)
	case DoMarkRecord:
		h.MarkRecord()
	case DoSaveRecord:
		h.SaveRecord()
	case DoRemoveRecord:
		h.RemoveRecord()
	case DoCount:
		c := Counted{Census: h.Count()}
		c.Exit, c.Exited = h.Exit()
		g.queue = append(g.queue, c)
	case DoHook:
		if err := h.Hook(a.Text); err != nil {
			g.queue = append(g.queue, HookEnded{err})
		}
	case DoEndHook:
		h.EndHook()
	case DoHangSignal:
		g.sent(h.SignalHung(a.Signal))
	case DoPassOn:
		h.PassOn(a.Text)
	case DoRestart:
		if status, err := h.Restart(); err != nil {
			g.queue = append(g.queue, NotRestarted{status, err})
		} else {
			g.queue = append(g.queue, Restarted{})
		}
	case DoLog:
		h.Log(a.Record)
	}
}

func (g *Watch) sent(list []stop.Sent) {
	for _, s := range list {
		g.queue = append(g.queue, Sent{s})
	}
}

// deadlines is a heap of the workers that have a deadline, the earliest first.
type deadlines []*Watch

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].due < d[j].due }
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

func (d *deadlines) Push(x any) {
	g := x.(*Watch)
	g.index = len(*d)
	*d = append(*d, g)
}

func (d *deadlines) Pop() any {
	last := len(*d) - 1
	g := (*d)[last]
	(*d)[last], g.index = nil, -1
	*d = (*d)[:last]
	return g
}
