//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// awaitRest waits for the pause before the nth restart. The fifth lasts eight
// seconds or more: long enough to do something in it on any machine.
func awaitRest(t *testing.T, w *testkit.Proc, n int) {
	t.Helper()
	for w.Stderr.AwaitEvent("process.restarting").Int("attempt") != n {
	}
}

// The parent's death ends the cycle at once, in the pause too: there is no
// further worker, and nobody waits for the rest of the pause.
func TestParentDiesDuringThePause(t *testing.T) {
	t.Parallel()
	parent := sleeper(t)
	w := restarting(t, "exit 3", "--restart", "always", "--max-restarts", "9", "--parent-pid", pid(parent))
	awaitRest(t, w, 5)
	started := len(named(w.Stderr, "process.started"))
	parent.Kill()
	w.Wait()
	w.Stderr.AwaitEvent("watchdog.parent_death_detected")
	generationsStay(t, w, started, "parent_died")
}

// So do TERM and INT to the watchdog.
func TestSignalDuringThePause(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		run(unix.SignalName(sig), func(t *testing.T) {
			w := restarting(t, "exit 3", "--restart", "on-failure", "--max-restarts", "9")
			awaitRest(t, w, 5)
			started := len(named(w.Stderr, "process.started"))
			w.Signal(sig)
			w.Wait()
			generationsStay(t, w, started, "signalled")
		})
	}
}

// generationsStay checks that no worker came after the pause was cut short.
func generationsStay(t *testing.T, w *testkit.Proc, started int, outcome string) {
	t.Helper()
	w.Stderr.AwaitEnd()
	if n := len(named(w.Stderr, "process.started")); n != started {
		t.Errorf("%d workers, and then %d", started, n)
	}
	stopped := w.Stderr.AwaitEvent("watchdog.stopped")
	if stopped.Str("outcome") != outcome {
		t.Errorf("%v", stopped)
	}
	rests := named(w.Stderr, "process.restarting")
	last := rests[len(rests)-1]
	if took := stopped.Time().Sub(last.Time()).Milliseconds(); took >= int64(last.Int("delay_ms")) {
		t.Errorf("it ended %d ms after the begin of a pause of %d ms", took, last.Int("delay_ms"))
	}
}

// While a worker runs, the parent's death and TERM end it for good, however it
// ends.
func TestEndedWorkerIsNotStartedAgain(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"parent_died", "signalled"} {
		parent := sleeper(t)
		w := restarting(t, "trap 'exit 9' TERM; echo pid $$; while :; do sleep 0.01; done", "--restart", "always", "--grace", "1m", "--parent-pid", pid(parent))
		id := identOf(t, w.Stdout, "pid")
		w.Stderr.AwaitEvent("watchdog.started")
		if how == "signalled" {
			w.Signal(unix.SIGTERM)
		} else {
			parent.Kill()
		}
		testkit.AwaitGone(t, id)
		if status := w.Wait(); how == "signalled" && status != 9 {
			t.Errorf("%s: status %d", how, status)
		}
		generations(t, w.Stderr, 1, how)
	}
}

// The record in the ledger is of the worker that lives; and what a killed
// watchdog leaves of its second generation is found by the reaper.
func TestRecordFollowsTheGenerations(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		dir := os.Getenv("LEASH_STATE_DIR")
		parent := sleeper(t)
		cmd := exec.Command(testkit.Watchdog(t), "run", "--sentinel", "off", "--parent-pid", pid(parent), "--restart", "on-failure", "--", "sh", "-c",
			`setsid sleep 1000000 & echo "child $!"; echo "worker $$"; read -r line; exit 3`)
		cmd = root().as(cmd)
		in := input(t, cmd)
		w := testkit.Start(t, cmd)
		w.Stderr.AwaitEvent("watchdog.started")
		var tree []testkit.Ident
		for generation := range 2 {
			tree = []testkit.Ident{identOf(t, w.Stdout, "child"), identOf(t, w.Stdout, "worker")}
			awaitThat(t, "the record is of the worker that lives", func() bool {
				all := ledgerOf(t, dir)
				return len(all) == 1 && sameProcess(all[0].Worker, tree[1]) && !all[0].Ending
			})
			if generation == 0 {
				tell(t, in, "end")
				testkit.AwaitGone(t, tree...)
			}
		}
		w.Kill()
		w.Wait()
		parent.Kill()
		parent.Wait()
		testkit.AwaitGone(t, tree[1]) // it dies with its watchdog
		testkit.StillAlive(t, tree[0])
		r := reap(t)
		r.expectEnded(t, tree[0])
		if left := records(t, root()); len(left) != 0 {
			t.Errorf("records of what is gone: %q", slices.Sorted(slices.Values(left)))
		}
	})
}
