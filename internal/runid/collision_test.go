package runid

import (
	cryptorand "crypto/rand"
	"flag"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// draws is how many IDs each scene draws. The figures in the documentation of
// this package are those of ten million:
//
//	go test ./internal/runid -run TestCollisions -v -draws 10000000
var draws = flag.Int("draws", fewDraws, "how many run IDs TestCollisions draws in each scene")

const (
	fewDraws = 200_000

	allIDs  = 36 * 36 * clocks // 36⁷
	clocks  = 60_466_176       // 36⁵: microseconds until the clock part repeats
	tails   = 36 * 36          // what its two random characters can be
	perTick = 10               // draws in a microsecond of a tight loop
	burst   = 100              // runs that start together
	jitter  = 1000             // microseconds
)

// clocked is the other scheme: five characters of a clock, two at random.
func clocked(microseconds uint64, random *rand.Rand) uint64 {
	return microseconds%clocks*tails + random.Uint64N(tails)
}

// scene is a way in which runs start. moment says when the nth does, in
// microseconds; clocked and ours are how many draws should repeat an earlier ID
// by the birthday bound.
type scene struct {
	name          string
	moment        func(n int, r *rand.Rand) uint64
	together      int // only repeats among so many in a row count
	clocked, ours float64
}

func scenes(n int) []scene {
	bursts := float64(n) / burst
	return []scene{
		{"at any moment", func(_ int, r *rand.Rand) uint64 { return r.Uint64N(1 << 50) },
			n, repeats(n, allIDs), repeats(n, allIDs)},
		{"60.466176 s apart, late by up to 1 ms", func(i int, r *rand.Rand) uint64 { return uint64(i)*clocks + r.Uint64N(jitter) },
			n, repeats(n, jitter*tails), repeats(n, allIDs)},
		{"100 within 1 ms, among these", func(i int, r *rand.Rand) uint64 { return uint64(i/burst)*7_777_777 + r.Uint64N(jitter) },
			burst, bursts * repeats(burst, jitter*tails), bursts * repeats(burst, allIDs)},
		{"10 in each microsecond", func(i int, _ *rand.Rand) uint64 { return uint64(i / perTick) },
			n, float64(n) / perTick * repeats(perTick, tails), repeats(n, allIDs)},
	}
}

// repeats is how many of n draws out of so many are of one that was drawn.
func repeats(n int, of float64) float64 {
	return float64(n) - of*-math.Expm1(float64(n)*math.Log1p(-1/of))
}

// Both schemes have as many IDs. That with a clock has as few collisions only
// where runs start at any moment.
func TestCollisions(t *testing.T) {
	n := *draws
	random, source := rand.New(rand.NewPCG(1, 2)), io.Reader(rand.NewChaCha8([32]byte{2}))
	if n > fewDraws {
		source = cryptorand.Reader
	}
	t.Logf("%d draws in each scene; repeated an earlier ID (expected)", n)
	for _, s := range scenes(n) {
		theirs, ours := make([]uint64, n), make([]uint64, n)
		for i := range n {
			theirs[i] = clocked(s.moment(i, random), random)
			id, err := New(source)
			if err != nil {
				t.Fatal(err)
			}
			ours[i], _ = strconv.ParseUint(id, 36, 64)
		}
		a, b := repeated(theirs, s.together), repeated(ours, s.together)
		t.Logf("%-38s clock and 2 characters %8d (%10.2f)  7 characters %5d (%6.2f)", s.name, a, s.clocked, b, s.ours)
		if !near(a, s.clocked) || !near(b, s.ours) {
			t.Errorf("%s: that is not what the birthday bound says", s.name)
		}
	}
}

// repeated counts draws that repeat an earlier one, among so many in a row.
func repeated(ids []uint64, together int) (n int) {
	for group := range slices.Chunk(ids, together) {
		slices.Sort(group)
		n += len(group) - len(slices.Compact(group))
	}
	return n
}

// near: within six standard deviations, and a few where hardly any are expected.
func near(got int, want float64) bool {
	return math.Abs(float64(got)-want) <= 6*math.Sqrt(want)+5
}
