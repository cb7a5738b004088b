//go:build linux

package e2e

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// Who cannot be ended is named, not waited for, and gives status 1. The others
// go all the same.
func TestReaperAndTheUnkillable(t *testing.T) {
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

// A zombie is dead: as an owner, and as a member that nobody has reaped.
func TestReaperAndZombies(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		id := newRunID()
		// Nobody reaps the children of a sleep.
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

// Where the first thread of an owner has ended while others run, he shows as a
// zombie, and lives.
func TestReaperAndAnOwnerWithoutItsFirstThread(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		python := testkit.NeedPython(t)
		owner := testkit.Start(t, exec.Command(python, "-c", `
import ctypes, os, platform, threading
first = os.getpid()
def run():
    while True:
        with open(f"/proc/self/task/{first}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                break
    print("alone\n", end="", flush=True)
    threading.Event().wait()
threading.Thread(target=run, daemon=True).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # exit of this thread alone
`))
		owner.Stdout.Await("alone")
		if state(t, owner.PID) != "Z" {
			t.Fatal("the owner should look like a zombie")
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
// boot is certainly gone.
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
