package watch_test

import (
	"errors"
	"flag"
	"os"
	"strconv"
	"testing"
	"time"

	"leash/internal/heartbeat"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/platform/hosttest"
	"leash/watch"
)

var (
	simN    = flag.Int("sim.n", 50_000, "how many interleavings TestSimulator plays (or LEASH_SIM_N)")
	simBase = flag.Uint64("sim.base", 1, "seed of the whole series; 0 draws one (make soak)")
	simSeed = flag.Uint64("sim.seed", 0, "play exactly the run of this seed, and show it")
)

const mostFailures = 1000

// TestSimulator plays many short lives of a worker in a system that moves
// between any two calls, and compares each with the truth.
func TestSimulator(t *testing.T) {
	var scene hosttest.Scene
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
		seed := hosttest.Seed(base, i)
		failures := scene.Play(seed)
		if len(failures) == 0 {
			continue
		}
		if kinds[hosttest.Kind(failures[0])]++; kinds[hosttest.Kind(failures[0])] == 1 { // one trace of each kind
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
	// A series in which one of these never happens would not test it.
	for _, reason := range []string{watch.Hung, watch.NotReady, "trigger"} {
		if n >= enough && scene.Stats.Condemned[reason] < n/500 {
			t.Errorf("%d workers were condemned for %s", scene.Stats.Condemned[reason], reason)
		}
	}
	if n >= enough && min(scene.Stats.WatchdogKilled, scene.Stats.SentinelKilled) < n/100 {
		t.Errorf("%d watchdogs and %d sentinels were killed", scene.Stats.WatchdogKilled, scene.Stats.SentinelKilled)
	}
	if n >= enough && scene.Stats.Restarts < n/500 {
		t.Errorf("%d restarts", scene.Stats.Restarts)
	}
}

// enough runs for each kind to be among them.
const enough = 10_000

// TestReplay: a seed stands for one run, call for call.
func TestReplay(t *testing.T) {
	var scene hosttest.Scene
	for i := range 300 {
		seed := hosttest.Seed(1, i)
		scene.Play(seed)
		once := scene.Report()
		if scene.Play(seed); scene.Report() != once {
			t.Fatalf("seed %d: two runs differ\n%s\n%s", seed, once, scene.Report())
		}
	}
}

// stopsOnce is a host on which job control stops the watchdog for a second.
type stopsOnce struct {
	watch.Host
	now   time.Duration
	waits []time.Duration // until when
}

var errEnough = errors.New("enough was seen")

func (h *stopsOnce) Now() time.Duration { return h.now }

func (h *stopsOnce) Wait(deadline time.Duration, _ bool) ([]watch.Event, error) {
	h.waits = append(h.waits, deadline)
	switch len(h.waits) {
	case 1:
		return []watch.Event{watch.Heard{Message: heartbeat.Message{Ready: true}}}, nil
	case 2:
		h.now += 100 * time.Millisecond
		return []watch.Event{watch.Signalled{Signal: proc.Signal{Num: 20, Name: "SIGTSTP"}, Role: watch.Suspends}}, nil
	}
	return nil, errEnough
}

func (h *stopsOnce) Suspend(s proc.Signal) []stop.Sent {
	h.now += time.Second
	return []stop.Sent{{Signal: s, Target: "group", PID: 200}}
}

func (h *stopsOnce) Log(watch.Record)   {}
func (h *stopsOnce) PassOn(text string) {}

// TestSuspended: the time for which the job was stopped is nobody's silence, also
// if it was too short for a deadline to pass.
func TestSuspended(t *testing.T) {
	h := &stopsOnce{}
	m := watch.NewMachine(watch.Config{Owns: true, Beats: &heartbeat.Config{
		Interval: time.Second, Timeout: time.Minute, MaxMissed: 1}})
	if _, err := watch.Guard(m, h); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if before, after := h.waits[1], h.waits[2]; after != before+time.Second {
		t.Errorf("the next look was due at %v, and after a stop of a second at %v", before, after)
	}
}

// TestForkBomb: a bomb whose processes are stopped before any is killed goes on
// growing by very few.
func TestForkBomb(t *testing.T) {
	scene := hosttest.Scene{Bomb: true}
	const bombs = 2000
	for i := range bombs {
		seed := hosttest.Seed(1, i)
		if failures := scene.Play(seed); len(failures) > 0 {
			t.Fatalf("bomb %d: %q\n%s", i, failures, scene.Report())
		}
	}
	t.Logf("%d bombs forked %d times after the first SIGKILL", scene.Stats.Forced, scene.Stats.Forked)
	if scene.Stats.Forked > scene.Stats.Forced*mostForks {
		t.Errorf("that is more than %d each", mostForks)
	}
}

// mostForks is between what was measured with stopping first, 8, and without, 27.
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
