package watchsim

import (
	"time"

	"leash/internal/heartbeat"
	"leash/internal/system"
)

// ears are a socket for heartbeats.
type ears struct {
	s         *System
	o         system.Beats
	host      *Host
	said      []word // sent and not read yet
	deafUntil time.Duration
	deaf      bool // for good
}

// word is one message that was sent.
type word struct {
	p *Proc
	m heartbeat.Message
}

// ListenForBeats opens a socket.
func (s *System) ListenForBeats(o system.Beats) (system.Ears, error) {
	s.W.step()
	e := &ears{s: s, o: o}
	for _, h := range s.W.Hosts {
		if any(h.Worker) == o.Owner {
			e.host, h.ears = h, e
		}
	}
	s.ears = append(s.ears, e)
	return e, nil
}

// Address is the value for the worker's environment.
func (e *ears) Address() string { return "@sim" }

// Drop discards the messages of a worker that has ended.
func (e *ears) Drop() { e.said = e.said[:0] }

// Close ends all reports.
func (e *ears) Close() { e.Drop(); e.deaf = true }

// listen reports the messages of a worker's tree.
func (s *System) listen() {
	w := s.W
	for _, e := range s.ears {
		if len(e.said) == 0 || w.now < e.deafUntil {
			continue
		}
		switch n := w.N(1000); {
		case n < 3:
			e.deafUntil = w.now + 50*time.Millisecond
			s.wake(system.Wake{Kind: system.Overflowed, Owner: e.o.Owner})
			continue
		case n < 4:
			e.deaf = true
			s.wake(system.Wake{Kind: system.Deaf, Owner: e.o.Owner})
		}
		for i := 0; i < len(e.said) && !e.deaf; i++ { // more may be sent meanwhile
			if e.belongs(e.said[i].p) {
				s.wake(system.Wake{Kind: system.Heard, Owner: e.o.Owner, Message: e.said[i].m})
			}
		}
		e.said = e.said[:0]
	}
}

// belongs asks the watchdog whether a sender is in the worker's tree, and compares its answer
// with the simulator's state.
func (e *ears) belongs(p *Proc) bool {
	w, h := e.s.W, e.host
	root := e.o.Worker()
	if root != nil && p == root.(*handle).p && !w.Chance(20) {
		return true // identified by the inode of its handle
	}
	hd := w.open(p)
	ours := e.o.Belongs(p.PID, hd)
	hd.Close()
	isHook := false
	for _, hook := range e.s.hooks {
		isHook = isHook || hook.p == p && p.phase == alive
	}
	switch {
	case ours && isHook && w.LookFails == 0:
		w.fail("a message of the hook was accepted", p)
	case ours && p.Tree != h && (h.byLabels || !h.labelled): // otherwise it may have the labels
		w.fail("a message of a bystander was accepted", p)
	case !ours && p == h.root && p.phase != reaped && w.LookFails == 0:
		w.fail("a message of the worker was dropped", p)
	}
	return ours || p == h.root
}

// beat is a moment in which the worker sends a message, if it can.
func (h *Host) beat(p *Proc) {
	w, o := h.W, &h.heart
	if p != h.root || p.phase != alive || h.ears == nil {
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
	if w.Chance(15) { // any other process
		if q := w.live[w.N(len(w.live))]; q != w.Self && q.canAct() {
			h.say(q, heartbeat.Message{Beat: heartbeat.Alive})
		}
	}
}

// befall makes the worker do something else than beat, and returns the pause until its next
// message; 0: there is none.
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
	case n < 75: // a long step, with an extension
		d := o.every + w.Between(0, 4*o.patience) // the watchdog may not have read its WATCHDOG_USEC yet
		h.say(p, heartbeat.Message{Extend: d})
		o.left = 1 + w.N(5)
		again = d - d/16
	case n < 85: // another WATCHDOG_USEC
		d := w.Between(200*time.Millisecond, time.Second)
		h.say(p, heartbeat.Message{Within: d, Rewatch: true})
		o.every, o.left = d/2-d/16, 1+w.N(5)
		again = o.every
	case n < 90: // WATCHDOG_USEC=0
		h.say(p, heartbeat.Message{Rewatch: true})
	case n < 95: // ends, after a silence
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
	if h.ears.deaf {
		return
	}
	h.W.Trace.said(h.W.now, "said by", wordOf(m), p)
	h.ears.said = append(h.ears.said, word{p, m})
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
