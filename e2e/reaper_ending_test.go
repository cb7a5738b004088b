//go:build linux

package e2e

import (
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"leash/internal/testkit"
)

// stubborn says that it was asked to end, and stays. It starts no process that
// could be asked again.
const stubborn = `
trap 'echo asked >&2' TERM
fifo=$(mktemp -u) && mkfifo "$fifo" && exec 3<>"$fifo" && rm "$fifo"
echo "worker $$"
while :; do read -r nothing <&3; done
`

// A watchdog that is ending its worker is left to finish: its worker has been
// asked and may use the time that the user granted.
func TestReaperLeavesAWatchdogToFinish(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		for _, mode := range []string{"guard", "run"} {
			t.Run(mode, func(t *testing.T) { watchdogFinishes(t, mode) })
		}
	})
}

func watchdogFinishes(t *testing.T, mode string) {
	worker := `sleep 1000000 & echo "child $!"; ` + stubborn
	p := root().newPool(t, newRunID(), worker, []string{mode}, "LEASH_GRACE=300s", "LEASH_KILL_MODE=group")
	p.children = append(p.children, identOf(t, p.parent.Stdout, "child"))
	p.workers = append(p.workers, identOf(t, p.parent.Stdout, "worker"))
	p.awaitWatchdog()
	p.parent.Kill()
	p.parent.Stderr.AwaitEvent("watchdog.parent_death_detected")
	p.parent.Stderr.Await("asked")
	testkit.AwaitGone(t, p.children[0])

	for _, args := range [][]string{{}, {"--unclaimed"}} {
		r := reap(t, args...)
		r.expect(t, "skipped", p.workers[0])
		testkit.StillAlive(t, p.workers[0], p.watchdogs[0])
		if r.Terminated+r.Killed+r.Survived != 0 || r.Skipped == 0 {
			t.Errorf("reaper %q: %s", args, r.stdout)
		}
	}
	if err := p.workers[0].Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ev := p.parent.Stderr.AwaitEvent("process.cleanup_completed")
	if ev["success"] != true {
		t.Errorf("cleanup: %v", ev)
	}
	testkit.AwaitGone(t, p.watchdogs[0])
	if left := records(t, root()); len(left) != 0 {
		t.Errorf("records of what is gone: %q", left)
	}
}

// The watchdog is killed in the midst of ending its worker: then nobody will
// finish, and the reaper does.
func TestReaperFinishesForAWatchdogThatWasKilled(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := root().newPool(t, newRunID(), stubborn, []string{"guard"}, "LEASH_GRACE=300s")
		p.workers = append(p.workers, identOf(t, p.parent.Stdout, "worker"))
		p.awaitWatchdog()
		p.parent.Kill()
		p.parent.Stderr.Await("asked")
		killTogether(t, p.watchdogs...)
		testkit.StillAlive(t, p.workers...)
		reap(t, "--grace", "100ms").expectEnded(t, p.workers...)
	})
}

// Watchdogs and reapers are no members of a run, whatever they carry, and
// neither are the reaper's ancestors.
func TestReaperSparesItsLikeAndItsAncestors(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		id, owner := newRunID(), deadOwner(t)
		labels := []string{"LEASH_RUN_ID=" + id, "LEASH_RUN_OWNER=" + owner}
		member := root().labelled(t, labels...)
		parent, worker := sleeper(t), sleeper(t)
		cmd := root().as(exec.Command(testkit.Watchdog(t), "guard", "--worker-pid", pid(worker), "--parent-pid", pid(parent), "--run-id", newRunID()))
		cmd.Env = append(cmd.Env, labels...)
		dog := testkit.Start(t, cmd)
		dog.Stderr.AwaitEvent("watchdog.started")

		// The shells above the reaper carry the labels too.
		script := `"$1" --run-id "$2" --json; status=$?; echo; echo status $status; exit $status`
		cmd = root().as(exec.Command("sh", "-c", script, "sh", testkit.Reaper(t), id, "--run-id", id))
		cmd.Env = append(cmd.Env, labels...)
		shell := testkit.Start(t, cmd)
		shell.Stdout.Await("status 0")
		if status := shell.Wait(); status != 0 {
			t.Errorf("the shell above the reaper: status %d", status)
		}
		testkit.AwaitGone(t, member.Ident)
		testkit.StillAlive(t, dog.Ident, worker.Ident, parent.Ident)
	})
}

// forking starts another process when it is asked to end, and stays. Both are
// known by nothing but their environment: the new one is in a session of its own.
const forking = `
trap 'setsid sleep 1000000 & echo "born $!"' TERM
fifo=$(mktemp -u) && mkfifo "$fifo" && exec 3<>"$fifo" && rm "$fifo"
echo "forking $$"
while :; do read -r nothing <&3; done
`

// The only process that names the dead owner ends first. What is born later is
// of a dead run all the same.
func TestReaperRemembersThatARunIsDead(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		inTime(t, 500*time.Millisecond, func(grace time.Duration) bool {
			id := newRunID()
			cmd := root().as(exec.Command("sh", "-c", `setsid sh -c "$1" &`, "sh", forking))
			cmd.Env = append(cmd.Env, "LEASH_RUN_ID="+id)
			deaf := testkit.Start(t, cmd)
			orphan := identOf(t, deaf.Stdout, "forking")
			deaf.Wait()
			witness := root().labelled(t, "LEASH_RUN_ID="+id, "LEASH_RUN_OWNER="+deadOwner(t))
			r := reap(t, "--grace", grace.String())
			r.expectEnded(t, orphan, witness.Ident)
			r.expectState(t, id, "dead")
			deaf.Stdout.AwaitEnd()
			noneLeft(t, deaf.Stdout, "born")
			return len(told(deaf.Stdout, "born")) > 0
		})
	})
}

// Two reapers at the same time do no harm to each other.
func TestReapersTwiceAtOnce(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		living := startPool(t, "guard", "run")
		for range 5 {
			p := root().pool(t, newRunID(), "trap '' TERM; "+plainWorker, "guard", "run", "unlabelled")
			orphans := p.kill()
			var errs [3]error
			var done sync.WaitGroup
			for i := range errs {
				cmd := root().as(exec.Command(testkit.Reaper(t), "--grace", "100ms"))
				done.Go(func() { errs[i] = cmd.Run() })
			}
			done.Wait()
			for _, err := range errs {
				if err != nil {
					t.Errorf("one of several reapers: %v", err)
				}
			}
			for _, id := range orphans {
				if id.Alive() {
					t.Errorf("left: %v", id)
				}
			}
		}
		testkit.StillAlive(t, living.members()...)
		testkit.StillAlive(t, living.watchdogs...)
	})
}
