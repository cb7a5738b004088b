package stop

import (
	"errors"
	"time"
)

// How often EndNow scans the tree: at first at once, at last twice a second, for
// about half a minute in all. What is left then cannot be ended by a signal.
const (
	endRounds    = 64
	endPause     = time.Millisecond
	endPauseLong = 500 * time.Millisecond
)

// ErrSurvivors means that some process of the tree could not be ended.
var ErrSurvivors = errors.New("some processes could not be ended")

// EndNow kills the whole tree without a grace period, repeatedly until no process of
// it is left, or returns ErrSurvivors. A sentinel uses it after its watchdog was
// killed. pause waits for the given time, or until a child has ended.
func EndNow(t *Tree, pause func(time.Duration)) error {
	wait, empty := endPause, 0
	for range endRounds {
		t.Kill()
		c := t.Count()
		if c.Living > 0 {
			empty = 0
		} else if empty++; c.Proven || empty == emptyCounts {
			return nil
		}
		if c.Living > 0 && c.Living == c.Denied {
			break
		}
		pause(wait)
		wait = min(2*wait, endPauseLong)
	}
	return ErrSurvivors
}
