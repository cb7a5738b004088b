package watch

import (
	"fmt"

	"leash/internal/heartbeat"
	"leash/internal/proc"
	"leash/internal/stop"
)

// Event is something that happened. The machine learns of the world through
// events only.
type Event interface{ event() }

type (
	// ParentDied: one of the parents is gone, known by one of the contract's
	// ways: pidfd, kqueue, handle, lifeline, poll, start.
	ParentDied struct {
		PID int // 0 if it was known by its lifeline only
		By  string
	}
	// WorkerExited: nothing of the worker itself runs any more.
	WorkerExited struct{ Exit proc.Exit }
	// Signalled: the watchdog itself got a signal.
	Signalled struct {
		Signal proc.Signal
		Role   Role
	}
	// Quiet: every process that was waited for has ended.
	Quiet struct{}
	// Counted answers the Count action. If Exited, the worker had ended by
	// then, as Exit says.
	Counted struct {
		Census stop.Census
		Exited bool
		Exit   proc.Exit
	}
	// Sent tells of one signal that an action sent.
	Sent struct{ stop.Sent }
	// Heard: the worker, or one of his tree, said something of itself.
	Heard struct{ heartbeat.Message }
	// Drowned: more is said than can be listened to, so a beat may be lost.
	Drowned struct{}
	// Deafened: nobody can be listened to any more.
	Deafened struct{}
	// Resumed: the watchdog goes on, and may have been stopped before.
	Resumed struct{}
	// HookEnded: the command of a hung worker's last words has ended.
	HookEnded struct{ Err error }
	// Restarted: the next worker runs.
	Restarted struct{}
	// NotRestarted: it could not be started, which is worth this exit status.
	NotRestarted struct {
		Status int
		Err    error
	}
	// SentinelDied: the process that ends the tree if this one is killed was killed
	// itself. The worker was below it, and is dead or about to be.
	SentinelDied struct{}
	// Tick: the deadline has passed.
	Tick struct{}
)

func (ParentDied) event()   {}
func (WorkerExited) event() {}
func (Signalled) event()    {}
func (Quiet) event()        {}
func (Counted) event()      {}
func (Sent) event()         {}
func (Heard) event()        {}
func (Drowned) event()      {}
func (Deafened) event()     {}
func (Resumed) event()      {}
func (HookEnded) event()    {}
func (Restarted) event()    {}
func (NotRestarted) event() {}
func (SentinelDied) event() {}
func (Tick) event()         {}

// Role is what a signal to the watchdog means.
type Role int

const (
	// Ignored: it must not stop the watchdog and means nothing to the worker.
	Ignored Role = iota
	// Forwarded: it is meant for the worker.
	Forwarded
	// Ends: it asks that the worker be ended.
	Ends
	// Suspends: job control asks that the job be stopped.
	Suspends
)

func (r Role) String() string {
	return [...]string{"ignored", "forwarded", "ends", "suspends"}[r]
}

// ActionKind is what is to be done.
type ActionKind int

const (
	// DoAsk, DoAskNew, DoForce and DoCount are the steps of stop.Sequence.
	DoAsk ActionKind = iota
	DoAskNew
	// DoAskWorker asks the worker alone, DoAskGroup its process group.
	DoAskWorker
	DoAskGroup
	DoForce
	DoCount
	// DoSurvey looks who belongs to the tree, to know them later.
	DoSurvey
	// DoForward passes Signal on to the worker.
	DoForward
	// DoSuspend stops the job as Signal asks, the watchdog after the worker.
	DoSuspend
	// DoHook runs the command of a hung worker's last words; Text says why.
	// DoEndHook ends it.
	DoHook
	DoEndHook
	// DoHangSignal sends Signal to the worker itself.
	DoHangSignal
	// DoPassOn tells the manager above us Text.
	DoPassOn
	// DoRestart starts the next worker.
	DoRestart
	// DoLog writes Record.
	DoLog
	// DoExit ends the watchdog with Status.
	DoExit
)

var kindNames = [...]string{
	"ask", "ask-new", "ask-worker", "ask-group", "force", "count", "survey", "forward", "suspend",
	"hook", "end-hook", "hang-signal", "pass-on", "restart", "log", "exit",
}

// Action is one thing to do.
type Action struct {
	Kind   ActionKind
	Signal proc.Signal
	Text   string
	Record Record
	Status int
}

func (a Action) String() string {
	switch a.Kind {
	case DoAsk, DoAskNew, DoAskWorker, DoAskGroup, DoForward, DoSuspend, DoHangSignal:
		return kindNames[a.Kind] + " " + a.Signal.Name
	case DoHook, DoPassOn:
		return fmt.Sprintf("%s %q", kindNames[a.Kind], a.Text)
	case DoLog:
		return "log " + a.Record.String()
	case DoExit:
		return fmt.Sprintf("exit %d", a.Status)
	}
	return kindNames[a.Kind]
}
