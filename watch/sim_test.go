package watch_test

import (
	"flag"
	"os"
	"strconv"
	"testing"
	"time"

	"leash/watch"
	"leash/watch/watchsim"
)

var (
	simN    = flag.Int("sim.n", 50_000, "how many interleavings TestSimulator plays (or LEASH_SIM_N)")
	simBase = flag.Uint64("sim.base", 1, "seed of the whole series; 0 draws one (make soak)")
	simSeed = flag.Uint64("sim.seed", 0, "play exactly the run of this seed, and show it")
)

const mostFailures = 1000

// TestSimulator runs many watchdogs in a simulated system that changes between any two
// calls, and compares the result of each with the simulator's state.
func TestSimulator(t *testing.T) {
	var scene watchsim.Scene
	if *simSeed != 0 {
		failures := scene.Play(*simSeed)
		t.Log(scene.Report())
		for _, f := range failures {
			t.Error(f)
		}
		return
	}
	base := *simBase
	if base == 0 {
		base = uint64(time.Now().UnixNano())
	}
	n := runs(t)
	t.Logf("%d runs, base seed %d", n, base)
	kinds := map[string]int{}
	failed := 0
	for i := range n {
		seed := watchsim.Seed(base, i)
		failures := scene.Play(seed)
		if len(failures) == 0 {
			continue
		}
		if kinds[watchsim.Kind(failures[0])]++; kinds[watchsim.Kind(failures[0])] == 1 { // one trace of each kind
			t.Errorf("run %d failed: %q\nreplay: go test ./watch -run TestSimulator -sim.seed=%d\n%s",
				i, failures, seed, scene.Report())
		}
		if failed++; failed == mostFailures {
			break
		}
	}
	for kind, count := range kinds {
		t.Logf("failed %d times: %s", count, kind)
	}
	t.Log(scene.Stats.String())
	// If one of these never happened, it was not tested.
	for _, reason := range []string{watch.Hung, watch.NotReady, "trigger"} {
		if n >= enough && scene.Stats.TimedOut[reason] < n/500 {
			t.Errorf("%d workers timed out for %s", scene.Stats.TimedOut[reason], reason)
		}
	}
	if n >= enough && min(scene.Stats.WatchdogKilled, scene.Stats.SentinelKilled) < n/100 {
		t.Errorf("%d watchdogs and %d sentinels were killed", scene.Stats.WatchdogKilled, scene.Stats.SentinelKilled)
	}
	if n >= enough && scene.Stats.Restarts < n/500 {
		t.Errorf("%d restarts", scene.Stats.Restarts)
	}
}

// enough runs for each of these to happen.
const enough = 10_000

// TestReplay checks that two runs with the same seed make the same calls.
func TestReplay(t *testing.T) {
	var scene watchsim.Scene
	for i := range 1000 {
		seed := watchsim.Seed(1, i)
		scene.Play(seed)
		once := scene.Report()
		if scene.Play(seed); scene.Report() != once {
			t.Fatalf("seed %d: two runs differ\n%s\n%s", seed, once, scene.Report())
		}
	}
}

// TestForkBomb checks that a fork bomb grows by few processes after the first kill,
// because all are stopped before any is killed.
func TestForkBomb(t *testing.T) {
	scene := watchsim.Scene{Bomb: true}
	const bombs = 2000
	for i := range bombs {
		seed := watchsim.Seed(1, i)
		if failures := scene.Play(seed); len(failures) > 0 {
			t.Fatalf("bomb %d: %q\n%s", i, failures, scene.Report())
		}
	}
	t.Logf("%d bombs forked %d times after the first SIGKILL", scene.Stats.Forced, scene.Stats.Forked)
	if scene.Stats.Forked > scene.Stats.Forced*mostForks {
		t.Errorf("that is more than %d each", mostForks)
	}
}

// mostForks lies between the 8 measured with SIGSTOP first and the 27 without.
const mostForks = 15

func runs(t *testing.T) int {
	if s := os.Getenv("LEASH_SIM_N"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("LEASH_SIM_N: %v", err)
		}
		return n
	}
	return *simN
}
