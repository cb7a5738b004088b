package watch

import (
	"log/slog"
	"time"

	"leash/internal/event"
	"leash/internal/heartbeat"
)

// Restart says after which end a worker is followed by another.
type Restart int

const (
	RestartNever Restart = iota
	RestartOnFailure
	RestartAlways
)

const (
	firstRest = 500 * time.Millisecond
	maxRest   = 30 * time.Second
	// healthy is how long a worker must be well for its end not to be one more
	// failure in a row.
	healthy = time.Minute
	// jitter keeps a thousand workers that failed together from starting
	// together: up to this part of the rest is added.
	jitter = 4
)

// follows reports whether another worker is to follow the one that ended.
func (m *Machine) follows() bool {
	switch {
	case m.noMore || m.survivors > 0 || m.cfg.Restart == RestartNever:
		return false
	case m.cfg.Restart == RestartOnFailure && m.status() == 0:
		return false
	}
	if m.wellUntil-m.bornAt >= healthy {
		m.restarts = 0
	}
	return m.tries()
}

// tries reports whether one more start is allowed.
func (m *Machine) tries() bool {
	if m.restarts < m.cfg.MaxRestarts {
		return true
	}
	m.log(Record{Event: event.WatchdogWarning, Warn: true,
		Text:  "the worker failed too often in a row (--max-restarts)",
		Attrs: []slog.Attr{slog.Int(event.Attempt, m.restarts)}})
	return false
}

// rest waits before the next start.
func (m *Machine) rest(now time.Duration) {
	wait := maxRest
	if m.restarts < 6 { // 2^6 of the first is more than the longest
		wait = firstRest << m.restarts
	}
	wait += time.Duration(m.random() % uint64(wait/jitter))
	m.restarts++
	m.state, m.restAt = Resting, now+wait
	m.log(Record{Event: event.ProcessRestarting, Text: "another worker is started soon", Attrs: []slog.Attr{
		slog.Int(event.Attempt, m.restarts),
		slog.Int64(event.DelayMS, wait.Milliseconds()),
	}})
}

// random is splitmix64: a machine of the same seed does the same again.
func (m *Machine) random() uint64 {
	m.cfg.Seed += 0x9e3779b97f4a7c15
	z := m.cfg.Seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// restarted begins the watch anew.
func (m *Machine) restarted(now time.Duration) {
	if m.state != Resting {
		return
	}
	m.cfg.Uptime = 0
	m.begin(now)
}

// begin is the start of a worker's life.
func (m *Machine) begin(now time.Duration) {
	m.life = life{polite: m.cfg.StopSignal, method: "none", bornAt: now, wellUntil: now}
	m.state = Watching
	if m.cfg.Beats != nil {
		m.judge = heartbeat.NewJudge(*m.cfg.Beats, now)
	}
}

func (m *Machine) notRestarted(now time.Duration, e NotRestarted) {
	if m.state != Resting {
		return
	}
	m.log(Record{Event: event.WatchdogWarning, Text: "the next worker could not be started", Warn: true,
		Attrs: []slog.Attr{slog.String(event.Error, e.Err.Error())}})
	if m.tries() {
		m.rest(now)
		return
	}
	m.stopped(WorkerEnded, e.Status)
}
