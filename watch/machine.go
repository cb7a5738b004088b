// Package watch is the watchdog itself. Machine decides and is pure: events
// in, actions out, no clock, file or system call. Guard is the one loop that
// waits for events and performs actions.
package watch

import (
	"log/slog"
	"time"

	"leash/internal/event"
	"leash/internal/heartbeat"
	"leash/internal/proc"
	"leash/internal/stop"
)

// State is where the machine stands.
//
//	    a parent died · a signal that ends · the worker ended on its own
//	Watching ─────────────────────────────────────────► Ending ───► Stopped
//	 ▲  │ it hangs, or is not ready in time   said, or   ▲   │ the     ▲
//	 │  └──────────────────────► LastWords ──────────────┘   │ sequence│
//	 │                                       out of time     │ is done │
//	 └──────────────── Resting ◄─────────────────────────────┘         │
//	    another worker     │    another worker is to follow            │
//	    was started        └───────────────────────────────────────────┘
//	                       a parent died · a signal that ends
//
// A state is entered before its first signal is sent, so that a crash in
// between errs on the safe side.
type State int

const (
	Watching State = iota
	LastWords
	Ending
	Resting
	Stopped
)

func (s State) String() string {
	return [...]string{"watching", "last words", "ending", "resting", "stopped"}[s]
}

// Outcomes, as logged at watchdog.stopped.
const (
	WorkerEnded = "worker_exited"
	ParentEnded = "parent_died"
	WasAsked    = "signalled"
	Hung        = "heartbeat_timeout"
	NotReady    = "startup_timeout"
	NoSentinel  = "sentinel_died"
)

const (
	// hungStatus is what run returns for a hung worker, as timeout(1) does.
	hungStatus = 124
	// failedStatus is what it returns when it failed itself.
	failedStatus = 125
)

// Config is what the machine needs to know beforehand.
type Config struct {
	// Owns: the watchdog started the worker (run), so the worker's status is
	// its own, and signals are passed on.
	Owns       bool
	Grace      time.Duration
	StopSignal proc.Signal
	// WorkerFirst: the stop signal goes to the worker alone, and to the rest of
	// its tree when the worker has ended (--kill-mode mixed).
	WorkerFirst bool
	// Uptime is how long the worker ran before the machine started.
	Uptime time.Duration
	// Surveys: the tree can lose members unseen, so look at it now and then.
	Surveys bool

	// Beats is what is asked of the worker; nil: nothing.
	Beats *heartbeat.Config
	// HangSignal, if not zero, and the command are a hung worker's last words,
	// for HangWait at most each.
	HangSignal  proc.Signal
	HangCommand bool
	HangWait    time.Duration
	// GraceMax bounds the grace that a worker may ask for while it stops.
	GraceMax time.Duration
	// Restart may be set if Owns, with MaxRestarts in a row. Seed is for the jitter.
	Restart     Restart
	MaxRestarts int
	Seed        uint64
	// BeatEvery, if not zero, is how often the manager above us wants a beat.
	// They are ours, not the worker's: they go on while he is ended and follows.
	BeatEvery time.Duration
	// Debug: records of level debug are wanted.
	Debug bool
}

const (
	firstSurvey = 250 * time.Millisecond
	maxSurvey   = time.Minute
)

// Machine decides. Times are durations since it started, on a clock that
// stands still while the machine sleeps.
type Machine struct {
	cfg   Config
	state State
	life

	surveyAt   time.Duration
	surveyWait time.Duration

	beatAt     time.Duration // for the manager above us
	parentTold bool
	noMore     bool // a parent died, or we were asked to end: no worker follows
	restarts   int  // in a row
	restAt     time.Duration

	out []Action
}

// life is what is known of one worker.
type life struct {
	outcome  string
	seq      stop.Sequence
	polite   proc.Signal
	typed    bool // it is a Ctrl-C
	bornAt   time.Duration
	endingAt time.Duration
	// wellUntil is when he last showed that he was; start-up does not count.
	wellUntil time.Duration

	exit      proc.Exit
	exited    bool
	method    string
	survivors int
	proven    bool // by the last count: nothing is left

	judge           *heartbeat.Judge // nil: nobody asks for beats
	words           words
	ready, stopping bool
	drowned         int // times
}

// NewMachine returns a machine that watches.
func NewMachine(cfg Config) *Machine {
	m := &Machine{cfg: cfg, surveyWait: firstSurvey, surveyAt: firstSurvey}
	m.begin(0)
	return m
}

// State says where the machine stands.
func (m *Machine) State() State { return m.state }

// Deadline is when a Tick is due, if any.
func (m *Machine) Deadline() (at time.Duration, ok bool) {
	if at, ok = m.due(); m.cfg.BeatEvery > 0 && m.state != Stopped && (!ok || m.beatAt < at) {
		at, ok = m.beatAt, true
	}
	return at, ok
}

func (m *Machine) due() (at time.Duration, ok bool) {
	switch m.state {
	case Watching:
		if m.judge != nil {
			at, ok = m.judge.Deadline()
		}
		if m.cfg.Surveys && (!ok || m.surveyAt < at) {
			at, ok = m.surveyAt, true
		}
		return at, ok
	case LastWords:
		return m.words.until, true
	case Ending:
		return m.seq.Deadline()
	case Resting:
		return m.restAt, true
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
	m.pass(now, e)
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
		m.survivors, m.proven = e.Census.Living, e.Census.Proven
		if e.Exited {
			m.noteExit(now, e.Exit)
		} else if e.Census.Ended && !m.cfg.Owns { // nobody told how
			m.noteExit(now, proc.Exit{})
		}
		e.Census.Ended = e.Census.Ended || m.exited // a look may have failed
		m.follow(m.seq.Counted(now, e.Census))
	case Quiet:
		m.follow(m.seq.Quiet())
	case Heard:
		m.heard(now, e.Message)
	case Drowned:
		m.drown()
	case Deafened:
		m.deafened()
	case HookEnded:
		m.hookEnded(now, e.Err)
	case Restarted:
		m.restarted(now)
	case NotRestarted:
		m.notRestarted(now, e)
	case SentinelDied:
		m.sentinelDied(now)
	case Tick:
		m.tick(now)
	}
	if m.state == Ending && m.seq.Phase() == stop.Done {
		m.finish(now)
	}
	return m.out
}

// pass lets the judge know that we run, and since when.
func (m *Machine) pass(now time.Duration, e Event) {
	if m.state != Watching || m.judge == nil {
		return
	}
	switch e.(type) {
	case Resumed:
		m.judge.Stopped(now)
	case Drowned:
		m.judge.Drowned(now)
	}
	m.judge.Pass(now)
}

func (m *Machine) parentDied(now time.Duration, e ParentDied) {
	if m.parentTold {
		return
	}
	m.parentTold, m.noMore = true, true
	r := ParentDeath(e)
	switch m.state {
	case Watching, LastWords:
		r.Text, r.Warn = "the parent has exited: its worker is being ended", true
	case Resting:
		r.Text, r.Warn = "the parent has exited: no other worker is started", true
	}
	m.end(now, ParentEnded, m.cfg.StopSignal, false)
	m.log(r)
	m.endRest(ParentEnded)
}

// ParentDeath is the record of a parent's death. Where it ends something it is
// a warning, for nobody else says why.
func ParentDeath(e ParentDied) Record {
	return Record{Event: event.ParentDeathDetected, Text: "the parent has exited", Parent: e.PID,
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
	if m.state == Watching || m.state == LastWords {
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
		m.noMore = true
		again := m.state == Ending
		m.typed = m.cfg.Owns && e.Signal == proc.INT
		m.end(now, WasAsked, sig, false)
		if m.cfg.Owns && again { // a second Ctrl-C reaches the worker too
			m.out = append(m.out, Action{Kind: DoForward, Signal: sig})
		}
		m.endRest(WasAsked)
	case Forwarded:
		if m.state != Resting {
			m.out = append(m.out, Action{Kind: DoForward, Signal: e.Signal})
		}
	case Suspends:
		if m.state == Watching || m.state == Resting { // what is being ended is not put to sleep
			m.out = append(m.out, Action{Kind: DoSuspend, Signal: e.Signal})
		}
	}
}

// endRest: no worker follows, and none is there to be ended.
func (m *Machine) endRest(outcome string) {
	if m.state == Resting {
		m.stopped(outcome, m.status())
	}
}

func (m *Machine) end(now time.Duration, outcome string, polite proc.Signal, look bool) {
	switch m.state {
	case Watching:
		m.outcome, m.wellUntil = outcome, now
	case LastWords: // what condemned the worker remains the cause
		m.endHook()
	default:
		return
	}
	m.state, m.polite, m.endingAt = Ending, polite, now
	if m.cfg.WorkerFirst && !look {
		m.follow(m.seq.BeginWithWorker(now, m.cfg.Grace))
		return
	}
	m.follow(m.seq.Begin(now, m.cfg.Grace, look))
}

func (m *Machine) tick(now time.Duration) {
	if m.cfg.BeatEvery > 0 && now >= m.beatAt {
		m.beatAt = now + m.cfg.BeatEvery
		m.out = append(m.out, Action{Kind: DoPassOn, Text: "WATCHDOG=1\n"})
	}
	switch at, ok := m.due(); {
	case !ok || now < at:
	case m.state == Ending:
		m.follow(m.seq.Tick(now))
	case m.state == LastWords:
		m.wordsOver(now)
	case m.state == Resting:
		m.out = append(m.out, Action{Kind: DoRestart})
	case m.state == Watching:
		if m.cfg.Surveys && now >= m.surveyAt {
			m.surveyWait = min(3*m.surveyWait, maxSurvey)
			m.surveyAt = now + m.surveyWait
			m.out = append(m.out, Action{Kind: DoSurvey})
		}
		if m.judge != nil {
			m.listen(now)
		}
	}
}

// follow turns the sequence's wishes into actions.
func (m *Machine) follow(dos []stop.Do) {
	for _, do := range dos {
		switch do {
		case stop.Ask:
			m.out = append(m.out, Action{Kind: DoAsk, Signal: m.polite})
		case stop.AskWorker:
			m.out = append(m.out, Action{Kind: m.first(), Signal: m.polite})
			m.polite = m.cfg.StopSignal
		case stop.AskNew:
			m.out = append(m.out, Action{Kind: DoAskNew, Signal: m.polite})
		case stop.Force:
			m.out = append(m.out, Action{Kind: DoForce})
		case stop.Count:
			m.out = append(m.out, Action{Kind: DoCount})
		}
	}
}

// first is the first signal where the worker comes first. An INT to run is a
// Ctrl-C, and a terminal sends that to a whole group (termios(3), INTR).
func (m *Machine) first() ActionKind {
	if m.typed {
		return DoAskGroup
	}
	return DoAskWorker
}

func (m *Machine) finish(now time.Duration) {
	if m.survivors == 0 {
		m.noteExit(now, proc.Exit{})
	}
	ok := m.survivors == 0
	verified := ok && m.proven
	m.log(Record{Event: event.CleanupCompleted, Text: cleanupText(ok, verified), Error: !ok, Attrs: []slog.Attr{
		slog.Bool(event.Success, ok),
		slog.Int(event.Survivors, m.survivors),
		slog.Bool(event.Verified, verified),
		slog.String(event.Method, m.method),
		slog.Int64(event.CleanupDuration, (now - m.endingAt).Milliseconds()),
	}})
	if m.follows() {
		m.rest(now)
		return
	}
	m.stopped(m.outcome, m.status())
}

func (m *Machine) stopped(outcome string, status int) {
	m.state = Stopped
	m.log(StoppedRecord(outcome, status))
	m.out = append(m.out, Action{Kind: DoExit, Status: status})
}

func cleanupText(ok, verified bool) string {
	switch {
	case verified:
		return "nothing of the worker is left"
	case ok:
		return "no process of the worker was found any more"
	}
	return "some processes could not be ended"
}

// status is the exit status of the watchdog.
func (m *Machine) status() int {
	switch {
	case m.outcome == NoSentinel:
		return failedStatus
	case m.cfg.Owns && m.exit.Known && m.condemned():
		return hungStatus
	case m.cfg.Owns && m.exit.Known:
		return m.exit.Status()
	case m.cfg.Owns:
		return failedStatus // the worker itself could not be ended
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
	case m.state != Ending || s.Err != nil: // only passed on, or not even sent
	case s.Target == "cgroup" || s.Target == "job":
		m.method = s.Target
	case s.Signal == proc.KILL && m.method != "cgroup" && m.method != "job":
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
		slog.Int64(event.UptimeMS, m.uptime(now).Milliseconds()))
	m.log(r)
}

func (m *Machine) uptime(now time.Duration) time.Duration { return m.cfg.Uptime + now - m.bornAt }
