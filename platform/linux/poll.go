//go:build linux

package linux

import (
	"errors"
	"time"

	"leash/internal/proc"
	"leash/watch"
)

// endingPoll is the interval while a tree is being ended, where nobody tells.
const endingPoll = 20 * time.Millisecond

// until is when to stop waiting, if ever.
func (h *Host) until(deadline time.Duration, timed bool) (time.Duration, bool) {
	if at, paused := h.untilBeats(); paused && (!timed || at < deadline) {
		deadline, timed = at, true
	}
	if h.backend == "event" {
		return deadline, timed
	}
	every := h.interval
	if h.ending {
		every = min(every, endingPoll)
	}
	if now := h.Now(); h.nextPoll <= now || h.nextPoll > now+every {
		h.nextPoll = now + every
	}
	if timed && deadline < h.nextPoll {
		return deadline, true
	}
	return h.nextPoll, true
}

// pollAll looks at everyone whose end would otherwise be told by the kernel.
func (h *Host) pollAll(now time.Duration) {
	h.nextPoll = now
	h.lookAtParents("poll")
	if h.child || h.hook.pid != 0 {
		h.reap()
	}
	if !h.child && h.worker != nil && !h.exited && gone(h.worker.Look()) {
		h.exited, h.exit = true, h.worker.exitInfo()
	}
	if h.exited && !h.told {
		h.tellExit()
	}
	if h.ending {
		h.events = append(h.events, watch.Quiet{})
	}
}

// lookAtParents reports whether one of them is dead.
func (h *Host) lookAtParents(by string) (dead bool) {
	for _, p := range h.parents {
		if dead = dead || p.dead; p.dead {
			continue
		}
		info, err := p.h.Look()
		if gone(info, err) || err == nil && p.id.Match(info.ID) == proc.Different {
			p.dead, dead = true, true
			h.events = append(h.events, watch.ParentDied{PID: p.id.PID, By: by})
		}
	}
	return dead
}

// gone takes only a reaped process or a zombie for dead: what cannot be read
// or signalled may well be alive.
func gone(info proc.Info, err error) bool {
	return errors.Is(err, proc.ErrGone) || err == nil && info.Dead()
}
