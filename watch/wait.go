package watch

import (
	"time"

	"leash/internal/heartbeat"
	"leash/internal/system"
)

// take returns the worker's events since the last call. late: a deadline has passed.
func (w *Worker) take(late bool) []Event {
	w.tellExit()
	if w.polls() {
		now := w.Sys.Now()
		// A worker that has ended must not time out.
		if w.nextPoll != 0 && now >= w.nextPoll || late && w.ears != nil && len(w.events) == 0 && w.polled < now {
			w.poll(now)
		}
	}
	taken := w.events
	w.events, w.spare = w.spare[:0], taken
	return taken
}

// Wait returns the events of a worker that is in no loop. It blocks until there is one
// or, if timed, until the deadline, a time of System.Now. It polls the system at least
// once, even after the deadline. The result is valid until the next call.
func (w *Worker) Wait(deadline time.Duration, timed bool) ([]Event, error) {
	for asked := false; ; asked = true {
		late := asked && timed && w.Sys.Now() >= deadline
		if events := w.take(late); len(events) > 0 || late {
			return events, nil
		}
		wakes, err := w.Sys.Wait(w.until(deadline, timed))
		if err != nil {
			return nil, err
		}
		for i := range wakes {
			w.happened(&wakes[i])
		}
	}
}

// polls reports whether the worker's processes must be polled.
func (w *Worker) polls() bool { return w.Backend() != "event" || w.blind }

// until is when to stop waiting: the deadline or the next poll, if there is one.
func (w *Worker) until(deadline time.Duration, timed bool) (time.Duration, bool) {
	if !w.polls() {
		return deadline, timed
	}
	every := w.Interval
	if w.ending && (w.living > 0 || !w.exited) { // not while the next worker is waited for
		every = min(every, endingPoll)
	}
	if now := w.Sys.Now(); w.nextPoll == 0 || w.nextPoll > now+every {
		w.nextPoll = now + every
	}
	if timed && deadline < w.nextPoll {
		return deadline, true
	}
	return w.nextPoll, true
}

// poll checks all processes for whose end there may be no event.
func (w *Worker) poll(now time.Duration) {
	w.polled, w.nextPoll = now, 0
	w.checkParents("poll")
	w.checkHook()
	w.noteExit()
	w.tellExit()
	if w.ending {
		w.events = append(w.events, Quiet{})
	}
}

// how names how a parent's exit was noticed.
func (w *Worker) how() string {
	if w.Backend() != "event" {
		return "poll"
	}
	return w.Sys.Means()
}

// happened turns what System.Wait returned into events.
func (w *Worker) happened(e *system.Wake) {
	if w.closed { // the end of a survivor may still be told
		return
	}
	switch e.Kind {
	case system.Ended:
		w.ended(e)
	case system.Unwatched:
		w.blind = true
	case system.FDEnded:
		w.lifeline, w.cut = -1, true
		w.events = append(w.events, ParentDied{By: "lifeline"})
	case system.Signalled:
		w.signalled(e.Signal)
	case system.Heard:
		if e.Message == plainBeat.Message {
			w.events = append(w.events, beat) // without an allocation
		} else {
			w.events = append(w.events, Heard{Message: e.Message})
		}
	case system.Overflowed:
		w.events = append(w.events, Overflowed{})
	case system.Deaf:
		w.events = append(w.events, Deaf{})
	case system.Changed:
		w.noteExit()
	}
}

// beat is the event of nearly every message, allocated once.
var (
	plainBeat       = Heard{Message: heartbeat.Message{Beat: heartbeat.Alive}}
	beat      Event = plainBeat
)

// ended is called when a process has ended.
func (w *Worker) ended(e *system.Wake) {
	switch owner := e.Owner.(type) {
	case *parent:
		owner.died(w.Sys.Means())
		return
	case *hook:
		w.hookEnded(owner)
		return
	}
	if w.worker != nil && e.Handle == w.worker {
		if w.noteExit(); !w.exited && !w.child {
			w.exited = true // there is no second event, and a read may fail for lack of descriptors
		}
		w.tellExit()
	}
	if w.ending && w.Sys.Waiting(w) == 0 {
		w.events = append(w.events, Quiet{})
	}
}
