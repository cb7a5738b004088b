package hosttest

import (
	"errors"
	"time"

	"leash/internal/event"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Host is a watch.Host over a world.
type Host struct {
	W    *World
	Tree stop.Tree
	// Child: the watchdog started the worker, and reaps it.
	Child bool
	// Poll: nobody tells of an end; the host looks now and then.
	Poll bool
	// Lossy: what is told comes late, twice or never. But a first cause to end
	// the worker is told at last: without it there is nothing to test.
	Lossy bool
	Grace time.Duration
	Stats *Stats

	scene   *Scene
	cfg     watch.Config // as the machine has it
	heart   heart
	parent  *Proc
	pending []notice
	waited  []*handle
	events  []watch.Event
	records []watch.Record
	left    []*Proc // whom Survivors named

	parentTold bool
	endsTold   bool // a signal that ends
	// dead: the watchdog was killed. alone: its sentinel was, and it knows. lost: the
	// machine is to be told.
	dead, alone, lost bool
	heir              bool // of processes that were not, or are no more, below a sentinel
	askedBelow        int  // the call at which children were last looked for
	nextPoll          time.Duration
	opAt              int // the call at which began whatever is being done
	asking            asking
	generation
}

// generation is what is known of one worker.
type generation struct {
	exit                 proc.Exit
	exited, told, ending bool

	caused     bool
	causeAt    time.Duration
	graceUntil time.Duration // at least: he asked for it
	graceAsked time.Duration // what he asked for in what the last Wait returned
	stalled    time.Duration // how long the watchdog itself was kept from running
	asked      bool
	askedAll   bool // and not the worker alone
	forced     bool
	noGrace    bool // is owed: our own sentinel was killed
	countAt    int  // the call at which the last count began
	knownAt    int  // the same of the count before, or of the first asking
	forceAt    int  // the same of the last forcing
	survivors  int
	firstLog   int // of his records
}

// notice is something that the host will be told.
type notice struct {
	at   time.Duration
	kind noticeKind
	p    *Proc
	sig  watch.Signalled
}

type noticeKind uint8

const (
	noticeEnd noticeKind = iota
	noticeChild
	noticeSignal
)

// longest is far more than any run takes.
const longest = 30 * time.Minute

var errHang = errors.New("nothing will ever happen again, and the watchdog waits")

var _ watch.Host = (*Host)(nil)

func (h *Host) reset(w *World) {
	*h = Host{W: w, Stats: h.Stats, scene: h.scene, pending: h.pending[:0], waited: h.waited[:0],
		events: h.events[:0], records: h.records[:0], left: h.left[:0], heart: heart{said: h.heart.said[:0]}}
	w.host = h
}

// Now is watch.Host's.
func (h *Host) Now() time.Duration { return h.W.now }

// ended is called by the world when a process has ended.
func (h *Host) ended(p *Proc) {
	if h.Poll || h.dead {
		return
	}
	if p == h.parent {
		h.notify(noticeEnd, p)
		return
	}
	if p.parent == h.W.Self && (h.Child || p == h.heart.hook) {
		h.notify(noticeChild, p)
	}
	for _, hd := range h.waited {
		if hd.p == p {
			h.notify(noticeEnd, p)
			return
		}
	}
}

// wait has the end of a process wake the host.
func (h *Host) wait(hd *handle) {
	if h.Poll {
		return
	}
	h.waited = append(h.waited, hd)
	if hd.p.phase != alive {
		h.notify(noticeEnd, hd.p)
	}
}

func (h *Host) forget(hd *handle) {
	hd.notified = false
	for i, x := range h.waited {
		if x == hd {
			h.waited[i] = h.waited[len(h.waited)-1]
			h.waited = h.waited[:len(h.waited)-1]
			return
		}
	}
}

func (h *Host) notify(kind noticeKind, p *Proc) {
	n := notice{at: h.W.now, kind: kind, p: p}
	if h.Lossy {
		switch c := h.W.N(100); {
		case c < 15:
			n.at += h.W.Between(0, 300*time.Millisecond)
		case c < 25:
			n.at += h.W.Between(0, time.Second)
			h.pending = append(h.pending, n)
		case c < 40 && h.ending && p != h.parent:
			h.W.Trace.said(h.W.now, "notice lost", "", p)
			return
		}
	}
	h.pending = append(h.pending, n)
}

// Wait is watch.Host's.
func (h *Host) Wait(deadline time.Duration, timed bool) ([]watch.Event, error) {
	h.events = h.events[:0]
	// Only now all of it has reached the machine: an end that came with it may
	// have been handled before.
	h.graceUntil = max(h.graceUntil, h.graceAsked)
	if h.mishap(); h.heart.on {
		h.heartMishap()
	}
	h.tellLost()
	if h.exited && !h.told {
		h.tellExit()
		return h.returned(), nil
	}
	for {
		h.take()
		h.tellLost()
		h.listen()
		if len(h.events) > 0 || timed && h.W.now >= deadline {
			return h.returned(), nil
		}
		next := h.W.nextTimer
		if timed {
			next = min(next, deadline)
		}
		for _, n := range h.pending {
			next = min(next, n.at)
		}
		if h.Poll {
			next = min(next, h.pollAt())
		}
		if len(h.heart.said) > 0 {
			next = min(next, h.heart.deafUntil)
		}
		if next == noTimer || h.W.now > longest {
			return nil, errHang
		}
		h.W.pass(next)
		if h.Poll && h.W.now >= h.nextPoll {
			h.poll()
		}
	}
}

func (h *Host) returned() []watch.Event {
	if h.heart.on {
		h.judgeOverdue()
	}
	for _, e := range h.events {
		h.W.Trace.happened(h.W.now, e)
		switch e := e.(type) {
		case watch.ParentDied:
			h.cause(watch.ParentEnded)
		case watch.WorkerExited:
			h.cause(watch.WorkerEnded)
		case watch.SentinelDied:
			h.cause(watch.NoSentinel)
			h.noGrace = true
		case watch.Signalled:
			if e.Role == watch.Ends {
				h.endsTold = true
				h.cause(watch.WasAsked)
			}
		default:
			h.hearts(e)
		}
	}
	return h.events
}

// cause notes the first cause to end the worker; while none is there, every
// cause is one to end the watchdog.
func (h *Host) cause(outcome string) {
	if h.heart.resting && outcome != watch.WorkerEnded {
		h.causeAt = h.W.now
	}
	if !h.caused {
		h.caused, h.causeAt = true, h.W.now
		h.graceUntil = h.causeAt + h.Grace
		if h.heart.outcome == "" {
			h.heart.outcome = outcome
		}
	}
}

// mishap: the machine sleeps, or the watchdog is kept from running.
func (h *Host) mishap() {
	switch n := h.W.N(400); {
	case n < 2:
		h.W.Sleep(time.Hour)
		h.W.Trace.said(h.W.now, "the machine slept for an hour", "", nil)
	case n < 4:
		d := h.W.Between(0, 2*time.Second)
		h.W.Trace.said(h.W.now, "the watchdog was stopped for", d.String(), nil)
		h.stall(d)
		h.W.pass(h.W.now + d)
	}
}

func (h *Host) stall(d time.Duration) {
	h.stalled += d
	h.heart.stalled(d)
}

// take turns what is due into events.
func (h *Host) take() {
	for i := 0; i < len(h.pending); i++ {
		n := h.pending[i]
		if n.at > h.W.now {
			continue
		}
		h.pending = append(h.pending[:i], h.pending[i+1:]...)
		i--
		switch n.kind {
		case noticeSignal:
			h.events = append(h.events, n.sig)
		case noticeChild:
			h.childEnded()
		case noticeEnd:
			h.endOf(n.p)
		}
	}
}

func (h *Host) endOf(p *Proc) {
	if p == h.parent {
		h.parentTold = true
		h.events = append(h.events, watch.ParentDied{PID: p.PID, By: "pidfd"})
		return
	}
	for i := 0; i < len(h.waited); i++ {
		if hd := h.waited[i]; hd.p == p {
			h.forget(hd)
			i--
		}
	}
	if p == h.W.Worker {
		h.workerEnded()
	}
	if h.ending && len(h.waited) == 0 {
		h.events = append(h.events, watch.Quiet{})
	}
}

func (h *Host) workerEnded() {
	if h.Child {
		h.childEnded()
		return
	}
	if !h.exited {
		h.exited = true
		if h.W.Worker.phase == reaped && h.W.Chance(50) {
			h.exit = h.W.Worker.Exit
		}
	}
	h.tellExit() // twice if it was told twice
}

func (h *Host) childEnded() {
	h.reap()
	if h.exited && !h.told {
		h.tellExit()
	}
}

// tellLost tells of the sentinel's death.
func (h *Host) tellLost() {
	if h.lost {
		h.lost = false
		h.events = append(h.events, watch.SentinelDied{})
	}
}

func (h *Host) tellExit() {
	h.tellLost()
	h.told = true
	h.events = append(h.events, watch.WorkerExited{Exit: h.exit})
}

const (
	pollEvery  = time.Second
	pollEnding = 20 * time.Millisecond
)

func (h *Host) pollAt() time.Duration {
	every := pollEvery
	if h.ending {
		every = pollEnding
	}
	if now := h.W.now; h.nextPoll <= now || h.nextPoll > now+every {
		h.nextPoll = now + every
	}
	return h.nextPoll
}

func (h *Host) poll() {
	if h.parent.phase != alive && !h.parentTold {
		h.parentTold = true
		h.events = append(h.events, watch.ParentDied{PID: h.parent.PID, By: "poll"})
	}
	if h.Child || h.heart.hook != nil {
		h.reap()
	}
	if !h.Child && h.W.Worker.phase != alive {
		h.exited = true
	}
	if h.exited && !h.told {
		h.tellExit()
	}
	if h.ending {
		h.events = append(h.events, watch.Quiet{})
	}
}

// Exit is watch.Host's.
func (h *Host) Exit() (proc.Exit, bool) {
	if h.exited {
		h.told = true
	}
	return h.exit, h.exited
}

func (h *Host) begin(what, extra string) {
	h.opAt = h.W.calls + 1
	h.W.Trace.said(h.W.now, what, extra, nil)
}

// Force is watch.Host's, and so are those that follow.
func (h *Host) Force() []stop.Sent {
	h.begin("► force", "")
	h.forceAt = h.opAt
	h.begun()
	if !h.forced {
		h.judgeForce()
	}
	h.forced = true
	return h.Tree.Force()
}

func (h *Host) Count() stop.Census {
	h.begin("► count", "")
	h.begun()
	h.knownAt, h.countAt = max(h.knownAt, h.countAt), h.opAt
	if h.Child {
		h.reap()
	}
	c := h.Tree.Count()
	if c.Proven {
		h.W.Trace.said(h.W.now, "proven: none", "", nil)
	} else {
		h.W.Trace.add(h.W.now, "counted", nil, nil, c.Living)
	}
	return c
}

func (h *Host) Survey() {
	h.begin("► survey", "")
	h.Tree.Survey(false)
}

func (h *Host) Forward(s proc.Signal) []stop.Sent {
	h.begin("► forward", s.Name)
	return h.Tree.Forward(s)
}

func (h *Host) Suspend(s proc.Signal) []stop.Sent {
	h.begin("► suspend", s.Name)
	var sent []stop.Sent
	if !h.exited {
		sent = h.Tree.Forward(stopSignal)
	}
	d := h.W.Between(0, time.Second)
	well := !h.heart.sick
	h.stall(d)
	h.W.pass(h.W.now + d)
	if h.heart.on {
		h.heart.resumed = true
		h.heart.sick = !well // he cannot beat while we keep him from it
	}
	h.pending = append(h.pending, notice{at: h.W.now, kind: noticeSignal,
		sig: watch.Signalled{Signal: contSignal, Role: watch.Forwarded}})
	return sent
}

// Log is watch.Host's.
func (h *Host) Log(r watch.Record) {
	h.records = append(h.records, r)
	h.W.Trace.logged(h.W.now, &h.records[len(h.records)-1])
	h.logged(r)
	switch r.Event {
	case event.ProcessTerminated:
		if h.W.Worker.phase == alive {
			h.W.fail("the worker was reported as ended while it lives", h.W.Worker)
		}
	case event.CleanupCompleted:
		for _, a := range r.Attrs {
			switch a.Key {
			case event.Survivors:
				h.survivors = int(a.Value.Int64())
			case event.Verified:
				h.judgeVerified(a.Value.Bool())
			}
		}
		if r.Error {
			for _, l := range h.Tree.Survivors() {
				h.left = append(h.left, h.W.holder(l.PID))
			}
		}
	}
}
