// Package watch is the watchdog itself. Machine decides and is pure: events
// in, actions out, no clock, file or system call. Guard is the one loop that
// waits for events and performs actions.
package watch

import (
	"log/slog"
	"time"

	"leash/internal/event"
	"leash/internal/proc"
	"leash/internal/stop"
)

// State is where the machine stands.
//
//	            a parent died · a signal that ends
//	Watching ───────────────────────────────────────► Ending ───► Stopped
//	   │                                                ▲  the sequence
//	   └────────────────────────────────────────────────┘  is done
//	            the worker ended on its own
//
// A state is entered before its first signal is sent, so that a crash in
// between errs on the safe side. A claim by a new parent, a hung worker or a
// restart are further ways from Watching to Ending and back.
type State int

const (
	Watching State = iota
	Ending
	Stopped
)

func (s State) String() string { return [...]string{"watching", "ending", "stopped"}[s] }

// Outcomes, as logged at watchdog.stopped.
const (
	WorkerEnded = "worker_exited"
	ParentEnded = "parent_died"
	WasAsked    = "signalled"
)

// Config is what the machine needs to know beforehand.
type Config struct {
	// Owns: the watchdog started the worker (run), so the worker's status is
	// its own, and signals are passed on.
	Owns       bool
	Grace      time.Duration
	StopSignal proc.Signal
	// Uptime is how long the worker ran before the machine started.
	Uptime time.Duration
	// Surveys: the tree can lose members unseen, so look at it now and then.
	Surveys bool
}

const (
	firstSurvey = 250 * time.Millisecond
	maxSurvey   = time.Minute
)

// Machine decides. Times are durations since it started, on a clock that
// stands still while the machine sleeps.
type Machine struct {
	cfg     Config
	state   State
	outcome string
	seq     stop.Sequence
	polite  proc.Signal

	endingAt   time.Duration
	surveyAt   time.Duration
	surveyWait time.Duration

	exit       proc.Exit
	exited     bool
	method     string
	survivors  int
	parentTold bool

	out []Action
}

// NewMachine returns a machine that watches.
func NewMachine(cfg Config) *Machine {
	m := &Machine{cfg: cfg, polite: cfg.StopSignal, method: "none"}
	m.surveyWait = firstSurvey
	m.surveyAt = firstSurvey
	return m
}

// State says where the machine stands.
func (m *Machine) State() State { return m.state }

// Deadline is when a Tick is due, if any.
func (m *Machine) Deadline() (at time.Duration, ok bool) {
	switch m.state {
	case Watching:
		return m.surveyAt, m.cfg.Surveys
	case Ending:
		return m.seq.Deadline()
	}
	return 0, false
}

// Step takes what happened and says what to do. The result is valid until the
// next Step.
func (m *Machine) Step(now time.Duration, e Event) []Action {
	m.out = m.out[:0]
	if m.state == Stopped {
		return nil
	}
	switch e := e.(type) {
	case ParentDied:
		m.parentDied(now, e)
	case WorkerExited:
		m.workerExited(now, e)
	case Signalled:
		m.signalled(now, e)
	case Sent:
		m.logSent(e.Sent)
	case Counted:
		m.survivors = e.Census.Living
		if e.Exited {
			m.noteExit(now, e.Exit)
		} else if e.Census.Ended && !m.cfg.Owns { // nobody told how
			m.noteExit(now, proc.Exit{})
		}
		m.follow(m.seq.Counted(now, e.Census))
	case Quiet:
		m.follow(m.seq.Quiet())
	case Tick:
		m.tick(now)
	}
	if m.state == Ending && m.seq.Phase() == stop.Done {
		m.finish(now)
	}
	return m.out
}

func (m *Machine) parentDied(now time.Duration, e ParentDied) {
	if m.parentTold {
		return
	}
	m.parentTold = true
	m.end(now, ParentEnded, m.cfg.StopSignal, false)
	m.log(ParentDeath(e))
}

// ParentDeath is the record of a parent's death.
func ParentDeath(e ParentDied) Record {
	return Record{Event: event.ParentDeathDetected, Text: "the parent is gone", Parent: e.PID,
		Attrs: []slog.Attr{slog.String(event.DetectedBy, e.By)}}
}

// StoppedRecord is the last record of a watchdog.
func StoppedRecord(outcome string, status int) Record {
	return Record{Event: event.WatchdogStopped, Text: "the watchdog is done", Attrs: []slog.Attr{
		slog.String(event.Outcome, outcome),
		slog.Int(event.ExitStatus, status),
	}}
}

func (m *Machine) workerExited(now time.Duration, e WorkerExited) {
	if m.exited {
		return
	}
	if m.state == Watching {
		m.end(now, WorkerEnded, m.cfg.StopSignal, true)
	} else {
		m.follow(m.seq.Quiet())
	}
	m.noteExit(now, e.Exit)
}

func (m *Machine) noteExit(now time.Duration, exit proc.Exit) {
	if !m.exited {
		m.exited, m.exit = true, exit
		m.logTerminated(now)
	}
}

func (m *Machine) signalled(now time.Duration, e Signalled) {
	switch e.Role {
	case Ends:
		sig := e.Signal
		if !m.cfg.Owns || sig == proc.TERM { // TERM says "stop", and this is the worker's word for it
			sig = m.cfg.StopSignal
		}
		first := m.state == Watching
		m.end(now, WasAsked, sig, false)
		if m.cfg.Owns && !first { // a second Ctrl-C reaches the worker too
			m.out = append(m.out, Action{Kind: DoForward, Signal: sig})
		}
	case Forwarded:
		m.out = append(m.out, Action{Kind: DoForward, Signal: e.Signal})
	case Suspends:
		if m.state == Watching { // what is being ended is not put to sleep
			m.out = append(m.out, Action{Kind: DoSuspend, Signal: e.Signal})
		}
	}
}

func (m *Machine) end(now time.Duration, outcome string, polite proc.Signal, look bool) {
	if m.state != Watching {
		return
	}
	m.state, m.outcome, m.polite, m.endingAt = Ending, outcome, polite, now
	m.follow(m.seq.Begin(now, m.cfg.Grace, look))
}

func (m *Machine) tick(now time.Duration) {
	if m.state == Ending {
		m.follow(m.seq.Tick(now))
		return
	}
	if m.cfg.Surveys && now >= m.surveyAt {
		m.surveyWait = min(3*m.surveyWait, maxSurvey)
		m.surveyAt = now + m.surveyWait
		m.out = append(m.out, Action{Kind: DoSurvey})
	}
}

// follow turns the sequence's wishes into actions.
func (m *Machine) follow(dos []stop.Do) {
	for _, do := range dos {
		switch do {
		case stop.Ask:
			m.out = append(m.out, Action{Kind: DoAsk, Signal: m.polite})
		case stop.AskNew:
			m.out = append(m.out, Action{Kind: DoAskNew, Signal: m.polite})
		case stop.Force:
			m.out = append(m.out, Action{Kind: DoForce})
		case stop.Count:
			m.out = append(m.out, Action{Kind: DoCount})
		}
	}
}

func (m *Machine) finish(now time.Duration) {
	m.state = Stopped
	if m.survivors == 0 {
		m.noteExit(now, proc.Exit{})
	}
	ok := m.survivors == 0
	m.log(Record{Event: event.CleanupCompleted, Text: cleanupText(ok), Error: !ok, Attrs: []slog.Attr{
		slog.Bool(event.Success, ok),
		slog.Int(event.Survivors, m.survivors),
		slog.String(event.Method, m.method),
		slog.Int64(event.CleanupDuration, (now - m.endingAt).Milliseconds()),
	}})
	status := m.status()
	m.log(StoppedRecord(m.outcome, status))
	m.out = append(m.out, Action{Kind: DoExit, Status: status})
}

func cleanupText(ok bool) string {
	if ok {
		return "nothing of the worker is left"
	}
	return "some processes could not be ended"
}

// status is the exit status of the watchdog.
func (m *Machine) status() int {
	switch {
	case m.cfg.Owns && m.exit.Known:
		return m.exit.Status()
	case m.cfg.Owns:
		return 125 // the worker itself could not be ended
	case m.survivors > 0:
		return 1
	}
	return 0
}

func (m *Machine) log(r Record) {
	m.out = append(m.out, Action{Kind: DoLog, Record: r})
}

func (m *Machine) logSent(s stop.Sent) {
	switch {
	case m.state == Watching || s.Err != nil: // only passed on, or not even sent
	case s.Target == "cgroup":
		m.method = "cgroup"
	case s.Signal == proc.KILL && m.method != "cgroup":
		m.method = "sigkill"
	case m.method == "none":
		m.method = "stop_signal"
	}
	r := Record{Event: event.SignalSent, Text: "a signal was sent", Attrs: []slog.Attr{
		slog.String(event.Signal, s.Signal.Name),
		slog.String(event.Target, s.Target),
		slog.Int(event.TargetPID, s.PID),
	}}
	if s.Err != nil {
		r.Text, r.Warn = "a signal could not be sent", true
		r.Attrs = append(r.Attrs, slog.String(event.Error, s.Err.Error()))
	}
	m.log(r)
}

func (m *Machine) logTerminated(now time.Duration) {
	r := Record{Event: event.ProcessTerminated, Text: "the worker has ended"}
	switch {
	case !m.exit.Known:
	case m.exit.Signal.Num != 0:
		r.Attrs = append(r.Attrs, slog.String(event.Signal, m.exit.Signal.Name))
	default:
		r.Attrs = append(r.Attrs, slog.Int(event.ExitCode, m.exit.Code))
	}
	r.Attrs = append(r.Attrs,
		slog.String(event.Reason, m.outcome),
		slog.Int64(event.UptimeMS, (m.cfg.Uptime+now).Milliseconds()))
	m.log(r)
}
