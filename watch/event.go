package watch

import (
	"fmt"
	"time"

	"leash/internal/heartbeat"
	"leash/internal/proc"
	"leash/internal/stop"
)

// Event is something that happened. Events are the only input of a Machine.
type Event interface{ event() }

type (
	// ParentDied: a parent has exited. By is how that was noticed: pidfd, kqueue,
	// handle, lifeline, poll or start.
	ParentDied struct {
		PID int // 0 if only its lifeline is known
		By  string
	}
	// WorkerExited: the worker has ended, with all its threads.
	WorkerExited struct{ Exit proc.Exit }
	// Signalled: the watchdog itself got a signal.
	Signalled struct {
		Signal proc.Signal
		Role   Role
	}
	// Asked: the worker is to be ended, with this grace period and stop signal where they
	// are given. No other worker follows.
	Asked struct {
		Grace  *time.Duration
		Signal *proc.Signal
	}
	// Quiet: every process whose end was watched has ended.
	Quiet struct{}
	// Counted answers the Count action. If Exited, the worker has ended, with Exit.
	Counted struct {
		Census stop.Census
		Exited bool
		Exit   proc.Exit
	}
	// Sent is one signal that an action sent.
	Sent struct{ stop.Sent }
	// Heard: a message came from the worker or a process of its tree.
	Heard struct{ heartbeat.Message }
	// Overflowed: messages exceed the rate limit, so a beat may have been lost.
	Overflowed struct{}
	// Deaf: messages cannot be read any more.
	Deaf struct{}
	// Resumed: the watchdog was continued, and may have been stopped before.
	Resumed struct{}
	// HookEnded: the hang command has ended. Err says why it failed, if it did.
	HookEnded struct{ Err error }
	// Restarted: the next worker was started.
	Restarted struct{}
	// NotRestarted: the next worker could not be started; Status is the exit status
	// that this means.
	NotRestarted struct {
		Status int
		Err    error
	}
	// SentinelDied: the sentinel was killed. The worker was its child, and is dead or
	// about to be.
	SentinelDied struct{}
	// Tick: the deadline has passed.
	Tick struct{}
)

func (ParentDied) event()   {}
func (WorkerExited) event() {}
func (Signalled) event()    {}
func (Asked) event()        {}
func (Quiet) event()        {}
func (Counted) event()      {}
func (Sent) event()         {}
func (Heard) event()        {}
func (Overflowed) event()   {}
func (Deaf) event()         {}
func (Resumed) event()      {}
func (HookEnded) event()    {}
func (Restarted) event()    {}
func (NotRestarted) event() {}
func (SentinelDied) event() {}
func (Tick) event()         {}

// Role is what a signal to the watchdog means.
type Role int

const (
	// Ignored: it must not stop the watchdog and is not passed on.
	Ignored Role = iota
	// Forwarded: it is passed on to the worker.
	Forwarded
	// Ends: the worker is to be ended.
	Ends
	// Suspends: job control stops the job.
	Suspends
)

func (r Role) String() string {
	return [...]string{"ignored", "forwarded", "ends", "suspends"}[r]
}

// ActionKind is what is to be done.
type ActionKind int

const (
	// DoSignalAll, DoSignalNew, DoKill and DoCount are the steps of stop.Sequence.
	DoSignalAll ActionKind = iota
	DoSignalNew
	// DoSignalWorker sends the stop signal to the worker alone, DoSignalGroup to its
	// process group.
	DoSignalWorker
	DoSignalGroup
	DoKill
	DoCount
	// DoScan follows the tree, so that processes that leave it later are known.
	DoScan
	// DoReadLabels reads the worker's labels again.
	DoReadLabels
	// DoUpdateRecord writes the worker's record in the ledger if it is out of date.
	// DoMarkRecord notes in it that the ending has begun, DoSaveRecord writes that, and
	// DoRemoveRecord removes the record.
	DoUpdateRecord
	DoMarkRecord
	DoSaveRecord
	DoRemoveRecord
	// DoTally adds Tally to what the record counts.
	DoTally
	// DoForward passes Signal on to the worker.
	DoForward
	// DoSuspend stops the worker with Signal, then the watchdog.
	DoSuspend
	// DoHook runs the hang command; Text says why. DoEndHook kills it.
	DoHook
	DoEndHook
	// DoHangSignal sends Signal to the worker alone.
	DoHangSignal
	// DoPassOn sends Text to the service manager of the watchdog.
	DoPassOn
	// DoRestart starts the next worker.
	DoRestart
	// DoLog writes Record.
	DoLog
	// DoExit ends the watchdog with Status.
	DoExit
)

var kindNames = [...]string{
	"signal-all", "signal-new", "signal-worker", "signal-group", "kill", "count", "scan",
	"read-labels", "update-record", "mark-record", "save-record", "remove-record", "tally", "forward", "suspend",
	"hook", "end-hook", "hang-signal", "pass-on", "restart", "log", "exit",
}

// Action is one thing to do.
type Action struct {
	Kind   ActionKind
	Signal proc.Signal
	Text   string
	Record Record
	Status int
	Tally  Tally
}

func (a Action) String() string {
	switch a.Kind {
	case DoSignalAll, DoSignalNew, DoSignalWorker, DoSignalGroup, DoForward, DoSuspend, DoHangSignal:
		return kindNames[a.Kind] + " " + a.Signal.Name
	case DoHook, DoPassOn:
		return fmt.Sprintf("%s %q", kindNames[a.Kind], a.Text)
	case DoLog:
		return "log " + a.Record.String()
	case DoTally:
		return a.Tally.String()
	case DoExit:
		return fmt.Sprintf("exit %d", a.Status)
	}
	return kindNames[a.Kind]
}
