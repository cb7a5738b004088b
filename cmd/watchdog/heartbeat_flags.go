package main

import (
	"errors"
	"fmt"
	"time"
)

type heartbeatFlags struct {
	Heartbeat         string        `group:"heartbeats" env:"LEASH_HEARTBEAT" enum:"off, notify" default:"off" help:"${enum} (sd_notify)"`
	HeartbeatInterval time.Duration `group:"heartbeats" env:"LEASH_HEARTBEAT_INTERVAL" default:"2s" help:"One is due this often"`
	HeartbeatTimeout  time.Duration `group:"heartbeats" env:"LEASH_HEARTBEAT_TIMEOUT" default:"10s" help:"Hung: none for so long"`
	MaxMissed         int           `group:"heartbeats" env:"LEASH_MAX_MISSED" default:"3" help:"Hung: so many missed in a row"`
	StartupTimeout    time.Duration `group:"heartbeats" env:"LEASH_STARTUP_TIMEOUT" default:"0s" help:"Time until READY=1; 0s: any"`
	NotifySocket      string        `group:"heartbeats" env:"LEASH_NOTIFY_SOCKET" placeholder:"SOCKET" help:"Guard needs its worker's own"`
	OnHangCommand     string        `group:"heartbeats" env:"LEASH_ON_HANG_COMMAND" placeholder:"CMD" help:"Shell command: run first"`
	OnHangSignal      string        `group:"heartbeats" env:"LEASH_ON_HANG_SIGNAL" placeholder:"SIGNAL" help:"Then sent to the worker"`
	OnHangTimeout     time.Duration `group:"heartbeats" env:"LEASH_ON_HANG_TIMEOUT" default:"5s" help:"Longest wait for each"`
	GraceMax          time.Duration `group:"heartbeats" env:"LEASH_GRACE_MAX" default:"0s" help:"Worker may extend the grace to"`
}

func (s *settings) heartbeats(h *heartbeatFlags) {
	s.heartbeat, s.beatInterval, s.beatTimeout = h.Heartbeat, h.HeartbeatInterval, h.HeartbeatTimeout
	s.maxMissed, s.startupTimeout, s.notifySocket = h.MaxMissed, h.StartupTimeout, h.NotifySocket
	s.onHangSignal, s.onHangCommand, s.onHangTimeout = h.OnHangSignal, h.OnHangCommand, h.OnHangTimeout
	s.graceMax = h.GraceMax
}

type restartFlags struct {
	Restart     string `group:"Worker:" enum:"never, on-failure, always" default:"never" help:"Start it anew: ${enum}"`
	MaxRestarts int    `group:"Worker:" default:"3" help:"Restarts in a row, at most"`
}

const (
	minBeat     = time.Millisecond
	maxInterval = time.Hour
	maxWait     = 24 * time.Hour
	mostMissed  = 1000
	mostStarts  = 1000000
)

// checkHeartbeats also checks values that are not used while heartbeats are off: an invalid
// one should be reported before it matters.
func (s *settings) checkHeartbeats(given map[string]bool) error {
	switch {
	case s.beatInterval < minBeat || s.beatInterval > maxInterval:
		return notBetween("--heartbeat-interval", s.beatInterval, minBeat, maxInterval)
	case s.beatTimeout < minBeat || s.beatTimeout > maxWait:
		return notBetween("--heartbeat-timeout", s.beatTimeout, minBeat, maxWait)
	case s.beatInterval > s.beatTimeout:
		return fmt.Errorf("--heartbeat-interval: %v is longer than --heartbeat-timeout, %v: shorten the one or lengthen the other",
			s.beatInterval, s.beatTimeout)
	case s.maxMissed < 1 || s.maxMissed > mostMissed:
		return notBetween("--max-missed", s.maxMissed, 1, mostMissed)
	case s.startupTimeout < 0 || s.startupTimeout > maxWait:
		return notBetween("--startup-timeout", s.startupTimeout, 0, maxWait)
	case s.onHangTimeout < 0 || s.onHangTimeout > maxWait:
		return notBetween("--on-hang-timeout", s.onHangTimeout, 0, maxWait)
	case s.graceMax < 0 || s.graceMax > maxWait:
		return notBetween("--grace-max", s.graceMax, 0, maxWait)
	}
	if s.onHangSignal != "" {
		if err := checkSignal("--on-hang-signal", s.onHangSignal); err != nil {
			return err
		}
	}
	if err := checkSocket(s.notifySocket); err != nil {
		return fmt.Errorf("--notify-socket: %w", err)
	}
	switch {
	case s.heartbeat == "off":
		return s.checkNoHeartbeats(given)
	case s.graceMax != 0 && s.graceMax < s.grace:
		return fmt.Errorf("--grace-max: %v is shorter than --grace, %v: lengthen it, or leave it out", s.graceMax, s.grace)
	case !s.run && s.notifySocket == "":
		return errors.New("--heartbeat notify: guard needs --notify-socket too: what the worker was given as " + beatVar)
	}
	return nil
}

func notBetween[T any](flag string, is, low, high T) error {
	return fmt.Errorf("%s: %v is not between %v and %v", flag, is, low, high)
}

// checkNoHeartbeats refuses flags that have no effect without heartbeats. A variable may be
// meant for other workers, and is ignored.
func (s *settings) checkNoHeartbeats(given map[string]bool) error {
	for _, f := range []struct {
		name string
		used bool
	}{
		{"--startup-timeout", s.startupTimeout != 0},
		{"--notify-socket", s.notifySocket != ""},
		{"--on-hang-signal", s.onHangSignal != ""},
		{"--on-hang-command", s.onHangCommand != ""},
		{"--grace-max", s.graceMax != 0},
	} {
		if f.used && given[f.name] {
			return fmt.Errorf("%s: needs --heartbeat notify", f.name)
		}
	}
	s.startupTimeout, s.graceMax = 0, 0
	s.notifySocket, s.onHangSignal, s.onHangCommand = "", "", ""
	return nil
}

func (s *settings) checkRestarts() error {
	if s.maxRestarts < 0 || s.maxRestarts > mostStarts {
		return notBetween("--max-restarts", s.maxRestarts, 0, mostStarts)
	}
	return nil
}
