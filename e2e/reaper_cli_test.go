//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"leash/internal/proc"
	"leash/internal/testkit"
)

func TestReaperDryRun(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p, living := startPool(t, "guard", "run"), startPool(t, "guard")
		orphans := p.kill()
		before := records(t, root())
		for range 2 {
			r := reap(t, "--dry-run")
			r.expectState(t, p.runID, "dead")
			r.expect(t, "would_terminate", orphans...)
			r.expect(t, "none", living.members()...)
			testkit.StillAlive(t, orphans...)
			if r.Terminated+r.Killed+r.Survived != 0 {
				t.Errorf("a dry run ended something: %s", r.stdout)
			}
		}
		if got := records(t, root()); !slices.Equal(got, before) {
			t.Errorf("a dry run changed the ledger: %q, before %q", got, before)
		}
		status, _, stderr := testkit.Run(t, reaper(t, "--dry-run")) // for people
		if status != 0 || !allAlive(orphans) {
			t.Errorf("status %d\n%s", status, stderr)
		}
		reap(t).expectEnded(t, orphans...)
		testkit.StillAlive(t, living.members()...)
	})
}

func allAlive(ids []testkit.Ident) bool {
	return !slices.ContainsFunc(ids, func(id testkit.Ident) bool { return !id.Alive() })
}

// A run without a known owner is listed and left alone, until the caller requests
// otherwise.
func TestReaperAndUnclaimedRuns(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		id, other := newRunID(), newRunID()
		a, b := root().labelled(t, "LEASH_RUN_ID="+id), root().labelled(t, "SNAKEPIT_RUN_ID="+other)
		owner := sleeper(t)
		kept := root().labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+ownerOf(t, owner.Ident))
		strange := newRunID()
		garbled := root().labelled(t, "LEASH_RUN_ID="+strange, "LEASH_RUN_OWNER=1:2:3")

		r := reap(t)
		r.expectState(t, id, "unclaimed")
		r.expectState(t, other, "unclaimed")
		r.expectState(t, strange, "unclaimed")
		r.expect(t, "none", a.Ident, b.Ident, kept.Ident, garbled.Ident)
		for _, run := range r.Runs {
			if run.State == "unclaimed" && run.Owner != nil {
				t.Errorf("an owner of an unclaimed run: %+v", run)
			}
			if run.State == "alive" && (run.Owner == nil || run.Owner.PID != owner.PID || !run.Owner.Alive) {
				t.Errorf("the owner of a run that is alive: %+v", run)
			}
		}
		testkit.StillAlive(t, a.Ident, b.Ident, kept.Ident, garbled.Ident)

		r = reap(t, "--run-id", other)
		if len(r.Runs) != 1 {
			t.Errorf("only the named run should be in the report: %s", r.stdout)
		}
		r.expectEnded(t, b.Ident)
		testkit.StillAlive(t, a.Ident)

		reap(t, "--unclaimed").expectEnded(t, a.Ident, garbled.Ident)
		testkit.StillAlive(t, kept.Ident)
	})
}

// A run that is named is ended whatever its state. The other runs are not
// touched, dead or not.
func TestReaperOfANamedRun(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		named, living, dead := startPool(t, "guard", "run"), startPool(t, "guard"), startPool(t, "guard")
		orphans := dead.kill()
		r := reap(t, "--run-id="+named.runID)
		r.expectState(t, named.runID, "alive")
		testkit.AwaitGone(t, named.members()...)
		testkit.StillAlive(t, living.members()...)
		testkit.StillAlive(t, orphans...)
		testkit.AwaitGone(t, named.watchdogs...)
		if status := named.parent.Wait(); status != 0 { // it waits for its watchdogs
			t.Errorf("the parent ended with status %d", status)
		}
		reap(t, "--run-id", dead.runID, "--run-id", newRunID()).expectEnded(t, orphans...)
		testkit.StillAlive(t, living.members()...)
	})
}

// badCall expects one line on standard error, and status 125.
func badCall(t *testing.T, cmd *exec.Cmd, says string) {
	t.Helper()
	status, stdout, stderr := testkit.Run(t, cmd)
	lines := strings.Count(stderr, "\n") + 1
	if status != 125 || lines != 1 || !strings.HasPrefix(stderr, "reaper: ") || !strings.Contains(stderr, says) || stdout != "" {
		t.Errorf("%q: status %d, %d lines %q, stdout %q; want 125 and one line with %q",
			cmd.Args, status, lines, stderr, stdout, says)
	}
}

// Without /proc nothing can be known of any process.
func TestReaperWithoutProc(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		orphans := startPool(t, "guard", "run").kill()
		for _, args := range [][]string{{}, {"list"}, {"--dry-run"}, {"--json"}} {
			// A file system on top of /proc, in a mount namespace of its own.
			script := `mount -t tmpfs none /proc && exec "$@"`
			cmd := append([]string{"--mount", "sh", "-c", script, "sh", testkit.Reaper(t)}, args...)
			badCall(t, root().as(exec.Command("unshare", cmd...)), "/proc")
		}
		testkit.StillAlive(t, orphans...)
		reap(t).expectEnded(t, orphans...)
	})
}

// The list is for people, or one object of JSON. It has no colours where no
// terminal is, and it ends nothing.
func TestReaperList(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		dead, living := startPool(t, "guard", "run"), startPool(t, "guard", "run")
		orphans := dead.kill()
		unclaimed := root().labelled(t, "LEASH_RUN_ID="+newRunID())

		status, text, stderr := testkit.Run(t, reaper(t, "list"))
		if status != 0 || strings.Contains(text+stderr, "\x1b") {
			t.Errorf("status %d, and no colours: %q %q", status, text, stderr)
		}
		want := []string{dead.runID, living.runID, "dead", "alive", "unclaimed", itoa(unclaimed.PID), "sleep 1000001"}
		for _, id := range slices.Concat(orphans, living.members()) {
			want = append(want, itoa(id.PID))
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %s in the list:\n%s", w, text)
			}
		}

		r := reapWith(t, reaper(t, "list", "--json"))
		r.expectState(t, dead.runID, "dead")
		r.expectState(t, living.runID, "alive")
		r.expect(t, "none", slices.Concat(orphans, living.members())...)
		if p := r.process(living.workers[0].PID); p.PPID != living.parent.PID || !slices.Equal(p.Argv, []string{"sleep", "1000001"}) {
			t.Errorf("worker: %+v", p)
		}
		if json.Valid([]byte(text)) {
			t.Error("the list for people is JSON")
		}
		testkit.StillAlive(t, slices.Concat(orphans, living.members())...)
		testkit.StillAlive(t, unclaimed.Ident)
	})
}

// Explain says for one process what would become of it.
func TestReaperExplain(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p, living := startPool(t, "guard"), startPool(t, "guard")
		orphans := p.kill()
		stranger := testkit.Start(t, exec.Command("sleep", "1000000"))
		for _, c := range []struct {
			id   testkit.Ident
			want []string
		}{
			{orphans[0], []string{p.runID, "dead"}},
			{living.workers[0], []string{living.runID, "alive"}},
			{stranger.Ident, []string{itoa(stranger.PID)}},
		} {
			for _, args := range [][]string{{"explain", itoa(c.id.PID)}, {"explain", itoa(c.id.PID), "--json"}} {
				status, stdout, stderr := testkit.Run(t, reaper(t, args...))
				for _, want := range c.want {
					if status != 0 || !strings.Contains(stdout, want) || strings.Contains(stdout, "\x1b") {
						t.Errorf("%q: status %d, no %q in %q, %q", args, status, want, stdout, stderr)
					}
				}
				if len(args) == 3 && !json.Valid([]byte(stdout)) {
					t.Errorf("no JSON: %s", stdout)
				}
			}
		}
		testkit.StillAlive(t, orphans...)
	})
}

// A list that is not read to its end stops no reaper from reaping.
func TestReaperWithoutAReader(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		orphans := startPool(t, "guard", "run").kill()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		cmd := reaper(t)
		cmd.Stdout, cmd.Stderr = w, w
		p := testkit.Start(t, cmd)
		w.Close()
		p.Wait()
		testkit.AwaitGone(t, orphans...)
	})
}

// A state directory that others may write in, or that is none, is told, and all
// other evidence counts. One that does not exist holds no records.
func TestReaperAndTheStateDirectory(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		orphans := startPool(t, "run").kill()
		base := t.TempDir()
		at := func(name string) string { return filepath.Join(base, name) }
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"open", "group", "readable", "foreign", "good"} {
			check(os.Mkdir(at(name), 0o700))
		}
		check(os.Chmod(at("open"), 0o777))
		check(os.Chmod(at("group"), 0o770))
		check(os.Chmod(at("readable"), 0o755))
		check(os.Chown(at("foreign"), alice, alice))
		check(os.Symlink(at("good"), at("link")))
		check(os.Symlink(at("nothing"), at("dangling")))
		check(os.WriteFile(at("file"), []byte("x"), 0o600))
		in := func(name string, args ...string) *exec.Cmd {
			cmd := reaper(t, args...)
			cmd.Env = append(cmd.Env, "LEASH_STATE_DIR="+at(name))
			return cmd
		}
		for _, name := range []string{"open", "group", "link", "dangling", "file", "file/below"} {
			r := reapWith(t, in(name, "--dry-run", "--json"))
			r.expect(t, "would_terminate", orphans...)
			for _, args := range [][]string{{"list"}, {"--run-id", newRunID()}, {"explain", itoa(orphans[0].PID)}} {
				status, _, stderr := testkit.Run(t, in(name, args...))
				if status != 0 || strings.Count(stderr, "reaper.warning") != 1 || !strings.Contains(stderr, at(name)) {
					t.Errorf("%s %q: status %d, %s", name, args, status, stderr)
				}
			}
		}
		for _, name := range []string{"readable", "foreign", "good", "new/one"} {
			r := reapWith(t, in(name, "--dry-run", "--json"))
			r.expect(t, "would_terminate", orphans...)
			if strings.Contains(r.stderr, "reaper.warning") {
				t.Errorf("%s: %s", name, r.stderr)
			}
		}
		testkit.StillAlive(t, orphans...)
		reapWith(t, in("open", "--json")).expectEnded(t, orphans...)
	})
}

// Root reads the folder of another user that it is given, for that user's
// processes alone.
func TestReaperOfRootInAnotherUsersFolder(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		a := ordinary(t, alice)
		alices := a.pool(t, newRunID(), plainWorker, "unlabelled")
		orphans := alices.kill()
		// A record of alice's claims that root's process is of a dead run.
		victim := testkit.Start(t, exec.Command("sleep", "1000000"))
		name := records(t, a)[0]
		record := recordOf(t, a, name)
		record.Worker = proc.ID{PID: victim.PID, Start: victim.Start}
		record.Group, record.Session = victim.PID, victim.PID
		record.Watchdog.Start++
		if err := os.WriteFile(filepath.Join(a.state, record.Name()), record.Append(nil), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := reaper(t, "--json")
		cmd.Env = append(cmd.Env, "LEASH_STATE_DIR="+a.state)
		r := reapWith(t, cmd) // the file is root's, in alice's folder
		if !strings.Contains(r.stderr, "another user") {
			t.Errorf("no warning: %s", r.stderr)
		}
		r.expectEnded(t, orphans...)
		if err := os.Chown(filepath.Join(a.state, record.Name()), alice, alice); err != nil {
			t.Fatal(err)
		}
		cmd = reaper(t, "--json")
		cmd.Env = append(cmd.Env, "LEASH_STATE_DIR="+a.state)
		reapWith(t, cmd)
		testkit.StillAlive(t, victim.Ident)
	})
}

// A reaper that could not scan does not say that there was nothing to end.
func TestReaperThatCannotScan(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		torn := 0
		for most := 10; most <= 40; most++ { // how many are taken already depends on what started the test
			limited := reaper(t)
			cmd := exec.Command("sh", "-c", "ulimit -n "+strconv.Itoa(most)+` && exec "$0" "$@"`, limited.Path)
			cmd.Env = limited.Env
			status, stdout, stderr := testkit.Run(t, cmd)
			switch {
			case status == 2 && strings.HasPrefix(stderr, "runtime: "): // Go's runtime itself cannot start
			case status == 0 && strings.Contains(stdout, "nothing to end"):
			case status == 125 && strings.Contains(stderr, "too many open files"):
				torn++
				if stdout != "" {
					t.Errorf("with %d descriptors: %q, and %q", most, stderr, stdout)
				}
			default:
				t.Errorf("with %d descriptors: status %d, %q, %q", most, status, stdout, stderr)
			}
		}
		if torn == 0 {
			t.Error("expected at least one scan to fail, but none did: this tests nothing")
		}
	})
}
