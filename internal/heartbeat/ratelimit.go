package heartbeat

import "time"

// The rate limit of messages: PerSecond on average, Burst at once. While more come, a beat
// may be lost among them, and no message is read for Pause.
const (
	PerSecond = 2000
	Burst     = 500
	Pause     = 50 * time.Millisecond
)

// RateLimit is a token bucket for messages. The zero value allows a whole Burst.
type RateLimit struct {
	spent    int
	refilled time.Duration // the time up to which tokens were added
}

// Refill adds the tokens for the time since the last call, and loses no fraction. now is a
// duration since any fixed moment.
func (b *RateLimit) Refill(now time.Duration) {
	const each = time.Second / PerSecond
	since := min(now-b.refilled, Burst*each)
	b.spent = max(0, b.spent-int(since/each))
	b.refilled = now - since%each
}

// Left reports whether one more message may be read.
func (b *RateLimit) Left() bool { return b.spent < Burst }

// Spend counts one message that was read.
func (b *RateLimit) Spend() { b.spent++ }
