package watchsim

import (
	"math/bits"
	"time"
)

// Rand is a small seeded random source (wyrand): fast, and the same on every system for the
// same seed.
type Rand struct{ state uint64 }

// Next returns 64 random bits.
func (r *Rand) Next() uint64 {
	r.state += 0xa0761d6478bd642f
	hi, lo := bits.Mul64(r.state, r.state^0xe7037ed1a0b428db)
	return hi ^ lo
}

// N returns a number from 0 to n-1.
func (r *Rand) N(n int) int {
	hi, _ := bits.Mul64(r.Next(), uint64(n))
	return int(hi)
}

// Chance is true in so many percent of calls.
func (r *Rand) Chance(percent int) bool { return r.N(100) < percent }

// Between returns a duration from low to high.
func (r *Rand) Between(low, high time.Duration) time.Duration {
	return low + time.Duration(r.N(int(high-low)+1))
}

// Seed derives the seed of run i from that of the whole series.
func Seed(base uint64, i int) uint64 {
	r := Rand{base + uint64(i)*0x9e3779b97f4a7c15}
	return r.Next()
}
