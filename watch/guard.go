package watch

import (
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
)

// Host is what guarding needs of the world. One goroutine calls it.
type Host interface {
	// Now is the time since any fixed moment, on a clock that stands still
	// while the machine sleeps.
	Now() time.Duration
	// Wait blocks until something happened or, if timed, until the deadline:
	// then it returns nothing. The result is valid until the next Wait.
	Wait(deadline time.Duration, timed bool) ([]Event, error)

	Ask(proc.Signal) []stop.Sent
	AskNew(proc.Signal) []stop.Sent
	// AskWorker asks the worker alone or, with group, its process group. Ask
	// asks the rest later.
	AskWorker(s proc.Signal, group bool) []stop.Sent
	Force() []stop.Sent
	Count() stop.Census
	// Exit is how the worker ended, once it has.
	Exit() (proc.Exit, bool)
	Survey()
	Forward(proc.Signal) []stop.Sent
	// Suspend stops the worker, then the watchdog, and returns when both go on.
	Suspend(proc.Signal) []stop.Sent

	// Hook starts the command that asks a hung worker for his last words;
	// HookEnded comes when it has ended. EndHook ends it, with all its group.
	Hook(reason string) error
	EndHook()
	// Shock sends to the worker itself, and wakes it if it is stopped.
	Shock(proc.Signal) []stop.Sent
	// PassOn tells the manager above us.
	PassOn(text string)
	// Restart starts the next worker, or says with which status to end.
	Restart() (status int, err error)

	Log(Record)
}

// Guard runs the machine against the host until the worker's end, and returns
// the exit status. It fails only if the host can no longer wait.
func Guard(m *Machine, h Host, first ...Event) (int, error) {
	start := h.Now()
	g := guard{m: m, h: h, start: start}
	for _, e := range first {
		if g.step(e) {
			return g.status, nil
		}
	}
	for {
		at, timed := m.Deadline()
		events, err := h.Wait(start+at, timed)
		if err != nil {
			return 0, err
		}
		for _, e := range events {
			if g.step(e) {
				return g.status, nil
			}
		}
		if at, timed := m.Deadline(); timed && g.now() >= at && g.step(Tick{}) {
			return g.status, nil
		}
	}
}

type guard struct {
	m      *Machine
	h      Host
	start  time.Duration
	queue  []Event
	acts   []Action
	status int
}

func (g *guard) now() time.Duration { return g.h.Now() - g.start }

// step feeds one event and all that follows from it; true means done.
func (g *guard) step(e Event) bool {
	g.queue = append(g.queue[:0], e)
	for i := 0; i < len(g.queue); i++ {
		// Performing feeds the machine again only through the queue.
		g.acts = append(g.acts[:0], g.m.Step(g.now(), g.queue[i])...)
		for _, a := range g.acts {
			if a.Kind == DoExit {
				g.status = a.Status
				return true
			}
			g.perform(a)
		}
	}
	return false
}

func (g *guard) perform(a Action) {
	switch a.Kind {
	case DoAsk:
		g.sent(g.h.Ask(a.Signal))
	case DoAskNew:
		g.sent(g.h.AskNew(a.Signal))
	case DoAskWorker, DoAskGroup:
		g.sent(g.h.AskWorker(a.Signal, a.Kind == DoAskGroup))
	case DoForce:
		g.sent(g.h.Force())
	case DoForward:
		g.sent(g.h.Forward(a.Signal))
	case DoSuspend:
		sent := g.h.Suspend(a.Signal)
		g.queue = append(g.queue, Resumed{}) // before all that came of it
		g.sent(sent)
	case DoSurvey:
		g.h.Survey()
	case DoCount:
		c := Counted{Census: g.h.Count()}
		c.Exit, c.Exited = g.h.Exit()
		g.queue = append(g.queue, c)
	case DoHook:
		if err := g.h.Hook(a.Text); err != nil {
			g.queue = append(g.queue, HookEnded{err})
		}
	case DoEndHook:
		g.h.EndHook()
	case DoHangSignal:
		g.sent(g.h.Shock(a.Signal))
	case DoPassOn:
		g.h.PassOn(a.Text)
	case DoRestart:
		if status, err := g.h.Restart(); err != nil {
			g.queue = append(g.queue, NotRestarted{status, err})
		} else {
			g.queue = append(g.queue, Restarted{})
		}
	case DoLog:
		g.h.Log(a.Record)
	}
}

func (g *guard) sent(list []stop.Sent) {
	for _, s := range list {
		g.queue = append(g.queue, Sent{s})
	}
}
