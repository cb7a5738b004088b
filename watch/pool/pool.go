// Package pool is one watchdog for many workers of one parent: requests come in as JSON-RPC,
// a watch.Loop watches the workers, and answers and events go out. It is portable: how a
// worker is started and what a parameter means is the Program's.
package pool

import (
	"slices"
	"strconv"
	"time"

	"leash/internal/proc"
	"leash/internal/rpc"
	"leash/internal/system"
	"leash/watch"
)

// Program starts and adopts workers.
type Program interface {
	// Run starts a worker, Guard adopts one. The parameters are those of the request; what
	// fails leaves nothing behind.
	Run(id string, params *rpc.Value) (Member, *rpc.Error)
	Guard(id string, params *rpc.Value) (Member, *rpc.Error)
	// Signal and Grace read a parameter as a flag of that name is read.
	Signal(text string) (proc.Signal, error)
	Grace(text string) (time.Duration, error)
}

// Member is the program around one worker.
type Member interface {
	watch.Host
	Config() watch.Config
	Watched() *watch.Worker
	// PID is that of the worker of this moment, Containment how its tree is held.
	PID() int
	Containment() string
	// Began is called when the worker is watched: its first events can be told.
	Began()
	// Released is called when the worker is to live on, unguarded.
	Released()
	// Close releases everything that the pool holds of it.
	Close()
}

// Sender takes answers; it never blocks.
type Sender interface{ Send(line []byte) }

// Pool is the workers of one parent. One goroutine calls it.
type Pool struct {
	Program Program
	Loop    *watch.Loop
	Out     Sender
	// Parents watches the parents; it has no worker.
	Parents *watch.Worker
	// Trouble is how many processes of workers that have ended are left.
	Trouble int

	sys     system.System
	workers map[string]*entry
	order   []*entry // in the order in which they were started
	of      map[*watch.Watch]*entry
	// ending: no worker is started any more. shut: that was asked for.
	ending, shut bool
}

// entry is one worker of the table.
type entry struct {
	id       string
	m        Member
	g        *watch.Watch
	started  bool // by run
	restarts int
	waiting  [][]byte // ids of the requests to stop it
	all      []*stopAll
	gone     bool // released
}

// stopAll is a request to stop all workers.
type stopAll struct {
	id                     []byte
	left, ended, survivors int
}

// New returns a pool without workers.
func New(sys system.System, program Program, parents *watch.Worker, out Sender) *Pool {
	p := &Pool{Program: program, Loop: watch.NewLoop(sys), Out: out, Parents: parents, sys: sys,
		workers: make(map[string]*entry), of: make(map[*watch.Watch]*entry)}
	p.Loop.Ended = p.ended
	return p
}

// Over reports whether the pool has ended: that is wanted, and no worker is left.
func (p *Pool) Over() bool { return p.ending && p.Loop.Len() == 0 }

// Ending reports whether no worker is started any more.
func (p *Pool) Ending() bool { return p.ending }

// Round waits for what happens to the workers and parents, and handles it.
func (p *Pool) Round() error {
	var err error
	if p.Parents != nil && p.Parents.Polls() {
		err = p.Loop.RoundUntil(p.sys.Now()+p.Parents.Interval, true)
	} else {
		err = p.Loop.Round()
	}
	if p.Parents != nil {
		for _, e := range p.Parents.ParentsDied() {
			if dead, ok := e.(watch.ParentDied); ok {
				p.ParentDied(dead)
			}
		}
	}
	return err
}

// Poll is Round without waiting.
func (p *Pool) Poll() error { return p.Loop.RoundUntil(p.sys.Now(), true) }

// ParentDied ends all workers because a parent has died.
func (p *Pool) ParentDied(e watch.ParentDied) {
	p.ending = true
	p.Loop.Each(func(g *watch.Watch) { g.Feed(e) })
}

// End ends all workers: a signal asks for it.
func (p *Pool) End() {
	p.ending = true
	p.Loop.Each(func(g *watch.Watch) { g.Feed(watch.Asked{}) })
}

// Resumed tells all workers' watches that this process may have been stopped: a worker's
// silence meanwhile does not count.
func (p *Pool) Resumed() {
	p.Loop.Each(func(g *watch.Watch) { g.Feed(watch.Resumed{}) })
}

// Request handles one request, and answers it, now or later. failed is what was wrong with it
// when it was read.
func (p *Pool) Request(r rpc.Request, failed *rpc.Error) {
	if failed == nil && p.ending {
		failed = rpc.Errorf(rpc.Refused, "the pool is ending: start another")
	}
	if failed != nil {
		p.answer(r.ID, nil, failed)
		return
	}
	var result []byte
	later := false
	switch r.Method {
	case "run":
		result, failed = p.start(&r.Params, true)
	case "guard":
		result, failed = p.start(&r.Params, false)
	case "stop":
		later, failed = true, p.stop(r.ID, &r.Params)
	case "signal":
		result, failed = p.signal(&r.Params)
	case "release":
		later, failed = true, p.release(r.ID, &r.Params)
	case "list":
		result, failed = p.list(&r.Params)
	case "stop_all":
		later, failed = true, p.stopAll(r.ID, &r.Params)
	case "shutdown":
		var a asked
		if a, failed = p.asked(&r.Params, "grace"); failed == nil {
			p.answer(r.ID, empty, nil)
			p.ending, p.shut, later = true, true, true
			p.Loop.Each(func(g *watch.Watch) { g.Feed(a.event) })
		}
	default:
		failed = rpc.Errorf(rpc.MethodNotFound, "%q is no method: run, guard, stop, signal, release, list, stop_all, shutdown", r.Method)
	}
	if !later || failed != nil {
		p.answer(r.ID, result, failed)
	}
}

var empty = []byte("{}")

func (p *Pool) answer(id, result []byte, failed *rpc.Error) {
	switch {
	case id == nil: // a notification: done, and not answered
	case failed != nil:
		p.Out.Send(rpc.Failure(id, failed))
	default:
		p.Out.Send(rpc.Answer(id, result))
	}
}

// start runs or guards a worker.
func (p *Pool) start(params *rpc.Value, run bool) ([]byte, *rpc.Error) {
	id, failed := workerID(params)
	if failed != nil {
		return nil, failed
	}
	if p.workers[id] != nil {
		return nil, rpc.Errorf(rpc.WorkerIDTaken, "worker_id: a worker %q lives: stop it first, or use another ID", id)
	}
	begin := p.Program.Guard
	if run {
		begin = p.Program.Run
	}
	m, failed := begin(id, params)
	if failed != nil {
		return nil, failed
	}
	e := &entry{id: id, m: m, started: run}
	p.workers[id] = e
	p.order = append(p.order, e)
	result := []byte(`{"worker_id":`)
	result = rpc.AppendString(result, []byte(id))
	result = append(result, `,"pid":`...)
	result = strconv.AppendInt(result, int64(m.PID()), 10)
	result = append(result, `,"containment":`...)
	result = rpc.AppendString(result, []byte(m.Containment()))
	result = append(result, '}')
	m.Began()
	g := p.Loop.Prepare(watch.NewMachine(m.Config()), m.Watched(), host{m, e})
	e.g, p.of[g] = g, e
	p.Loop.Begin(g)
	return result, nil
}

// host counts the restarts of a worker.
type host struct {
	watch.Host
	e *entry
}

func (h host) Restart() (int, error) {
	status, err := h.Host.Restart()
	if err == nil {
		h.e.restarts++
	}
	return status, err
}

// ended takes a worker out of the table, and answers the requests that waited for that.
func (p *Pool) ended(g *watch.Watch) {
	e := p.of[g]
	if e == nil {
		return
	}
	delete(p.of, g)
	delete(p.workers, e.id)
	p.order = slices.DeleteFunc(p.order, func(other *entry) bool { return other == e })
	if e.gone {
		e.m.Close()
		return
	}
	outcome, exit, survivors := g.Machine.Result()
	p.Trouble += survivors
	result := append([]byte(`{"worker_id":`), rpc.AppendString(nil, []byte(e.id))...)
	result = append(result, `,"outcome":`...)
	result = rpc.AppendString(result, []byte(outcome))
	switch {
	case exit.Known && exit.Signal.Num != 0:
		result = append(result, `,"signal":`...)
		result = rpc.AppendString(result, []byte(exit.Signal.Name))
	case exit.Known:
		result = append(result, `,"exit_code":`...)
		result = strconv.AppendInt(result, int64(exit.Code), 10)
	}
	result = append(result, `,"survivors":`...)
	result = strconv.AppendInt(result, int64(survivors), 10)
	result = append(result, '}')
	for _, id := range e.waiting {
		p.answer(id, result, nil)
	}
	for _, all := range e.all {
		all.left--
		all.ended++
		all.survivors += survivors
		p.stoppedAll(all)
	}
	e.m.Close()
}

func (p *Pool) stoppedAll(all *stopAll) {
	if all.left == 0 {
		result := strconv.AppendInt([]byte(`{"ended":`), int64(all.ended), 10)
		result = strconv.AppendInt(append(result, `,"survivors":`...), int64(all.survivors), 10)
		p.answer(all.id, append(result, '}'), nil)
	}
}

func (p *Pool) stop(id []byte, params *rpc.Value) *rpc.Error {
	e, failed := p.entry(params)
	if failed != nil {
		return failed
	}
	a, failed := p.asked(params, "worker_id", "grace", "stop_signal")
	if failed != nil {
		return failed
	}
	e.waiting = append(e.waiting, id)
	e.g.Feed(a.event)
	return nil
}

func (p *Pool) stopAll(id []byte, params *rpc.Value) *rpc.Error {
	a, failed := p.asked(params, "grace")
	if failed != nil {
		return failed
	}
	all := &stopAll{id: id, left: len(p.order) + 1}
	for _, e := range slices.Clone(p.order) {
		e.all = append(e.all, all)
	}
	for _, e := range slices.Clone(p.order) {
		e.g.Feed(a.event)
	}
	all.left--
	p.stoppedAll(all)
	return nil
}

func (p *Pool) signal(params *rpc.Value) ([]byte, *rpc.Error) {
	e, failed := p.entry(params)
	if failed == nil {
		failed = only(params, "worker_id", "signal")
	}
	if failed != nil {
		return nil, failed
	}
	text, failed := text(params, "signal", true)
	if failed != nil {
		return nil, failed
	}
	sig, err := p.Program.Signal(text)
	if err != nil {
		return nil, rpc.Errorf(rpc.InvalidParams, "signal: %v", err)
	}
	return empty, e.send(sig)
}

func (e *entry) send(sig proc.Signal) *rpc.Error {
	if _, ended := e.m.Exit(); ended || e.g.Machine.Phase() == "restarting" {
		return rpc.Errorf(rpc.ProcessGone, "worker %q has ended: its process is gone", e.id)
	}
	sent := slices.Clone(e.m.Forward(sig))
	var refused error
	reached := false
	for _, s := range sent {
		if s.Err != nil {
			refused = s.Err
		} else {
			reached = true
		}
	}
	for _, s := range sent {
		e.g.Feed(watch.Sent{Sent: s})
	}
	switch {
	case reached:
		return nil
	case refused != nil:
		return rpc.Errorf(rpc.Refused, "worker %q could not be sent %s: %v", e.id, sig.Name, refused)
	}
	return rpc.Errorf(rpc.ProcessGone, "worker %q has ended: its process is gone", e.id)
}

func (p *Pool) release(id []byte, params *rpc.Value) *rpc.Error {
	e, failed := p.entry(params)
	if failed == nil {
		failed = only(params, "worker_id")
	}
	switch {
	case failed != nil:
		return failed
	case e.started:
		return rpc.Errorf(rpc.Refused, "worker %q was started by this pool, which cannot leave it: stop it", e.id)
	case e.g.Machine.Phase() == "stopping":
		return rpc.Errorf(rpc.Refused, "worker %q is being ended already", e.id)
	}
	e.gone = true
	e.m.Released()
	p.answer(id, empty, nil)
	r := watch.StoppedRecord(watch.WasAsked, 0)
	r.Text = "the worker was released: it lives on, unguarded"
	e.m.Log(r)
	p.Loop.Drop(e.g)
	return nil
}

func (p *Pool) list(params *rpc.Value) ([]byte, *rpc.Error) {
	if failed := only(params); failed != nil {
		return nil, failed
	}
	b := []byte(`{"workers":[`)
	for i, e := range p.order {
		if i > 0 {
			b = append(b, ',')
		}
		state, pid, processes := e.g.Machine.Phase(), e.m.PID(), 0
		if state != "restarting" {
			processes = e.m.Watched().Processes()
		}
		b = append(b, `{"worker_id":`...)
		b = rpc.AppendString(b, []byte(e.id))
		b = append(b, `,"pid":`...)
		b = strconv.AppendInt(b, int64(pid), 10)
		b = append(b, `,"state":"`+state+`","uptime_ms":`...)
		b = strconv.AppendInt(b, e.g.Uptime().Milliseconds(), 10)
		b = append(b, `,"restarts":`...)
		b = strconv.AppendInt(b, int64(e.restarts), 10)
		b = append(b, `,"processes":`...)
		b = strconv.AppendInt(b, int64(processes), 10)
		b = append(b, '}')
	}
	return append(b, `]}`...), nil
}

// Guards reports whether a process is the worker of an entry.
func (p *Pool) Guards(pid int) (id string, yes bool) {
	for _, e := range p.order {
		if e.m.PID() == pid {
			if _, ended := e.m.Exit(); !ended {
				return e.id, true
			}
		}
	}
	return "", false
}
