//go:build windows

package windows

import (
	"time"

	"leash/watch"
)

// endingPoll is the interval while a tree is being ended, where nobody tells.
const endingPoll = 20 * time.Millisecond

// polls reports whether somebody must be looked at, because nobody tells.
func (h *Host) polls() bool { return h.backend != "event" || h.unheard }

// until is when to stop waiting, if ever.
func (h *Host) until(deadline time.Duration, timed bool) (time.Duration, bool) {
	if at, paused := h.untilBeats(); paused && (!timed || at < deadline) {
		deadline, timed = at, true
	}
	if !h.polls() {
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

// pollAll looks at everyone whose end would otherwise be told by the system.
func (h *Host) pollAll(now time.Duration) {
	h.nextPoll = now
	for _, p := range h.parents {
		if p.h.ended() {
			h.parentEnded(p, "poll")
		}
	}
	if h.worker != nil && !h.told {
		h.workerEnded()
	}
	if h.ending {
		h.events = append(h.events, watch.Quiet{})
	}
}
