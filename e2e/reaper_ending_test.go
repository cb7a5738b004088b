//go:build linux

package e2e

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// stubborn prints a line at the stop signal, and stays. It starts no process that
// could get the signal too.
const stubborn = "trap 'echo asked >&2' TERM" + blocks + `echo "worker $$"` + forEver

// blocks and forEver make a shell wait without a process that waits for it.
const (
	blocks = `
fifo=$(mktemp -u) && mkfifo "$fifo" && exec 3<>"$fifo" && rm "$fifo"
`
	forEver = `
while :; do read -r nothing <&3; done
`
)

// A watchdog that is ending its worker is left to finish: its worker has been
// told to stop and may use the time that the user granted.
func TestReaperLeavesAWatchdogToFinish(t *testing.T) {
	mostlyWaits(t)
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

// The watchdog is killed in the midst of ending its worker: then the
// reaper finishes.
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
func TestReaperSparesReapersWatchdogsAndAncestors(t *testing.T) {
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

// forking starts another process at the stop signal, and stays. Both are
// known by nothing but their environment: the new one is in a session of its own.
const forking = `trap 'setsid sleep 1000000 & echo "born $!"' TERM` + blocks + `echo "forking $$"` + forEver

// The only process that names the dead owner ends first. What is born later is
// of a dead run all the same.
func TestReaperRemembersThatARunIsDead(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		inTime(t, 500*time.Millisecond, func(grace time.Duration) bool {
			id := newRunID()
			cmd := root().as(exec.Command("sh", "-c", `setsid sh -c "$1" &`, "sh", forking))
			cmd.Env = append(cmd.Env, "LEASH_RUN_ID="+id)
			forker := testkit.Start(t, cmd)
			orphan := identOf(t, forker.Stdout, "forking")
			forker.Wait()
			witness := root().labelled(t, "LEASH_RUN_ID="+id, "LEASH_RUN_OWNER="+deadOwner(t))
			r := reap(t, "--grace", grace.String())
			r.expectEnded(t, orphan, witness.Ident)
			r.expectState(t, id, "dead")
			forker.Stdout.AwaitEnd()
			noneLeft(t, forker.Stdout, "born")
			return len(told(forker.Stdout, "born")) > 0
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

// A process that cannot be ended is named, not waited for, and gives status 1. The
// others are ended all the same.
func TestReaperAndTheUnkillable(t *testing.T) {
	mostlyWaits(t)
	inOwnSpace(t, func(t *testing.T) {
		dir := freezer(t)
		p := startPool(t, "guard", "unlabelled")
		orphans := p.kill()
		frozen := p.workers[0]
		freeze(t, dir, frozen)
		r := result(t, reaper(t, "--json", "--grace", "100ms"))
		if r.status != 1 || r.Survived != 1 {
			t.Errorf("status %d, %d survived: %s", r.status, r.Survived, r.stdout)
		}
		r.expect(t, "survived", frozen)
		others := slices.DeleteFunc(orphans, func(id testkit.Ident) bool { return id == frozen })
		r.expectEnded(t, others...)
		if len(records(t, root())) == 0 {
			t.Error("the record of a worker that survived is gone")
		}
	})
}

// A zombie is dead: as an owner, and as a member that was not reaped.
func TestReaperAndZombies(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		id := newRunID()
		// A sleep does not reap its children.
		cmd := exec.Command("sh", "-c", `sleep 1000000 & echo owner $!; read -r owner
			LEASH_RUN_ID=$0 LEASH_RUN_OWNER=$owner sleep 1000000 & echo member $!; exec sleep 1000001`, id)
		in := input(t, cmd)
		holder := testkit.Start(t, cmd)
		owner := identOf(t, holder.Stdout, "owner")
		tell(t, in, ownerOf(t, owner))
		member := identOf(t, holder.Stdout, "member")
		heir := root().labelled(t, "LEASH_RUN_ID="+id, "LEASH_RUN_OWNER="+ownerOf(t, owner))
		reap(t).expect(t, "none", heir.Ident, member)
		if err := owner.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		awaitState(t, owner.PID, "Z")
		r := reap(t)
		r.expectState(t, id, "dead")
		r.expectEnded(t, heir.Ident, member)
		if state(t, member.PID) != "Z" {
			t.Error("the member should be a zombie")
		}
		for _, run := range reap(t).Runs {
			if run.RunID == id {
				t.Errorf("zombies make no run: %+v", run)
			}
		}
	})
}

// Where the first thread of an owner has ended while others run, it shows as a
// zombie, and is alive.
func TestReaperAndAnOwnerWithoutItsFirstThread(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		owner := testkit.Headless(t, 1)
		if state(t, owner.PID) != "Z" {
			t.Fatal("expected the owner to show as a zombie")
		}
		worker := root().labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+ownerOf(t, owner.Ident))
		reap(t).expect(t, "none", worker.Ident)
		testkit.StillAlive(t, worker.Ident)
		owner.Kill()
		owner.Wait()
		reap(t).expectEnded(t, worker.Ident)
	})
}

// Several owners: the run is dead when none of them lives.
func TestReaperAndSeveralOwners(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		id := newRunID()
		first, second := sleeper(t), sleeper(t)
		a := root().labelled(t, "LEASH_RUN_ID="+id, "LEASH_RUN_OWNER="+ownerOf(t, first.Ident))
		b := root().labelled(t, "LEASH_RUN_ID="+id, "LEASH_RUN_OWNER="+ownerOf(t, second.Ident))
		first.Kill()
		first.Wait()
		reap(t)
		testkit.StillAlive(t, a.Ident, b.Ident)
		second.Kill()
		second.Wait()
		reap(t).expectEnded(t, a.Ident, b.Ident)
	})
}

// An owner of another PID namespace cannot be checked from here. One of another
// boot has certainly ended.
func TestReaperAndOwnersElsewhere(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		owner := strings.Split(deadOwner(t), ":")
		elsewhere := strings.Join(append(owner[:3:3], "4026531835"), ":")
		before := strings.Join([]string{owner[0], owner[1], "00000000-0000-4000-8000-000000000000", owner[3]}, ":")
		kept := root().labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+elsewhere)
		gone := root().labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+before)
		r := reap(t)
		r.expect(t, "none", kept.Ident)
		r.expectEnded(t, gone.Ident)
		reap(t, "--unclaimed")
		testkit.StillAlive(t, kept.Ident)
	})
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// On a terminal the list has colours, and no line is longer than the terminal
// is wide, nor can a process write what it likes there.
func TestReaperListOnATerminal(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		testkit.Need(t, "script", "stty")
		id := newRunID()
		cmd := exec.Cmd{Path: actors(t), Env: []string{"ACTORS_PLAY=1", "LEASH_RUN_ID=" + id},
			Args: []string{"worker", "\x1b[31mred\x07", "two\nlines", "ä" + strings.Repeat("long ", 100)}}
		testkit.Start(t, &cmd).Stdout.Await("up")
		shown := reaper(t)
		shown.Args = []string{"script", "--quiet", "--return", "--command", "stty cols 60; exec " + shown.Path + " list", "/dev/null"}
		shown.Path, _ = exec.LookPath("script")
		shown.Env = append(slices.DeleteFunc(shown.Env, func(e string) bool { return strings.HasPrefix(e, "NO_COLOR=") }), "TERM=xterm")
		status, text, stderr := testkit.Run(t, shown)
		if status != 0 || !strings.Contains(text, id) {
			t.Fatalf("status %d: %s%s", status, text, stderr)
		}
		if !escapes.MatchString(text) {
			t.Errorf("no colours on a terminal: %q", text)
		}
		plain := escapes.ReplaceAllString(text, "")
		if strings.ContainsAny(plain, "\x1b\x07") || strings.Contains(text, "\x1b[31mred") {
			t.Errorf("a process wrote to the terminal: %q", text)
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(plain, "\r", ""), "\n") {
			if n := utf8.RuneCountInString(line); n > 60 {
				t.Errorf("%d columns of 60: %q", n, line)
			}
		}
	})
}

// A record stays for as long as a process of its run lives: it may be the only proof that
// the run is dead.
func TestReaperKeepsWhatTellsThatARunIsDead(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "guard")
		orphans := p.kill()
		// Only its arguments speak for it, and its parent lives: us.
		left := testkit.Start(t, exec.Command(testkit.NeedPython(t), "-c",
			"import signal\nprint('here\\n', end='', flush=True)\nsignal.pause()", "--run-id", p.runID))
		left.Stdout.Await("here")
		r := reap(t)
		r.expectEnded(t, orphans...)
		r.expect(t, "skipped", left.Ident)
		if len(records(t, root())) == 0 {
			t.Error("the record is gone: nothing tells any more that the run is dead")
		}
		if again := reap(t); again.of(p.runID, 0).State != "dead" {
			t.Errorf("the run is %s at the second scan", again.of(p.runID, 0).State)
		}
		left.Kill()
		left.Wait()
		if reap(t); len(records(t, root())) != 0 {
			t.Error("the record was not swept")
		}
	})
}
