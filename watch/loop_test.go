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

// crowd is a system with many workers, on which nothing happens but what is said, and
// whose time passes only while it is waited for.
type crowd struct {
	system.System
	now   time.Duration
	end   time.Duration
	said  []system.Wake // what is told next
	waits int
}

func (s *crowd) Now() time.Duration                        { return s.now }
func (s *crowd) Backend() string                           { return "event" }
func (s *crowd) Ancestors() []proc.Info                    { return nil }
func (s *crowd) Contain(system.Options) system.Containment { return holdsNothing{} }
func (s *crowd) Wait(until time.Duration, timed bool) ([]system.Wake, error) {
	s.waits++
	if wakes := s.said; len(wakes) > 0 {
		s.said = nil
		return wakes, nil
	}
	if !timed || until > s.end {
		return nil, errEnough
	}
	s.now = max(s.now, until)
	return nil, nil
}

// scanned counts the scans of one worker.
type scanned struct {
	quietHost
	scans int
}

func (h *scanned) Scan()                             { h.scans++ }
func (h *scanned) SignalAll(proc.Signal) []stop.Sent { return nil }

// A thousand workers are served with one wait for each deadline, and none for nothing.
func TestLoopOfAThousand(t *testing.T) {
	const workers = 1000
	sys := &crowd{end: 12 * time.Second}
	l := NewLoop(sys)
	hosts := make([]*scanned, workers)
	for i := range hosts {
		sys.now = time.Duration(i) * time.Millisecond
		w := NewWorker(sys, time.Second, -1, 0)
		hosts[i] = &scanned{quietHost: quietHost{w: w}}
		l.Add(NewMachine(Config{Scans: true}), w, hosts[i])
	}
	if err := l.Run(); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	// At 0.25, 1, 3.25 and 10 s of each life.
	for i, h := range hosts {
		if h.scans != 4 {
			t.Fatalf("worker %d was scanned %d times, want 4", i, h.scans)
		}
	}
	// Each has four deadlines of its own, and some of them fall together.
	if sys.waits > 4*workers+1 {
		t.Errorf("%d waits for %d deadlines", sys.waits, 4*workers)
	}
	if l.Len() != workers {
		t.Errorf("%d workers are watched, want %d", l.Len(), workers)
	}
}

// What happens to one worker is nothing to the others.
func TestLoopServesWhomItConcerns(t *testing.T) {
	sys := &crowd{}
	l := NewLoop(sys)
	var all []*Worker
	for range 100 {
		w := NewWorker(sys, time.Second, -1, 0)
		all = append(all, w)
		l.Add(NewMachine(Config{Grace: time.Minute, Beats: &heartbeat.Config{Interval: time.Second, Timeout: time.Minute, MaxMissed: 3}}),
			w, &scanned{quietHost: quietHost{w: w}})
	}
	served := map[*Worker]int{}
	l.Trace = func(w *Worker, _ Event) { served[w]++ }
	sys.said = []system.Wake{{Kind: system.Heard, Owner: all[7], Message: heartbeat.Message{Beat: heartbeat.Alive}}}
	for range 2 { // the second finds nothing
		l.Round()
	}
	if len(served) != 1 || served[all[7]] != 1 {
		t.Errorf("served: %d workers, %d times the one that spoke", len(served), served[all[7]])
	}
	// A signal concerns all.
	sys.said = []system.Wake{{Kind: system.Signalled, Signal: proc.TERM}}
	l.Round()
	if len(served) != len(all) {
		t.Errorf("a signal reached %d workers of %d", len(served), len(all))
	}
}
