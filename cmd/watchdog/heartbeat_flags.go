package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

type heartbeatFlags struct {
	Heartbeat         string        `env:"LEASH_HEARTBEAT" default:"off" help:"off, or notify: the worker says that it is well, as sd_notify does; if it does not, it is hung and is ended. While off, flags that need it are refused, and their variables are passed over."`
	HeartbeatInterval time.Duration `env:"LEASH_HEARTBEAT_INTERVAL" default:"2s" help:"A beat (WATCHDOG=1) is due this often (1ms to 1h)."`
	HeartbeatTimeout  time.Duration `env:"LEASH_HEARTBEAT_TIMEOUT" default:"10s" help:"Hung: nothing was heard for so long (1ms to 24h; not shorter than the interval)."`
	MaxMissed         int           `env:"LEASH_MAX_MISSED" default:"3" help:"Hung: so many beats in a row were missed (1 to 1000). What comes first counts."`
	StartupTimeout    time.Duration `env:"LEASH_STARTUP_TIMEOUT" default:"0s" help:"READY=1 must come within this time (up to 24h). 0s: it may take for ever."`
	NotifySocket      string        `env:"LEASH_NOTIFY_SOCKET" placeholder:"SOCKET" help:"Where beats come in: a path, or @NAME for an abstract socket; on Windows a pipe, \\\\.\\pipe\\NAME. guard needs it: what the worker was given as NOTIFY_SOCKET (on Windows LEASH_HEARTBEAT_PIPE). Default with run: an abstract socket, or a pipe, of random name."`
	OnHangCommand     string        `env:"LEASH_ON_HANG_COMMAND" placeholder:"COMMAND" help:"Run by sh -c (on Windows cmd /c) when the worker hangs, before any signal. It has LEASH_WORKER_PID, LEASH_RUN_ID, LEASH_WORKER_ID and LEASH_REASON; if it ends in --pid or -p, the PID is appended."`
	OnHangSignal      string        `env:"LEASH_ON_HANG_SIGNAL" placeholder:"SIGNAL" help:"Sent after that to the worker alone, before the stop signal: a name or a number. ABRT makes Python's faulthandler print all stacks."`
	OnHangTimeout     time.Duration `env:"LEASH_ON_HANG_TIMEOUT" default:"5s" help:"Longest wait for the command to end, then for the worker to end by the signal (0s to 24h)."`
	GraceMax          time.Duration `env:"LEASH_GRACE_MAX" default:"0s" help:"A worker that is stopping may stretch the grace to this, by EXTEND_TIMEOUT_USEC (from --grace to 24h). 0s: it may not."`
}

func (s *settings) heartbeats(h *heartbeatFlags) {
	s.heartbeat, s.beatInterval, s.beatTimeout = h.Heartbeat, h.HeartbeatInterval, h.HeartbeatTimeout
	s.maxMissed, s.startupTimeout, s.notifySocket = h.MaxMissed, h.StartupTimeout, h.NotifySocket
	s.onHangSignal, s.onHangCommand, s.onHangTimeout = h.OnHangSignal, h.OnHangCommand, h.OnHangTimeout
	s.graceMax = h.GraceMax
}

type restartFlags struct {
	Restart     string `default:"never" help:"When the worker is started anew: never, on-failure (a status other than 0, a signal, a hang) or always. Waits 0.5s first, then twice as long each time, up to 30s."`
	MaxRestarts int    `default:"3" help:"So many restarts in a row at most (0 to 1000000); a minute of good health, and they are counted anew."`
}

const (
	minBeat     = time.Millisecond
	maxInterval = time.Hour
	maxWait     = 24 * time.Hour
	mostMissed  = 1000
	mostStarts  = 1000000
)

// checkHeartbeats also checks what is not used while heartbeats are off: a
// wrong value is a wrong call, and is better told today.
func (s *settings) checkHeartbeats(given map[string]bool) error {
	switch {
	case !slices.Contains([]string{"off", "notify"}, s.heartbeat):
		return fmt.Errorf("--heartbeat: %q is neither off nor notify", s.heartbeat)
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

// checkNoHeartbeats finds who counts on what nobody will do. A flag speaks of
// this worker; a variable may be meant for others, and is passed over.
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
	if !slices.Contains([]string{"never", "on-failure", "always"}, s.restart) {
		return fmt.Errorf("--restart: %q is none of never, on-failure and always", s.restart)
	}
	if s.maxRestarts < 0 || s.maxRestarts > mostStarts {
		return notBetween("--max-restarts", s.maxRestarts, 0, mostStarts)
	}
	return nil
}
