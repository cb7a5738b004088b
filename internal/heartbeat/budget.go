package heartbeat

import "time"

// A flood costs no more than reading so many messages in a second; a burst may
// be as large as Burst. While more come, nobody can tell whether a beat is among
// them, and nothing is read for a Pause.
const (
	PerSecond = 2000
	Burst     = 500
	Pause     = 50 * time.Millisecond
)

// Budget is how many messages may be read now. It begins with a whole burst.
type Budget struct {
	spent    int
	refilled time.Duration // when it was last added to
}

// Refill adds what the time since the last one is worth, and loses no fraction.
// now is a duration since any fixed moment.
func (b *Budget) Refill(now time.Duration) {
	const each = time.Second / PerSecond
	since := min(now-b.refilled, Burst*each)
	b.spent = max(0, b.spent-int(since/each))
	b.refilled = now - since%each
}

// Left reports whether one more message may be read.
func (b *Budget) Left() bool { return b.spent < Burst }

// Spend counts one message that was read.
func (b *Budget) Spend() { b.spent++ }
