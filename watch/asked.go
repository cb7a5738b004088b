package watch

import (
	"time"

	"leash/internal/proc"
)

// asked ends the worker because its parent wants it. An ending that has begun goes on as it
// is.
func (m *Machine) asked(now time.Duration, e Asked) {
	sig := m.cfg.StopSignal
	if m.state == Watching || m.state == Hanging {
		if e.Grace != nil {
			m.cfg.Grace = *e.Grace
		}
		if e.Signal != nil {
			sig = *e.Signal
			m.cfg.StopSignal = sig
		}
	}
	m.noMore = true
	m.end(now, WasAsked, sig, false)
	m.endBackOff(WasAsked)
}

// Phase says how the worker is, for a list: running, ready, stopping or restarting.
func (m *Machine) Phase() string {
	switch {
	case m.state == BackingOff:
		return "restarting"
	case m.state == Ending || m.state == Stopped || m.state == Hanging || m.stopping:
		return "stopping"
	case m.ready:
		return "ready"
	}
	return "running"
}

// Result is how the watch ended: its outcome, the worker's exit status, and how many
// processes are left.
func (m *Machine) Result() (outcome string, exit proc.Exit, survivors int) {
	return m.outcome, m.exit, m.survivors
}

// Uptime is how long the worker has run, or ran.
func (m *Machine) Uptime(now time.Duration) time.Duration { return m.uptime(now) }
