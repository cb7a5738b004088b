package watchsim

import (
	"fmt"
	"strings"
	"time"

	"leash/internal/event"
	"leash/internal/proc"
	"leash/internal/rpc"
	"leash/watch"
	"leash/watch/pool"
)

// PoolScene is one watchdog of many workers: the real pool.Pool in a World. It can be reused.
type PoolScene struct {
	Scene
	// Most is how many workers are started at most; 0: a few.
	Most int
	// Workers, Stopped and Refused count over all runs.
	Workers, Stopped, Refused int

	pool    *pool.Pool
	base    *watch.Worker
	open    map[string]int // requests to end a worker that are not answered yet, by id
	ids     int
	ends    int // the request after which the pool ends
	started int
}

// wakeSignal only wakes the pool.
var wakeSignal = proc.Signal{Num: 28, Name: "SIGWINCH"}

// mostPoolProcs bounds the processes of one run.
const mostPoolProcs = 4000

// Play runs the scene of this seed to its end and returns the failures.
func (s *PoolScene) Play(seed uint64) []string {
	w := &s.World
	if len(w.slab) < mostPoolProcs {
		w.slab, w.handles = make([]Proc, mostPoolProcs), make([]handle, 8*mostPoolProcs)
	}
	r := Rand{seed}
	s.Seed = seed
	most := s.Most
	if most == 0 {
		most = []int{2, 5, 12, 50}[r.N(4)]
	}
	w.Reset(r.Next(), Options{Inodes: r.Chance(60), GroupByHandle: r.Chance(60), PIDs: 64 + 40*most, Newest: r.Chance(50),
		Root: r.Chance(15), Busy: []int{2, 6, 15}[r.N(3)]})
	if s.Stats.TimedOut == nil {
		s.Stats.TimedOut = make(map[string]int)
	}
	s.Stats.Runs++
	s.System.reset(w, &s.Stats)
	s.System.Poll, s.System.Lossy = w.Chance(6), w.Chance(30)
	s.System.drawn = true // no subreaper: the cgroups tell the trees apart
	s.begin(most)
	s.rounds(most)
	s.judgeHandles()
	return w.Failures()
}

// begin makes the parent and the pool.
func (s *PoolScene) begin(most int) {
	w := &s.World
	s.shell = w.Fork(w.Init)
	s.shell.Name, s.shell.UID, s.shell.temper = "shell", ownUID, temper{}
	w.Setsid(s.shell)
	parent := w.Fork(s.shell)
	parent.Name, parent.parentOf, parent.temper = "parent", true, temper{}
	w.Setpgid(parent, parent)
	s.parents = append(s.parents[:0], parent)
	w.Self = w.Fork(parent)
	w.Self.Name, w.Self.Leash = "watchdog", true
	if w.Root {
		w.Self.UID = 0
	}
	w.Setpgid(w.Self, w.Self)
	for p := w.Self; p != nil; p = p.parent {
		p.never = true
	}
	w.pass(w.now + w.Between(2*tickLength, 5*tickLength))
	sys := &s.System
	sys.host = &Host{W: w, Stats: &s.Stats, scene: &s.Scene} // of the parents
	s.base = watch.NewMember(sys, pollEvery, false, sys.Ancestors())
	s.base.AddParent(parent.PID)
	s.pool = pool.New(sys, s, s.base, s)
	s.pool.Loop.Signalled = func(sig proc.Signal) {
		if sig == contSignal {
			s.pool.Resumed()
		}
	}
	s.pool.Loop.Trace = s.happens
	ended := s.pool.Loop.Ended
	s.pool.Loop.Ended = func(g *watch.Watch) {
		h := s.hostOf(g.Worker)
		if h.done = true; !h.released {
			s.judgeEnd(h, g.Status, nil)
		}
		ended(g)
	}
	s.open, s.ids, s.started, s.ends = map[string]int{}, 0, 0, 0
	w.Budget = w.N(4 * most)
	w.actLater()
}

func (s *PoolScene) hostOf(worker *watch.Worker) *Host {
	for _, h := range s.World.Hosts {
		if h.Worker == worker {
			return h
		}
	}
	panic("a worker that was not started")
}

// rounds plays requests until the pool has ended.
func (s *PoolScene) rounds(most int) {
	w := &s.World
	requests := most + w.N(3*most)
	for n := 0; !s.pool.Over(); n++ {
		if n < requests {
			s.request(most)
		} else if s.ends == 0 {
			s.end()
		}
		if s.pool.Over() {
			break
		}
		s.System.signal(w.Between(0, 300*time.Millisecond), wakeSignal)
		if err := s.pool.Round(); err != nil || n > 100_000 {
			w.fail(fmt.Sprintf("the pool does not end: %v", err), nil)
			return
		}
		s.judgeTable()
	}
	s.base.Close()
	for id := range s.open {
		w.fail("the request "+id+" was never answered", nil)
	}
	for _, h := range w.Hosts {
		if !h.done {
			w.fail("the pool has ended, and a watch has not", h.root)
		}
	}
}

// judgeTable checks that the pool's table has the workers that are watched.
func (s *PoolScene) judgeTable() {
	living := 0
	for _, h := range s.World.Hosts {
		if !h.done {
			living++
		}
	}
	if n := s.pool.Loop.Len(); n != living {
		s.World.fail(fmt.Sprintf("%d workers are watched, of %d", n, living), nil)
	}
}

// end ends the pool, in one of the ways in which it ends.
func (s *PoolScene) end() {
	w := &s.World
	s.ends = s.ids + 1
	switch w.N(4) {
	case 0:
		w.exit(s.parents[0], proc.Exit{Known: true})
		w.pass(w.now)
	case 1:
		s.pool.End()
	case 2:
		for _, p := range s.parents {
			w.exit(p, proc.Exit{Known: true})
		}
		s.pool.ParentDied(watch.ParentDied{By: "lifeline"})
	case 3:
		s.send("shutdown", graceOf(w))
	}
}

func graceOf(w *World) string {
	return []string{``, `"grace":"0s"`, `"grace":"300ms"`, `"grace":"2s"`}[w.N(4)]
}

// request sends one request.
func (s *PoolScene) request(most int) {
	w := &s.World
	id, done := "", true
	if n := len(w.Hosts); n > 0 {
		h := w.Hosts[w.N(n)]
		id, done = h.label, h.done
	}
	params := func(more string) string {
		return strings.TrimSuffix(`"worker_id":"`+id+`",`+more, ",")
	}
	switch n := w.N(100); {
	case n < 55 && s.started < most:
		if w.Chance(95) || done { // what an earlier worker of that ID left would be the new one's
			id = fmt.Sprintf("w%d", s.ids)
		}
		s.send([]string{"run", "guard"}[w.N(2)], params(""))
	case id == "":
	case n < 80:
		s.send("stop", params(graceOf(w)))
		if w.Chance(20) {
			s.send("stop", params(""))
		}
	case n < 88:
		s.send("list", "")
	case n < 92:
		s.send("release", params(""))
	case n < 93:
		s.send("stop_all", graceOf(w))
	}
}

// send has the pool handle a request.
func (s *PoolScene) send(method, params string) {
	s.ids++
	id := fmt.Sprint(s.ids)
	s.World.Trace.said(s.World.now, "◄ request "+id, method+" "+params, nil)
	s.open[id] = s.ids
	s.pool.Request(rpc.Decode([]byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{` + params + `}}`)))
}

// Send takes the pool's answers.
func (s *PoolScene) Send(line []byte) {
	w := &s.World
	v, err := rpc.Parse(line)
	if err != nil {
		w.fail("an answer cannot be read: "+err.Error(), nil)
		return
	}
	id := v.Get("id").Text
	w.Trace.said(w.now, "► answer", strings.TrimSpace(string(line)), nil)
	if s.open[id] == 0 {
		w.fail("an answer to nothing, or a second one", nil)
	}
	delete(s.open, id)
	result := v.Get("result")
	if result == nil {
		s.Refused++
		return
	}
	if result.Get("outcome") != nil {
		s.Stopped++
		s.judgeStop(result)
	}
}

// judgeStop checks that a stop is answered when its worker has ended, with its outcome.
func (s *PoolScene) judgeStop(result *rpc.Value) {
	w, label := &s.World, result.Get("worker_id").Text
	for i := len(w.Hosts) - 1; i >= 0; i-- {
		h := w.Hosts[i]
		if h.label != label {
			continue
		}
		last := h.records[len(h.records)-1]
		if !h.done || last.Event != event.WatchdogStopped {
			w.fail("a stop was answered before the end", h.root)
			return
		}
		for _, a := range last.Attrs {
			if a.Key == event.Outcome && a.Value.String() != result.Get("outcome").Text {
				w.fail("a stop was answered with another outcome than watchdog.stopped", h.root)
			}
		}
		if n, _ := result.Get("survivors").Int(); n != h.survivors {
			w.fail(fmt.Sprintf("a stop was answered with %d survivors, not %d", n, h.survivors), h.root)
		}
		return
	}
	w.fail("a stop of no worker was answered", nil)
}

// Run implements pool.Program.
func (s *PoolScene) Run(id string, _ *rpc.Value) (pool.Member, *rpc.Error) {
	h := s.drawMember(id, RunCgroupSearch)
	if h.start() != nil {
		s.drop(h)
		return nil, rpc.Errorf(rpc.CannotExecute, "it cannot be started")
	}
	return s.member(h), nil
}

// Guard implements pool.Program.
func (s *PoolScene) Guard(id string, _ *rpc.Value) (pool.Member, *rpc.Error) {
	w := &s.World
	h := s.drawMember(id, []Mode{GuardGroup, GuardSession}[w.N(2)])
	if s.parents[0].phase != alive || h.born(s.parents[0]) == nil || !h.adopt() {
		s.drop(h)
		return nil, rpc.Errorf(rpc.ProcessGone, "there is no such process")
	}
	return s.member(h), nil
}

// drawMember draws a worker and its settings.
func (s *PoolScene) drawMember(id string, mode Mode) *Host {
	w, sys := &s.World, &s.System
	h := &Host{W: w, Stats: &s.Stats, scene: &s.Scene, run: "r4nd0m7", label: id, labelled: true, mode: mode, parents: s.parents,
		onlyLifeline: true, pooled: true}
	h.byLabels, h.Child = mode.searches(), mode >= RunReaper
	h.Grace = []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second}[w.N(4)]
	h.cfg = watch.Config{Owns: h.Child, Grace: h.Grace, StopSignal: proc.TERM, Scans: !h.Child, Labels: !h.Child, Record: true,
		WorkerFirst: w.Chance(50)}
	if w.Chance(25) {
		h.drawHeart()
		h.cfg.HangCommand = false
	}
	w.Hosts = append(w.Hosts, h)
	sys.host, w.acting = h, h
	h.Worker = watch.NewMember(sys, pollEvery, false, sys.Ancestors())
	h.Borrow(s.base)
	h.listenForBeats()
	return h
}

// drop forgets a worker that was not started.
func (s *PoolScene) drop(h *Host) {
	h.Worker.Close()
	h.done = true
	if h.root != nil {
		h.root.Tree = nil
	}
	s.World.Hosts = s.World.Hosts[:len(s.World.Hosts)-1]
}

func (s *PoolScene) member(h *Host) pool.Member {
	s.started++
	s.Workers++
	h.enter()
	h.live()
	w := &s.World
	if w.Chance(20) {
		w.after(w.Between(0, 3*time.Second), timerExit, h.root)
	}
	return member{h}
}

// Signal implements pool.Program.
func (s *PoolScene) Signal(string) (proc.Signal, error) { return proc.TERM, nil }

// Grace implements pool.Program.
func (s *PoolScene) Grace(text string) (time.Duration, error) { return time.ParseDuration(text) }

// member is a Host as a pool has it.
type member struct{ *Host }

func (m member) Config() watch.Config   { return m.cfg }
func (m member) Watched() *watch.Worker { return m.Worker }
func (m member) PID() int               { return m.root.PID }
func (m member) Containment() string    { return "" }
func (m member) Began()                 {}

// Log does not judge the end of a watch that was released.
func (m member) Log(r watch.Record) {
	if !m.released {
		m.Host.Log(r)
	}
}

func (m member) Released() { m.released = true }
func (m member) Close()    { m.end() }
