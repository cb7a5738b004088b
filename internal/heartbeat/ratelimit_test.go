package heartbeat

import (
	"testing"
	"time"
)

// How many messages may be read depends on the time alone, not on how often Refill is
// called, and after any pause it is at most a burst.
func TestRateLimit(t *testing.T) {
	spendAll := func(b *RateLimit) (n int) {
		for ; b.Left(); b.Spend() {
			n++
		}
		return n
	}
	for _, step := range []time.Duration{time.Microsecond, 333 * time.Microsecond, 700 * time.Microsecond, 10 * time.Millisecond} {
		var b RateLimit
		if n := spendAll(&b); n != Burst {
			t.Errorf("at first: %d", n)
		}
		got, now := 0, time.Duration(0)
		for ; now < 10*time.Second; now += step {
			b.Refill(now)
			got += spendAll(&b)
		}
		if want := 10 * PerSecond; got < want-21 || got > want {
			t.Errorf("in steps of %v: %d in 10 s, want %d", step, got, want)
		}
		b.Refill(now + 1000*24*time.Hour)
		if n := spendAll(&b); n != Burst {
			t.Errorf("after a long pause: %d", n)
		}
	}
}
