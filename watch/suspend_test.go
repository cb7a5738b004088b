package watch

import (
	"errors"
	"testing"
	"time"

	"leash/internal/heartbeat"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// stopsOnce is a system on which job control stops the watchdog for a second.
type stopsOnce struct {
	system.System
	owner any
	now   time.Duration
	waits []time.Duration // until when
}

// holdsNothing is a containment without a sentinel.
type holdsNothing struct{ system.Containment }

func (holdsNothing) LostSentinel() bool { return false }

var errEnough = errors.New("enough was seen")

func (s *stopsOnce) Now() time.Duration { return s.now }
func (s *stopsOnce) Backend() string    { return "event" }

func (s *stopsOnce) Wait(deadline time.Duration, _ bool) ([]system.Wake, error) {
	s.waits = append(s.waits, deadline)
	switch len(s.waits) {
	case 1:
		return []system.Wake{{Kind: system.Heard, Owner: s.owner, Message: heartbeat.Message{Ready: true}}}, nil
	case 2:
		s.now += 100 * time.Millisecond
		return []system.Wake{{Kind: system.Signalled, Signal: proc.Signal{Num: 20, Name: "SIGTSTP"}}}, nil
	}
	return nil, errEnough
}

func (s *stopsOnce) Suspend(func() bool) { s.now += time.Second }

// quietHost is a program around a worker that does nothing.
type quietHost struct {
	Host
	w *Worker
}

func (h quietHost) Suspend(s proc.Signal) []stop.Sent { return h.w.Suspend(s) }
func (quietHost) PassOn(string)                       {}
func (quietHost) Log(Record)                          {}

// TestSuspended checks that the time for which the job was stopped does not count as
// silence, also if it was too short for a deadline to pass.
func TestSuspended(t *testing.T) {
	sys := &stopsOnce{}
	w := &Worker{Sys: sys, child: true, hold: holdsNothing{}, lifeline: -1}
	sys.owner = w
	m := NewMachine(Config{Owns: true, Beats: &heartbeat.Config{
		Interval: time.Second, Timeout: time.Minute, MaxMissed: 1}})
	if _, err := Guard(m, w, quietHost{w: w}); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if before, after := sys.waits[1], sys.waits[2]; after != before+time.Second {
		t.Errorf("the next deadline was %v, and after a stop of a second %v, want a second more", before, after)
	}
}

// orphanedWatchdog is a system on which the end of the lifeline comes with the signal that stops
// the job.
type orphanedWatchdog struct {
	system.System
	owner   any
	stopped bool
	waits   int
}

func (s *orphanedWatchdog) Now() time.Duration { return 0 }
func (s *orphanedWatchdog) Backend() string    { return "event" }

func (s *orphanedWatchdog) Wait(time.Duration, bool) ([]system.Wake, error) {
	if s.waits++; s.waits > 1 {
		return nil, errEnough
	}
	return []system.Wake{{Kind: system.Signalled, Signal: proc.Signal{Num: 20, Name: "SIGTSTP"}},
		{Kind: system.FDEnded, Owner: s.owner}}, nil
}

func (s *orphanedWatchdog) Suspend(unless func() bool) { s.stopped = !unless() }

// Nothing would continue a watchdog that stops when its lifeline has ended.
func TestNotSuspendedAfterTheLifelineEnded(t *testing.T) {
	sys := &orphanedWatchdog{}
	w := &Worker{Sys: sys, child: true, hold: holdsNothing{}, lifeline: 3}
	sys.owner = w
	m := NewMachine(Config{Owns: true, Grace: time.Minute})
	if _, err := Guard(m, w, asksNothing{quietHost{w: w}}); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if sys.stopped {
		t.Error("the watchdog was stopped")
	}
}

// asksNothing is a quietHost without a process tree.
type asksNothing struct{ quietHost }

func (asksNothing) SignalAll(proc.Signal) []stop.Sent { return nil }
