package watch_test

import (
	"testing"
	"time"

	"leash/watch"
)

// The service manager gets the watchdog's own beats as long as the watchdog runs: also
// while the worker is ended and before the next start, and late if the watchdog is late.
func TestManagerGetsBeats(t *testing.T) {
	m := watch.NewMachine(watch.Config{Owns: true, BeatEvery: time.Second,
		Restart: watch.RestartAlways, MaxRestarts: 100})
	beats, now := 0, time.Duration(0)
	for now < 20*time.Second {
		at, ok := m.Deadline()
		if !ok || at > now+time.Second {
			t.Fatalf("%v at %v: the next deadline is %v, %t", m.State(), now, at, ok)
		}
		now = max(now, at)
		for _, a := range m.Step(now, watch.Tick{}) {
			switch {
			case a.Kind == watch.DoPassOn && a.Text == "WATCHDOG=1\n":
				beats++
			case a.Kind == watch.DoRestart:
				m.Step(now, watch.Restarted{})
			case a.Kind == watch.DoCount:
				m.Step(now, watch.Counted{})
			}
		}
		if m.State() == watch.Watching && now > 3*time.Second {
			m.Step(now, watch.WorkerExited{})
			m.Step(now, watch.Counted{})
			m.Step(now, watch.Counted{})
		}
	}
	if beats < 19 || beats > 21 {
		t.Errorf("%d beats in 20 s", beats)
	}
}
