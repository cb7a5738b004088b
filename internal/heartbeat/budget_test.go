package heartbeat

import (
	"testing"
	"time"
)

// What may be read is what the time is worth, however it is cut, and after any
// rest no more than a burst.
func TestBudget(t *testing.T) {
	spendAll := func(b *Budget) (n int) {
		for ; b.Left(); b.Spend() {
			n++
		}
		return n
	}
	for _, step := range []time.Duration{time.Microsecond, 333 * time.Microsecond, 700 * time.Microsecond, 10 * time.Millisecond} {
		var b Budget
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
			t.Errorf("after a long rest: %d", n)
		}
	}
}
