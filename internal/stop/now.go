package stop

import (
	"errors"
	"time"
)

// How often EndNow scans the tree: at first at once, at last twice a second, for
// about half a minute in all. What is left then, no signal ends.
const (
	endRounds    = 64
	endPause     = time.Millisecond
	endPauseLong = 500 * time.Millisecond
)

// ErrSurvivors says that something of the tree could not be ended.
var ErrSurvivors = errors.New("some processes could not be ended")

// EndNow kills the whole tree without a grace period, and again until nothing of
// it is left. A sentinel ends the tree of a watchdog that was killed with it. pause
// waits for that long, or until a child has ended.
func EndNow(t *Tree, pause func(time.Duration)) error {
	wait, empty := endPause, 0
	for range endRounds {
		t.Force()
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
