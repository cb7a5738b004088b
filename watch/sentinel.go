package watch

import (
	"time"

	"leash/internal/event"
)

// sentinelDied kills what is left of the worker's tree: its worker died with the
// sentinel, and nothing would end the rest if this process were killed too. No
// worker follows, because somebody or something kills our processes.
func (m *Machine) sentinelDied(now time.Duration) {
	switch m.state {
	case Watching:
		m.outcome, m.wellUntil, m.noMore = NoSentinel, now, true
	case LastWords: // what condemned the worker remains the cause
		m.endHook()
	case Ending:
	default:
		return
	}
	if m.state != Ending {
		m.state, m.polite, m.endingAt = Ending, m.cfg.StopSignal, now
	}
	m.log(Record{Event: event.SentinelDied, Error: true,
		Text: "the sentinel of this watchdog was killed: the worker is ended, with its process tree"})
	m.follow(m.seq.KillNow(now))
}
