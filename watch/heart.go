package watch

import (
	"log/slog"
	"time"

	"leash/internal/event"
	"leash/internal/heartbeat"
)

// words are a hung worker's last words: first the command, while he lives, then
// the signal, which mostly ends him.
type words struct {
	hooking bool // the command runs
	until   time.Duration
}

// heard takes what the worker said.
func (m *Machine) heard(now time.Duration, msg heartbeat.Message) {
	if m.judge == nil {
		return
	}
	switch m.state {
	case Watching:
		m.logHeard(now, msg)
		if m.judge.Heard(now, msg) {
			m.hung(now, Hung, "trigger")
		}
	case Ending:
		m.logHeard(now, msg)
		if msg.Extend > 0 && !m.condemned() {
			m.seq.Extend(min(now+msg.Extend, m.endingAt+m.cfg.GraceMax))
		}
	default:
		return
	}
	m.passOn(msg)
}

// passOn tells the manager above us what concerns it. Of the end of a worker
// that is followed by another it need not hear.
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
		m.log(Record{Event: event.ProcessStatus, Text: "the worker says how it is", Debug: true,
			Attrs: []slog.Attr{slog.String(event.Status, msg.Status)}})
	}
	if m.cfg.Debug && msg.Beat == heartbeat.Alive {
		m.log(Record{Event: event.BeatReceived, Text: "a beat", Debug: true, Attrs: m.silence(now)})
	}
}

// drown tells once that silence means nothing for now: anybody may flood us, and
// so keep a worker alive that hangs.
func (m *Machine) drown() {
	if m.judge == nil || m.state != Watching {
		return
	}
	if m.drowned++; m.drowned != toldDrowned {
		return
	}
	m.log(Record{Event: event.WatchdogWarning, Warn: true,
		Text: "more comes in than can be listened to: while it lasts, silence is not counted"})
}

// toldDrowned of these are no longer a busy machine's.
const toldDrowned = 3

// deafened: silence means nothing any more.
func (m *Machine) deafened() {
	m.cfg.Beats, m.judge = nil, nil
	m.log(Record{Event: event.WatchdogWarning, Warn: true,
		Text: "heartbeats are judged no more: descriptors were sent that cannot be closed"})
}

// listen judges the silence.
func (m *Machine) listen(now time.Duration) {
	v := m.judge.Tick(now)
	if v.Missed {
		m.log(Record{Event: event.BeatMissed, Text: "a beat is missing", Warn: true, Attrs: m.silence(now)})
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

// hung condemns the worker; his last words come first.
func (m *Machine) hung(now time.Duration, outcome, reason string) {
	text := "the worker hangs"
	if outcome == NotReady {
		text = "the worker is not ready in time"
	}
	m.log(Record{Event: event.BeatTimeout, Text: text, Error: true,
		Attrs: append(m.silence(now), slog.String(event.Reason, reason))})
	m.state, m.outcome = LastWords, outcome
	if outcome == Hung {
		m.wellUntil = now - m.judge.Silence(now)
	}
	if m.cfg.HangCommand {
		m.words = words{hooking: true, until: now + m.cfg.HangWait}
		m.out = append(m.out, Action{Kind: DoHook, Text: outcome})
		return
	}
	m.shock(now)
}

// shock sends the hang signal, if there is one.
func (m *Machine) shock(now time.Duration) {
	m.words = words{until: now + m.cfg.HangWait}
	if m.cfg.HangSignal.Num == 0 {
		m.end(now, m.outcome, m.cfg.StopSignal, false)
		return
	}
	m.out = append(m.out, Action{Kind: DoHangSignal, Signal: m.cfg.HangSignal})
}

func (m *Machine) hookEnded(now time.Duration, err error) {
	if m.state != LastWords || !m.words.hooking {
		return
	}
	if err != nil {
		m.log(Record{Event: event.WatchdogWarning, Text: "--on-hang-command", Warn: true,
			Attrs: []slog.Attr{slog.String(event.Error, err.Error())}})
	}
	m.shock(now)
}

// wordsOver is called when the time for last words is.
func (m *Machine) wordsOver(now time.Duration) {
	if m.words.hooking {
		m.endHook()
		m.shock(now)
		return
	}
	m.end(now, m.outcome, m.cfg.StopSignal, false)
}

func (m *Machine) endHook() {
	if m.words.hooking {
		m.words.hooking = false
		m.out = append(m.out, Action{Kind: DoEndHook})
	}
}

// condemned: we end the worker for what it did not do.
func (m *Machine) condemned() bool { return m.outcome == Hung || m.outcome == NotReady }
