// Package watch is the watchdog itself. Machine decides and is pure: events in, actions
// out, no clock, file or system call. Worker performs the actions for one worker, and
// Loop waits for the events of any number of workers.
package watch

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"leash/internal/event"
	"leash/internal/heartbeat"
	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/stop"
)

// State is where the machine stands.
//
//	    a parent died · a signal that ends · the worker ended on its own
//	Watching ─────────────────────────────────────────► Ending ───► Stopped
//	 ▲  │ it hangs, or is not ready in time   done, or   ▲   │ the     ▲
//	 │  └──────────────────────► Hanging ──────────────┘   │ sequence│
//	 │                                       out of time     │ is done │
//	 └──────────────── BackingOff ◄─────────────────────────────┘         │
//	    another worker     │    another worker is to follow            │
//	    was started        └───────────────────────────────────────────┘
//	                       a parent died · a signal that ends
//
// A state is entered before its first signal is sent, so that a crash in between leaves
// no signal unrecorded.
type State int

const (
	Watching State = iota
	Hanging
	Ending
	BackingOff
	Stopped
)

func (s State) String() string {
	return [...]string{"watching", "hanging", "ending", "backing off", "stopped"}[s]
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
	// hungStatus is the exit status of run for a hung worker, as of timeout(1).
	hungStatus = 124
	// failedStatus is the exit status of run for a failure of the watchdog.
	failedStatus = 125
)

// Config are the settings of a Machine.
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
	// Scans: processes can leave the tree unnoticed, so it is scanned at intervals.
	Scans bool
	// Labels: the worker's labels may change, so they are read again before a scan.
	Labels bool
	// Record: the worker has a record in the ledger.
	Record bool

	// Beats says which heartbeats the worker must send; nil: none.
	Beats *heartbeat.Config
	// HangCommand and HangSignal, if not zero, come before the stop signal for a hung
	// worker: the command runs first, then the signal is sent. Each has HangWait.
	HangSignal  proc.Signal
	HangCommand bool
	HangWait    time.Duration
	// GraceMax bounds the grace period that a stopping worker may extend
	// (EXTEND_TIMEOUT_USEC); it counts from the beginning of the ending.
	GraceMax time.Duration
	// Restart may be set if Owns, with MaxRestarts in a row. Seed is for the jitter.
	Restart     Restart
	MaxRestarts int
	Seed        uint64
	// BeatEvery, if not zero, is how often the service manager wants a beat. These are
	// the watchdog's, not the worker's: they go on during an ending and a restart.
	BeatEvery time.Duration
	// Debug: records of level debug are wanted.
	Debug bool
}

// recordAfter is how long an ending may last before it is written into the record: most
// are over by then, and a thousand at once are not delayed by a thousand writes.
const recordAfter = 50 * time.Millisecond

const (
	firstScan   = 250 * time.Millisecond
	maxScanWait = time.Minute
)

// Machine decides what the watchdog of one worker does. Times are durations since the
// machine started, on a clock that stands still while the computer sleeps.
type Machine struct {
	cfg   Config
	state State
	life

	now      time.Duration // of the last Step
	scanAt   time.Duration
	scanWait time.Duration

	beatAt     time.Duration // of the next beat for the service manager
	parentTold bool
	noMore     bool // a parent died, or a signal ends the watchdog: no worker follows
	restarts   int  // in a row
	jitter     rand.PCG
	tallies
	retryAt time.Duration

	out []Action
}

// life is what is known of one worker.
type life struct {
	outcome    string
	seq        stop.Sequence
	stopSignal proc.Signal
	typed      bool // it is a Ctrl-C
	bornAt     time.Duration
	endingAt   time.Duration
	// wellUntil is when the worker was last known to be healthy; start-up does not count.
	wellUntil time.Duration

	recordAt time.Duration // when the ending is written into the record; 0: not
	marked   bool          // the record says that the ending has begun

	exit      proc.Exit
	exited    bool
	method    string
	survivors int
	proven    bool // the last count proved that no process is left

	judge           *heartbeat.Judge // nil: no heartbeats are wanted
	hang            hangState
	ready, stopping bool
	overflowed      int // how often
}

// NewMachine returns a machine that watches.
func NewMachine(cfg Config) *Machine {
	m := &Machine{cfg: cfg, jitter: *rand.NewPCG(cfg.Seed, 0), scanWait: firstScan, scanAt: firstScan}
	m.begin(0)
	return m
}

// State is the state that the machine is in.
func (m *Machine) State() State { return m.state }

// Deadline is when a Tick is due, if any.
func (m *Machine) Deadline() (at time.Duration, ok bool) {
	at, ok = m.due()
	if m.recordAt > 0 && (!ok || m.recordAt < at) {
		at, ok = m.recordAt, true
	}
	if m.cfg.BeatEvery > 0 && m.state != Stopped && (!ok || m.beatAt < at) {
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
		if m.cfg.Scans && (!ok || m.scanAt < at) {
			at, ok = m.scanAt, true
		}
		return at, ok
	case Hanging:
		return m.hang.until, true
	case Ending:
		return m.seq.Deadline()
	case BackingOff:
		return m.retryAt, true
	}
	return 0, false
}

// Step takes an event and returns the actions that it leads to. The result is valid
// until the next Step.
func (m *Machine) Step(now time.Duration, e Event) []Action {
	m.out = m.out[:0]
	if m.state == Stopped {
		return nil
	}
	m.now = now
	m.pass(now, e)
	switch e := e.(type) {
	case ParentDied:
		m.parentDied(now, e)
	case WorkerExited:
		m.workerExited(now, e)
	case Signalled:
		m.signalled(now, e)
	case Asked:
		m.asked(now, e)
	case Sent:
		m.logSent(e.Sent)
	case Counted:
		m.survivors, m.proven = e.Census.Living, e.Census.Proven
		if e.Exited {
			m.noteExit(now, e.Exit)
		} else if e.Census.Ended && !m.cfg.Owns { // its exit status is unknown
			m.noteExit(now, proc.Exit{})
		}
		e.Census.Ended = e.Census.Ended || m.exited // the scan may have failed to read it
		m.follow(m.seq.Counted(now, e.Census))
	case Quiet:
		m.follow(m.seq.Quiet())
	case Heard:
		m.heard(now, e.Message)
	case Overflowed:
		m.overflow()
	case Deaf:
		m.deaf()
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

// pass tells the judge that the watchdog runs now, and whether it may have been stopped.
func (m *Machine) pass(now time.Duration, e Event) {
	if m.state != Watching || m.judge == nil {
		return
	}
	switch e.(type) {
	case Resumed:
		m.judge.Stopped(now)
	case Overflowed:
		m.judge.Overflowed(now)
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
	case Watching, Hanging:
		r.Text, r.Level = "the parent has exited: its worker is being ended", slog.LevelWarn
	case BackingOff:
		r.Text, r.Level = "the parent has exited: no other worker is started", slog.LevelWarn
	}
	if m.state == Watching || m.state == Hanging {
		m.tally(ledger.Counts{ParentDeaths: 1})
	}
	m.end(now, ParentEnded, m.cfg.StopSignal, false)
	m.log(r)
	m.endBackOff(ParentEnded)
}

// ParentDeath is the record of a parent's exit. It is a warning if something is ended
// because of it, since no other record says why.
func ParentDeath(e ParentDied) Record {
	return Record{Event: event.ParentDeathDetected, Text: "the parent has exited", Parent: e.PID,
		Attrs: []slog.Attr{slog.String(event.DetectedBy, e.By)}}
}

// StoppedRecord is the last record of a watchdog, with its outcome and exit status.
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
	if m.state == Watching || m.state == Hanging {
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
		if !m.cfg.Owns || sig == proc.TERM { // TERM means "stop": the worker gets its own stop signal
			sig = m.cfg.StopSignal
		}
		m.noMore = true
		again := m.state == Ending
		m.typed = m.cfg.Owns && e.Signal == proc.INT
		m.end(now, WasAsked, sig, false)
		if m.cfg.Owns && again { // a second Ctrl-C reaches the worker too
			m.out = append(m.out, Action{Kind: DoForward, Signal: sig})
		}
		m.endBackOff(WasAsked)
	case Forwarded:
		if m.state != BackingOff {
			m.out = append(m.out, Action{Kind: DoForward, Signal: e.Signal})
		}
	case Suspends:
		if m.state == Watching || m.state == BackingOff { // a worker that is being ended is not stopped
			m.out = append(m.out, Action{Kind: DoSuspend, Signal: e.Signal})
		}
	}
}

// endBackOff stops the machine between two workers: none follows, and none runs.
func (m *Machine) endBackOff(outcome string) {
	if m.state == BackingOff {
		m.stopped(outcome, m.status())
	}
}

func (m *Machine) end(now time.Duration, outcome string, stopSignal proc.Signal, count bool) {
	switch m.state {
	case Watching:
		m.outcome, m.wellUntil = outcome, now
	case Hanging: // the outcome remains that of the timeout
		m.endHook()
	default:
		return
	}
	m.state, m.stopSignal, m.endingAt = Ending, stopSignal, now
	if m.cfg.WorkerFirst && !count {
		m.follow(m.seq.BeginWithWorker(now, m.cfg.Grace))
		return
	}
	m.follow(m.seq.Begin(now, m.cfg.Grace, count))
}

func (m *Machine) tick(now time.Duration) {
	if m.cfg.BeatEvery > 0 && now >= m.beatAt {
		m.beatAt = now + m.cfg.BeatEvery
		m.out = append(m.out, Action{Kind: DoPassOn, Text: "WATCHDOG=1\n"})
	}
	if m.recordAt > 0 && now >= m.recordAt {
		m.recordAt = 0
		m.out = append(m.out, Action{Kind: DoSaveRecord})
	}
	switch at, ok := m.due(); {
	case !ok || now < at:
	case m.state == Ending:
		m.follow(m.seq.Tick(now))
	case m.state == Hanging:
		m.hangExpired(now)
	case m.state == BackingOff:
		m.out = append(m.out, Action{Kind: DoRestart})
	case m.state == Watching:
		if m.cfg.Scans && now >= m.scanAt {
			m.scanWait = min(3*m.scanWait, maxScanWait)
			m.scanAt = now + m.scanWait
			m.readLabels()
			m.out = append(m.out, Action{Kind: DoScan})
			if m.cfg.Record {
				m.out = append(m.out, Action{Kind: DoUpdateRecord})
			}
		}
		if m.judge != nil {
			m.listen(now)
		}
	}
}

// follow turns the steps of the stop sequence into actions.
func (m *Machine) follow(dos []stop.Do) {
	for _, do := range dos {
		switch do {
		case stop.SignalAll:
			m.readLabels() // before the worker is dead and they cannot be read
			m.out = append(m.out, Action{Kind: DoSignalAll, Signal: m.stopSignal})
			m.mark()
		case stop.SignalWorker:
			m.readLabels()
			m.out = append(m.out, Action{Kind: m.first(), Signal: m.stopSignal})
			m.stopSignal = m.cfg.StopSignal
			m.mark()
		case stop.SignalNew:
			m.out = append(m.out, Action{Kind: DoSignalNew, Signal: m.stopSignal})
		case stop.Kill:
			m.out = append(m.out, Action{Kind: DoKill})
			m.mark()
		case stop.Count:
			m.out = append(m.out, Action{Kind: DoCount})
		}
	}
}

func (m *Machine) readLabels() {
	if m.cfg.Labels && !m.exited {
		m.out = append(m.out, Action{Kind: DoReadLabels})
	}
}

// mark notes in the record that the ending has begun, after the signals.
func (m *Machine) mark() {
	if m.cfg.Record && !m.marked {
		m.marked, m.recordAt = true, m.now+recordAfter
		m.out = append(m.out, Action{Kind: DoMarkRecord})
	}
}

// endRecord removes the record, or keeps it if processes survived.
func (m *Machine) endRecord() {
	kind := DoRemoveRecord
	switch {
	case !m.cfg.Record, m.survivors > 0 && m.recordAt == 0:
		return
	case m.survivors > 0:
		kind = DoSaveRecord
	}
	m.recordAt, m.unsettled = 0, false
	m.out = append(m.out, Action{Kind: kind})
}

// first is the first step with WorkerFirst. A SIGINT to run is a Ctrl-C, which a terminal
// sends to a whole process group (termios(3), INTR).
func (m *Machine) first() ActionKind {
	if m.typed {
		return DoSignalGroup
	}
	return DoSignalWorker
}

func (m *Machine) finish(now time.Duration) {
	if m.survivors == 0 {
		m.noteExit(now, proc.Exit{})
	}
	m.endRecord()
	ok := m.survivors == 0
	verified := ok && m.proven
	level := slog.LevelInfo
	if !ok {
		level = slog.LevelError
	}
	m.log(Record{Event: event.CleanupCompleted, Text: cleanupText(ok, verified), Level: level, Attrs: []slog.Attr{
		slog.Bool(event.Success, ok),
		slog.Int(event.Survivors, m.survivors),
		slog.Bool(event.Verified, verified),
		slog.String(event.Method, m.method),
		slog.Int64(event.CleanupDuration, (now - m.endingAt).Milliseconds()),
	}})
	if m.follows() {
		m.backOff(now)
		return
	}
	m.stopped(m.outcome, m.status())
}

func (m *Machine) stopped(outcome string, status int) {
	if outcome == NoSentinel { // which watchdog.sentinel_died tells
		outcome = WorkerEnded
	}
	m.state, m.outcome = Stopped, outcome
	m.settle()
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
	case m.cfg.Owns && m.exit.Known && m.timedOut():
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
		r.Text, r.Level = "a signal could not be sent", slog.LevelWarn
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
