package hosttest

import (
	"errors"
	"time"

	"leash/internal/heartbeat"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// heart is what a scene with heartbeats knows besides.
type heart struct {
	on        bool   // beats are asked for
	deaf      bool   // for good
	said      []word // and not heard yet
	deafUntil time.Duration
	resumed   bool // the watchdog was continued, and is not told yet

	gens        int // workers so far
	row         int // restarts in a row
	resting     bool
	restFrom    time.Duration
	restStalled time.Duration // since then
	startStatus int           // of the last start, if it failed
	worker
}

// worker is what is known of this one.
type worker struct {
	bornAt time.Duration
	every  time.Duration // between two beats
	left   int           // beats until something befalls him
	sick   bool          // he missed a beat, if only for being stopped
	hangs  bool          // he will say nothing more
	drains bool          // asks for more time when he is to end

	// What must be known by what was heard.
	counting, off, exempt, ready, triggered bool
	last                                    time.Duration // sign of life, or the end of an extension
	patience                                time.Duration
	startBy                                 time.Duration // READY=1 may come until then
	loose                                   time.Duration // so much later may a silence be noticed

	outcome     string
	condemned   bool
	condemnedAt time.Duration
	hook        *Proc
	hookAt      time.Duration
	hookDone    bool
	shockAt     time.Duration
}

// word is one message that was sent.
type word struct {
	p *Proc
	m heartbeat.Message
}

// drawHeart draws what is asked of the worker and what follows a hang.
func (s *Scene) drawHeart() {
	w, h := &s.World, &s.Host
	cfg := &h.cfg
	if w.Chance(85) {
		h.heart.on = true
		b := heartbeat.Config{Interval: []time.Duration{100, 200, 400}[w.N(3)] * time.Millisecond, MaxMissed: 1 + w.N(3), Adopted: !h.Child}
		b.Timeout = b.Interval * time.Duration(2+w.N(9)) / 2
		if w.Chance(30) {
			b.Startup = w.Between(b.Interval, 2*time.Second)
		}
		cfg.Beats = &b
	}
	cfg.HangWait = []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second}[w.N(3)]
	if w.Chance(50) {
		cfg.HangSignal = abortSignal
	}
	cfg.HangCommand = w.Chance(50)
	if cfg.GraceMax = h.Grace; w.Chance(40) {
		cfg.GraceMax += w.Between(0, 3*time.Second)
	}
	if h.Child && w.Chance(60) {
		cfg.Restart = watch.RestartOnFailure + watch.Restart(w.N(2))
		cfg.MaxRestarts, cfg.Seed = w.N(4), w.Next()
	}
	cfg.Debug = w.Chance(10)
}

// live begins the life of the worker, as it will be judged.
func (h *Host) live() {
	o := &h.heart
	if !o.on {
		o.worker = worker{bornAt: h.W.now}
		return
	}
	w, b := h.W, h.cfg.Beats
	o.worker = worker{bornAt: w.now, every: b.Within() / 2, left: w.N(10), drains: w.Chance(50),
		patience: patience(*b), startBy: w.now + b.Startup}
	o.said, o.resumed = o.said[:0], false
	w.after(w.Between(0, b.Interval+b.Startup), timerBeat, w.Worker)
}

func patience(b heartbeat.Config) time.Duration {
	return min(b.Timeout, b.Interval*time.Duration(b.MaxMissed)+b.Interval/2)
}

// beat is a moment in which the worker speaks, if he can.
func (h *Host) beat(p *Proc) {
	w, o := h.W, &h.heart
	if p != w.Worker || p.phase != alive {
		return
	}
	again := o.every - w.Between(0, o.every/8)
	switch {
	case !p.canAct():
		o.sick = true
	case p.termAt > 0 && o.drains:
		h.say(p, heartbeat.Message{Stopping: true, Extend: 2 * o.every})
	case o.left == 0:
		again = h.befall(p)
	default:
		h.say(p, heartbeat.Message{Beat: heartbeat.Alive, Ready: w.Chance(50)})
	}
	if o.left--; again > 0 {
		w.after(again, timerBeat, p)
	}
	if w.Chance(15) { // whoever else feels like it
		if q := w.live[w.N(len(w.live))]; q != w.Self && q != o.hook && q.canAct() {
			h.say(q, heartbeat.Message{Beat: heartbeat.Alive})
		}
	}
}

// befall is what happens to a worker in time, and after which pause he speaks
// again, if ever.
func (h *Host) befall(p *Proc) (again time.Duration) {
	w, o := h.W, &h.heart
	switch n := w.N(100); {
	case n < 40: // hangs
		o.hangs = true
	case n < 50:
		o.hangs = true
		h.say(p, heartbeat.Message{Beat: heartbeat.Trigger})
	case n < 60:
		h.say(p, heartbeat.Message{Stopping: true})
		if w.Chance(50) {
			w.after(w.soon(), timerLeave, p)
		}
	case n < 75: // a long step, of which he tells
		d := o.every + w.Between(0, 4*o.patience) // he may have other times than the watchdog knows yet
		h.say(p, heartbeat.Message{Extend: d})
		o.left = 1 + w.N(5)
		again = d - d/16
	case n < 85: // other times
		d := w.Between(200*time.Millisecond, time.Second)
		h.say(p, heartbeat.Message{Within: d, Rewatch: true})
		o.every, o.left = d/2-d/16, 1+w.N(5)
		again = o.every
	case n < 90: // none at all
		h.say(p, heartbeat.Message{Rewatch: true})
	case n < 95: // ends, with a last silence
		o.hangs = true
		w.after(w.soon(), timerLeave, p)
	default: // nothing
		h.say(p, heartbeat.Message{Beat: heartbeat.Alive})
		o.left = 10
		again = o.every
	}
	return again
}

func (h *Host) say(p *Proc, m heartbeat.Message) {
	if h.heart.deaf {
		return
	}
	h.W.Trace.said(h.W.now, "said by", wordOf(m), p)
	h.heart.said = append(h.heart.said, word{p, m})
}

func wordOf(m heartbeat.Message) string {
	switch {
	case m.Beat == heartbeat.Trigger:
		return "trigger"
	case m.Stopping:
		return "stopping, extend " + m.Extend.String()
	case m.Extend > 0:
		return "extend " + m.Extend.String()
	case m.Rewatch:
		return "watch within " + m.Within.String()
	case m.Ready:
		return "ready, beat"
	}
	return "beat"
}

// listen turns what was said into events.
func (h *Host) listen() {
	w, o := h.W, &h.heart
	if o.resumed {
		o.resumed = false
		h.events = append(h.events, nil)
		copy(h.events[1:], h.events)
		h.events[0] = watch.Resumed{}
	}
	if len(o.said) == 0 || w.now < o.deafUntil {
		return
	}
	switch n := w.N(1000); {
	case n < 3:
		o.deafUntil = w.now + 50*time.Millisecond
		h.events = append(h.events, watch.Drowned{})
		return
	case n < 4:
		o.deaf = true
		h.events = append(h.events, watch.Deafened{})
	}
	for i := 0; i < len(o.said) && !o.deaf; i++ { // more may be said meanwhile
		if h.speaksForWorker(o.said[i].p) {
			h.events = append(h.events, watch.Heard{Message: o.said[i].m})
		}
	}
	o.said = o.said[:0]
}

// speaksForWorker asks the tree, as the real host does, and compares its
// answer with the truth.
func (h *Host) speaksForWorker(p *Proc) bool {
	w := h.W
	if p == w.Worker && !w.Chance(20) {
		return true // he is known by the inode of his handle
	}
	hd := w.open(p)
	ours := h.Tree.Contains(hd)
	hd.Close()
	switch {
	case ours && !p.Tree && (w.ByLabels || !h.scene.Labelled): // else it may have his labels
		w.fail("a bystander was listened to", p)
	case !ours && p == w.Worker && p.phase != reaped && w.LookFails == 0:
		w.fail("the worker was not listened to", p)
	}
	return ours || p == w.Worker
}

// heartMishap: the watchdog is stopped and continued, or all stand still.
func (h *Host) heartMishap() {
	w, o := h.W, &h.heart
	switch n := w.N(300); {
	case n < 2:
		d := w.Between(0, 2*time.Second)
		w.Trace.said(w.now, "the watchdog was stopped, then continued after", d.String(), nil)
		h.stall(d)
		w.pass(w.now + d)
		o.resumed = true
	case n < 4 && w.OpenFails == 0 && w.LookFails == 0: // who gives up after one look must see all
		d := w.Between(0, 20*time.Second)
		if o.resumed = w.Chance(50); !o.resumed { // else it must be long to be noticed
			d += 20 * time.Second
		}
		w.Trace.said(w.now, "all stood still for", d.String(), nil)
		h.stall(d)
		w.freeze(d)
		for i := range h.pending {
			h.pending[i].at += d
		}
	}
}

// freeze lets time pass in which nothing happens.
func (w *World) freeze(d time.Duration) {
	w.now += d
	for i := range w.timers {
		w.timers[i].at += d
	}
	if w.nextTimer != noTimer {
		w.nextTimer += d
	}
}

// stalled: a silence may be noticed later, since nobody knows since when.
func (o *heart) stalled(d time.Duration) {
	o.loose += d + o.patience + max(0, o.startBy-o.bornAt)
	o.restStalled += d
}

var errNoHook = errors.New("the command cannot be started")

// Hook is watch.Host's. It is a child of the watchdog, so under the subreaper it
// is in what must end.
func (h *Host) Hook(reason string) error {
	w, o := h.W, &h.heart
	h.begin("► hook", reason)
	if !h.cfg.HangCommand || !o.condemned || reason != o.outcome || o.hookAt > 0 || h.ending {
		w.fail("a command for last words, out of place ("+reason+")", nil)
	}
	o.hookAt = w.now
	var p *Proc
	if !w.Chance(15) {
		p = w.Fork(w.Self)
	}
	if p == nil {
		o.hookDone = true
		return errNoHook
	}
	w.Setpgid(p, p)
	p.Name, p.UID, p.temper, p.Tree, p.ofHook = "hook", ownUID, temper{}, h.Tree.Parent != 0, true
	o.hook = p
	if h.Tree.Parent != 0 && h.Tree.Parent != w.Self.PID {
		h.Tree.Beside, h.heir = w.Self.PID, true
	}
	if w.Chance(70) {
		kind := timerExit
		if w.Chance(50) {
			kind = timerLeave
		}
		w.after(w.Between(0, 2*h.cfg.HangWait), kind, p)
	}
	return nil
}

// EndHook is watch.Host's.
func (h *Host) EndHook() {
	h.begin("► end hook", "")
	h.killHook()
}

func (h *Host) killHook() {
	w := h.W
	for i := len(w.live) - 1; i >= 0; i-- {
		if i < len(w.live) && w.live[i].group == h.heart.hook {
			w.kill(w.live[i])
		}
	}
}

// hookEnded: it is about to be reaped.
func (h *Host) hookEnded() {
	h.killHook()
	e := watch.HookEnded{}
	if h.heart.hook.Exit.Status() != 0 {
		e.Err = errNoHook
	}
	h.heart.hook = nil
	h.events = append(h.events, e)
}

// Shock is watch.Host's.
func (h *Host) Shock(sig proc.Signal) []stop.Sent {
	o := &h.heart
	h.begin("► hang signal", sig.Name)
	early := h.cfg.HangCommand && !o.hookDone && h.W.now < o.hookAt+h.cfg.HangWait-moment
	if sig != h.cfg.HangSignal || !o.condemned || o.shockAt > 0 || h.ending || early {
		h.W.fail("a signal for last words, out of place", nil)
	}
	o.shockAt = h.W.now
	return h.Tree.Shock(sig)
}
