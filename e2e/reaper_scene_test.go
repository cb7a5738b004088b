//go:build linux

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// A node is killed together with all its watchdogs. The next node calls the
// reaper first and starts with a clean table; its own workers are not touched
// by any later reaper, not even while they are just starting.
func TestReaperBeforeTheNextBEAM(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		old := start(t, beam(t), mixed(20))
		old.killWithWatchdogs()

		next := &scene{t: t, runID: newRunID()}
		stdin, first := next.startAfterReaper(mixed(20))
		t.Cleanup(next.endRun)
		first.expectState(t, old.runID, "dead")
		if first.Terminated == 0 || first.Killed == 0 || first.Survived != 0 {
			t.Errorf("some workers listen to the polite signal, and some are deaf: %s", first.stdout)
		}
		old.awaitNothing()

		stop := reapMeanwhile(t)
		tell(t, stdin, "start")
		next.awaitWorkers(mixed(20))
		reports := stop()
		reports = append(reports, reap(t))
		t.Logf("%d reapers while the workers started", len(reports)-1)
		for _, r := range reports {
			next.untouchedIn(r)
		}
		next.staysUp()
		testkit.StillAlive(t, next.all...)
	})
}

// killWithWatchdogs leaves the guarded workers as orphans, but none of those of run. They live and
// answer: so it is the reaper that ends them later.
func (s *scene) killWithWatchdogs() {
	s.t.Helper()
	var watchdogs []testkit.Ident
	for _, w := range s.workers {
		watchdogs = append(watchdogs, w.pids["watchdog"])
	}
	killTogether(s.t, append(watchdogs, s.beam)...)
	for _, w := range s.workers {
		for role, id := range w.pids {
			switch {
			case role == "watchdog":
			case w.mode == "run": // the sentinel ends the whole tree
				testkit.AwaitGone(s.t, id)
			default:
				testkit.StillAlive(s.t, id)
			}
		}
		if w.mode == "guard" {
			if got, err := echo(w.port, w.id); err != nil || got != w.id {
				s.t.Fatalf("orphan %s gives %q, %v", w.id, got, err)
			}
		}
	}
}

// startAfterReaper starts a node that first runs the reaper, and then waits
// for a line before it starts its workers.
func (s *scene) startAfterReaper(specs []spec) (stdin interface{ Write([]byte) (int, error) }, first report) {
	s.t.Helper()
	testkit.Need(s.t, "elixir", "erl")
	python := testkit.NeedPython(s.t, "grpc")
	file := filepath.Join(s.t.TempDir(), "report")
	cmd := exec.Command("elixir", peer(s.t, "beam_reaper.exs"), testkit.Reaper(s.t), file,
		testkit.Watchdog(s.t), python, peer(s.t, "grpc_worker.py"), s.runID)
	for _, spec := range specs {
		cmd.Args = append(cmd.Args, spec.String())
	}
	cmd.Env = append(os.Environ(), "LEASH_LOG_FORMAT=json", "LEASH_GRACE=1s", "ERL_CRASH_DUMP_SECONDS=0")
	stdin = input(s.t, cmd)
	s.parent = testkit.Start(s.t, cmd)
	if status := s.parent.Stdout.Await("REAPED "); status != "0" {
		s.t.Fatalf("status %s of the reaper\n%s", status, s.parent.Stderr.All())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	first = parseReport(s.t, string(text))
	first.stdout = string(text)
	return stdin, first
}

// awaitWorkers waits until all workers answer.
func (s *scene) awaitWorkers(specs []spec) {
	s.t.Helper()
	s.beam = s.identify(s.parent.Stdout.Await("PARENT "))
	for _, want := range specs {
		s.await(want)
	}
	s.awaitWatchdogs()
	s.collect()
	for _, w := range s.workers {
		if got, err := echo(w.port, w.id); err != nil || got != w.id {
			s.t.Fatalf("call of worker %s gives %q, %v", w.id, got, err)
		}
	}
}

// untouchedIn fails the test if a report says that anything was done to the
// scene, or was worth a thought.
func (s *scene) untouchedIn(r report) {
	s.t.Helper()
	for _, run := range r.Runs {
		for _, p := range run.Processes {
			if run.RunID == s.runID && (p.Action != "none" || run.State == "dead") {
				s.t.Errorf("run %s is %s, and the reaper did: %+v", run.RunID, run.State, p)
			}
		}
	}
}

// reapMeanwhile runs one reaper after another until it is told to stop, and two at
// least.
func reapMeanwhile(t *testing.T) (stop func() []report) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	path := testkit.Reaper(t)
	var outputs []string
	var failed error
	var done sync.WaitGroup
	done.Go(func() {
		for (ctx.Err() == nil || len(outputs) < 2) && failed == nil {
			var stdout []byte
			cmd := root().as(exec.Command(path, "--json"))
			if stdout, failed = cmd.Output(); failed == nil {
				outputs = append(outputs, string(stdout))
			}
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return func() (reports []report) {
		t.Helper()
		cancel()
		done.Wait()
		if failed != nil {
			t.Errorf("a reaper beside workers that start: %v", failed)
		}
		for _, text := range outputs {
			reports = append(reports, parseReport(t, text))
		}
		return reports
	}
}

// Two nodes side by side: one is killed together with its watchdogs, and the
// reaper ends what is left of its run alone.
func TestReaperBesideALivingBEAM(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		dead := start(t, beam(t), mixed(20))
		alive := start(t, beam(t), mixed(20))
		dead.killWithWatchdogs()
		r := reap(t)
		r.expectState(t, dead.runID, "dead")
		r.expectState(t, alive.runID, "alive")
		dead.awaitNothing()
		alive.untouchedIn(r)
		alive.staysUp()
		testkit.StillAlive(t, alive.all...)
		if len(r.of(alive.runID, 0).Processes) < 20 {
			t.Errorf("the living run is in the report too: %s", r.stdout)
		}
	})
}

// What the reaper logs while it ends a run.
func TestReaperEvents(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "guard")
		orphans := p.kill()
		r := reap(t)
		r.expectEnded(t, orphans...)
		count := map[string]int{}
		for _, ev := range r.events() {
			count[ev.Name()]++
		}
		for name, want := range map[string]int{
			"reaper.started": 1, "reaper.run_found": 1, "reaper.process_ended": 2, "reaper.completed": 1,
		} {
			if count[name] != want {
				t.Errorf("%d events %s, want %d:\n%s", count[name], name, want, r.stderr)
			}
		}
		if !strings.Contains(r.stderr, p.runID) {
			t.Errorf("no event names the run:\n%s", r.stderr)
		}
		if left := records(t, root()); len(left) != 0 {
			t.Errorf("records of what is gone: %q", left)
		}
	})
}

// deaf workers are asked, waited for once, and killed.
func TestReaperGraceIsOneForAll(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := root().pool(t, newRunID(), "trap '' TERM; "+plainWorker, "guard", "guard", "guard")
		orphans := p.kill()
		r := reap(t, "--grace", "300ms")
		for _, id := range orphans {
			if got := r.process(id.PID).Action; got != "killed" {
				t.Errorf("action %q for a deaf process, want killed", got)
			}
		}
		if r.Killed != len(orphans) || r.Terminated != 0 || *r.DurationMS < 300 {
			t.Errorf("killed %d, terminated %d in %v ms", r.Killed, r.Terminated, *r.DurationMS)
		}
		testkit.AwaitGone(t, orphans...)
	})
}

// A stopped worker hears the polite signal too.
func TestReaperWakesWhoIsStopped(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "guard")
		orphans := p.kill()
		for _, id := range orphans {
			if err := id.Signal(unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			awaitState(t, id.PID, "T")
		}
		r := reap(t, "--grace", "50s")
		r.expectEnded(t, orphans...)
		if r.Terminated != len(orphans) {
			t.Errorf("%d of %d ended by the polite signal", r.Terminated, len(orphans))
		}
	})
}
