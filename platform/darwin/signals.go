package darwin

import (
	"time"

	"leash/internal/proc"
	"leash/internal/system"
)

// Listen makes Wait report the signals to this process. Which of them are meant for a
// worker too is decided then.
func (s *System) Listen(bool) error {
	if s.listens {
		return nil
	}
	s.listens = true
	return s.launcher.Listen(s.heard)
}

// heard is called by another goroutine for each signal. Our own log raises SIGPIPE, and
// the end of a child SIGCHLD.
func (s *System) heard(sig proc.Signal) {
	if sig.Name == "SIGPIPE" || sig.Name == "SIGCHLD" {
		return
	}
	s.mu.Lock()
	s.inbox = append(s.inbox, sig)
	s.mu.Unlock()
	s.Poke()
}

func (s *System) tellSignals() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, sig := range s.inbox {
		if !stops(sig) || !continues(s.inbox[i:]) {
			s.wake(system.Wake{Kind: system.Signalled, Signal: sig})
		}
	}
	s.inbox = s.inbox[:0]
}

func stops(sig proc.Signal) bool {
	return sig.Name == "SIGTSTP" || sig.Name == "SIGTTIN" || sig.Name == "SIGTTOU"
}

// continues reports whether SIGCONT is among signals. It takes back those before it
// that stop (sigaction(2)).
func continues(signals []proc.Signal) bool {
	for _, sig := range signals {
		if sig.Name == "SIGCONT" {
			return true
		}
	}
	return false
}

// settle is what a SIGCONT that comes with the stop signal, or with a parent's death
// that does, has time for: SIGSTOP discards it while it is pending (sigaction(2)).
const settle = 5 * time.Millisecond

// Suspend stops this process until it is continued. It does not stop if it
// was continued meanwhile, or if unless returns true: nothing would continue it.
func (s *System) Suspend(unless func() bool) {
	s.pause(settle)
	if !unless() && !s.continued() {
		s.launcher.StopSelf()
	}
}

func (s *System) continued() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return continues(s.inbox)
}
