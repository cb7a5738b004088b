package watch

import (
	"log/slog"
	"time"

	"leash/internal/event"
	"leash/internal/heartbeat"
	"leash/internal/ledger"
)

// Restart says after which outcomes a worker is restarted.
type Restart int

const (
	RestartNever Restart = iota
	RestartOnFailure
	RestartAlways
)

const (
	firstRest = 500 * time.Millisecond
	maxRest   = 30 * time.Second
	// healthy is how long a worker must run well for the count of failures in a row to
	// begin again.
	healthy = time.Minute
	// jitterPart keeps workers that failed together from restarting together: up to a
	// quarter of the wait is added at random.
	jitterPart = 4
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
	m.tally(ledger.Counts{Exhausted: 1})
	m.log(Record{Event: event.WatchdogWarning, Level: slog.LevelWarn,
		Text:  "the worker failed too often in a row (--max-restarts)",
		Attrs: []slog.Attr{slog.Int(event.Attempt, m.restarts)}})
	return false
}

// backOff waits before the next start.
func (m *Machine) backOff(now time.Duration) {
	wait := maxRest
	if m.restarts < 6 { // 2^6 times the first wait is more than the longest
		wait = firstRest << m.restarts
	}
	wait += time.Duration(m.jitter.Uint64() % uint64(wait/jitterPart))
	m.restarts++
	m.tally(ledger.Counts{Restarts: 1})
	m.state, m.retryAt = BackingOff, now+wait
	m.log(Record{Event: event.ProcessRestarting, Text: "another worker is started soon", Attrs: []slog.Attr{
		slog.Int(event.Attempt, m.restarts),
		slog.Int64(event.DelayMS, wait.Milliseconds()),
	}})
}

// restarted begins the watch of the next worker.
func (m *Machine) restarted(now time.Duration) {
	if m.state != BackingOff {
		return
	}
	m.cfg.Uptime = 0
	m.begin(now)
}

// begin resets what is known of a worker to its start.
func (m *Machine) begin(now time.Duration) {
	m.life = life{stopSignal: m.cfg.StopSignal, method: "none", bornAt: now, wellUntil: now}
	m.state, m.beaten = Watching, false
	if m.cfg.Beats != nil {
		m.judge = heartbeat.NewJudge(*m.cfg.Beats, now)
	}
}

func (m *Machine) notRestarted(now time.Duration, e NotRestarted) {
	if m.state != BackingOff {
		return
	}
	m.log(Record{Event: event.WatchdogWarning, Text: "the next worker could not be started", Level: slog.LevelWarn,
		Attrs: []slog.Attr{slog.String(event.Error, e.Err.Error())}})
	if m.tries() {
		m.backOff(now)
		return
	}
	m.stopped(WorkerEnded, e.Status)
}
