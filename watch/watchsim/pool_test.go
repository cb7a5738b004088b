package watchsim

import (
	"os"
	"strconv"
	"testing"
)

// TestPools plays pools of up to 50 workers with requests at random (LEASH_SIM_N: a hundredth
// of it; LEASH_SIM_SEED replays one).
func TestPools(t *testing.T) {
	n := 1000
	if all, err := strconv.Atoi(os.Getenv("LEASH_SIM_N")); err == nil {
		n = max(1, all/100)
	}
	var s PoolScene
	if seed, err := strconv.ParseUint(os.Getenv("LEASH_SIM_SEED"), 10, 64); err == nil {
		failures := s.Play(seed)
		t.Logf("%s\n%q", s.Report(), failures)
		return
	}
	kinds := map[string]int{}
	for i := range n {
		seed := Seed(7, i)
		for _, f := range s.Play(seed)[:min(1, len(s.World.failures))] {
			if kinds[Kind(f)]++; kinds[Kind(f)] == 1 {
				t.Errorf("replay with LEASH_SIM_SEED=%d: %s", seed, f)
			}
		}
	}
	t.Logf("%d pools, %d workers, %d stops answered, %d requests refused, restarts %d, timed out %v; failures %v", n, s.Workers, s.Stopped, s.Refused,
		s.Stats.Restarts, s.Stats.TimedOut, kinds)
}
