package watch

import (
	"log/slog"
	"time"

	"leash/internal/event"
	"leash/internal/heartbeat"
	"leash/internal/ledger"
)

// hangState is the state of what is done for a hung worker before it is ended: first the
// hang command, while the worker lives, then the hang signal, which mostly ends it.
type hangState struct {
	hooking bool // the command runs
	until   time.Duration
}

// heard takes a message from the worker's tree.
func (m *Machine) heard(now time.Duration, msg heartbeat.Message) {
	if m.judge == nil {
		return
	}
	switch m.state {
	case Watching:
		m.logHeard(now, msg)
		m.tallyBeat(now, msg)
		if m.judge.Heard(now, msg) {
			m.hung(now, Hung, "trigger")
		}
	case Ending:
		m.logHeard(now, msg)
		if msg.Extend > 0 && !m.timedOut() {
			m.seq.Extend(min(now+msg.Extend, m.endingAt+m.cfg.GraceMax))
		}
	default:
		return
	}
	m.passOn(msg)
}

// passOn passes READY, STOPPING and STATUS on to the service manager. STOPPING=1 of a
// worker that may be followed by another is left out.
func (m *Machine) passOn(msg heartbeat.Message) {
	text := ""
	if msg.Ready {
		text += "READY=1\n"
	}
	if msg.Stopping && (m.cfg.Restart == RestartNever || m.noMore) {
		text += "STOPPING=1\n"
	}
	if msg.Status != "" {
		text += "STATUS=" + msg.Status + "\n"
	}
	if text != "" {
		m.out = append(m.out, Action{Kind: DoPassOn, Text: text})
	}
}

func (m *Machine) logHeard(now time.Duration, msg heartbeat.Message) {
	if msg.Ready && !m.ready {
		m.log(Record{Event: event.ProcessReady, Text: "the worker is ready", Attrs: []slog.Attr{
			slog.Int64(event.UptimeMS, m.uptime(now).Milliseconds())}})
	}
	m.ready = (m.ready || msg.Ready) && !msg.Reloading
	if msg.Stopping && !m.stopping {
		m.stopping = true
		m.log(Record{Event: event.ProcessStopping, Text: "the worker is stopping"})
	}
	if m.cfg.Debug && msg.Status != "" {
		m.log(Record{Event: event.ProcessStatus, Text: "the worker sent its status", Level: slog.LevelDebug,
			Attrs: []slog.Attr{slog.String(event.Status, msg.Status)}})
	}
	if m.cfg.Debug && msg.Beat == heartbeat.Alive {
		m.log(Record{Event: event.BeatReceived, Text: "a beat", Level: slog.LevelDebug, Attrs: m.silence(now)})
	}
}

// overflow logs once that silence is not counted for now: a flood of messages can keep
// a hung worker alive.
func (m *Machine) overflow() {
	if m.judge == nil || m.state != Watching {
		return
	}
	if m.overflowed++; m.overflowed != overflowsTold {
		return
	}
	m.log(Record{Event: event.WatchdogWarning, Level: slog.LevelWarn,
		Text: "messages exceed the rate limit: while they do, silence is not counted"})
}

// overflowsTold is how many of these a busy machine does not explain any more.
const overflowsTold = 3

// deaf ends the counting of silence for good.
func (m *Machine) deaf() {
	m.cfg.Beats, m.judge = nil, nil
	m.log(Record{Event: event.WatchdogWarning, Level: slog.LevelWarn,
		Text: "heartbeats are no longer checked: descriptors were sent that cannot be closed"})
}

// listen checks how long the worker has been silent.
func (m *Machine) listen(now time.Duration) {
	v := m.judge.Tick(now)
	if v.Missed {
		m.tally(ledger.Counts{Missed: 1})
		m.log(Record{Event: event.BeatMissed, Text: "a beat is missing", Level: slog.LevelWarn, Attrs: m.silence(now)})
	}
	if v.Missed && !v.Late && !v.Hung {
		m.saveTally(now)
	}
	switch {
	case v.Late:
		m.hung(now, NotReady, NotReady)
	case v.Hung:
		m.hung(now, Hung, Hung)
	}
}

func (m *Machine) silence(now time.Duration) []slog.Attr {
	return []slog.Attr{
		slog.Int(event.Missed, m.judge.Missed()),
		slog.Int64(event.SilenceMS, m.judge.Silence(now).Milliseconds()),
	}
}

// hung begins the end of a worker that timed out; the hang command and the hang signal
// come first.
func (m *Machine) hung(now time.Duration, outcome, reason string) {
	text := "the worker hangs"
	if outcome == NotReady {
		text = "the worker is not ready in time"
	}
	m.log(Record{Event: event.BeatTimeout, Text: text, Level: slog.LevelError,
		Attrs: append(m.silence(now), slog.String(event.Reason, reason))})
	m.state, m.outcome = Hanging, outcome
	if outcome == Hung {
		m.tally(ledger.Counts{Hangs: 1})
		m.wellUntil = now - m.judge.Silence(now)
	}
	m.saveTally(now)
	if m.cfg.HangCommand {
		m.hang = hangState{hooking: true, until: now + m.cfg.HangWait}
		m.out = append(m.out, Action{Kind: DoHook, Text: outcome})
		return
	}
	m.signalHung(now)
}

// signalHung sends the hang signal, if there is one.
func (m *Machine) signalHung(now time.Duration) {
	m.hang = hangState{until: now + m.cfg.HangWait}
	if m.cfg.HangSignal.Num == 0 {
		m.end(now, m.outcome, m.cfg.StopSignal, false)
		return
	}
	m.out = append(m.out, Action{Kind: DoHangSignal, Signal: m.cfg.HangSignal})
}

func (m *Machine) hookEnded(now time.Duration, err error) {
	if m.state != Hanging || !m.hang.hooking {
		return
	}
	if err != nil {
		m.log(Record{Event: event.WatchdogWarning, Text: "--on-hang-command", Level: slog.LevelWarn,
			Attrs: []slog.Attr{slog.String(event.Error, err.Error())}})
	}
	m.signalHung(now)
}

// hangExpired is called when HangWait is over.
func (m *Machine) hangExpired(now time.Duration) {
	if m.hang.hooking {
		m.endHook()
		m.signalHung(now)
		return
	}
	m.end(now, m.outcome, m.cfg.StopSignal, false)
}

func (m *Machine) endHook() {
	if m.hang.hooking {
		m.hang.hooking = false
		m.out = append(m.out, Action{Kind: DoEndHook})
	}
}

// timedOut reports whether the worker is ended because it sent nothing in time.
func (m *Machine) timedOut() bool { return m.outcome == Hung || m.outcome == NotReady }
