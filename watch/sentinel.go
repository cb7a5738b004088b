package watch

import (
	"log/slog"

	"time"

	"leash/internal/event"
)

// sentinelDied kills what is left of the worker's tree: the worker died with the
// sentinel, and nothing would end the rest if this process were killed too. No worker
// follows, since the next sentinel would probably be killed as well.
func (m *Machine) sentinelDied(now time.Duration) {
	switch m.state {
	case Watching:
		m.outcome, m.wellUntil, m.noMore = NoSentinel, now, true
	case Hanging: // the outcome remains that of the timeout
		m.endHook()
	case Ending:
	default:
		return
	}
	if m.state != Ending {
		m.state, m.stopSignal, m.endingAt = Ending, m.cfg.StopSignal, now
	}
	m.log(Record{Event: event.SentinelDied, Level: slog.LevelError,
		Text: "the sentinel of this watchdog was killed: the worker is ended, with its process tree"})
	m.follow(m.seq.KillNow(now))
}
