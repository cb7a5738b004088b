//go:build linux

package linux

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// What the worker used is told in three messages, as float32: one needs four bytes, and no
// more than seven digits are of use.

// tellUsage tells it. The watchdog may have ended.
func (s *sentinel) tellUsage(r *unix.Rusage) {
	u := usageOf(r)
	for _, m := range []struct {
		kind  byte
		value float64
	}{
		{toldUser, u.User.Seconds() * 1e3},
		{toldSystem, u.System.Seconds() * 1e3},
		{toldPeak, float64(u.Peak >> 10)},
	} {
		s.tell(m.kind, int32(math.Float32bits(float32(m.value))))
	}
}

// tookUsage takes such a message, and reports whether it was one.
func (s *sentinelConn) tookUsage(kind byte, n int32) bool {
	v := float64(math.Float32frombits(uint32(n)))
	if !(v >= 0 && v < 1e15) { // no rusage says so
		v = 0
	}
	switch kind {
	case toldUser:
		s.usage.Known, s.usage.User = true, time.Duration(v*float64(time.Millisecond))
	case toldSystem:
		s.usage.System = time.Duration(v * float64(time.Millisecond))
	case toldPeak:
		s.usage.Peak = uint64(v) << 10
	default:
		return false
	}
	return true
}
