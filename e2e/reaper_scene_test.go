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
			t.Errorf("expected some workers to end at the stop signal, and some to ignore it: %s", first.stdout)
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
		s.awaitWorker(want)
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

// Workers that ignore the stop signal are waited for once, together, and killed.
func TestReaperGraceIsOneForAll(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := root().pool(t, newRunID(), "trap '' TERM; "+plainWorker, "guard", "guard", "guard")
		orphans := p.kill()
		r := reap(t, "--grace", "300ms")
		for _, id := range orphans {
			if got := r.process(id.PID).Action; got != "killed" {
				t.Errorf("expected a process that ignores TERM to be killed, but its action is %q", got)
			}
		}
		if r.Killed != len(orphans) || r.Terminated != 0 || *r.DurationMS < 300 {
			t.Errorf("killed %d, terminated %d in %v ms", r.Killed, r.Terminated, *r.DurationMS)
		}
		testkit.AwaitGone(t, orphans...)
	})
}

// A stopped worker receives the stop signal too.
func TestReaperWakesStoppedOrphans(t *testing.T) {
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

// lose kills watchdogs of a pool, and not its parent.
func (p *pool) lose(numbers ...int) (orphans []testkit.Ident) {
	p.t.Helper()
	for _, n := range numbers {
		if err := p.watchdogs[n].Signal(unix.SIGKILL); err != nil {
			p.t.Fatal(err)
		}
		testkit.AwaitGone(p.t, p.watchdogs[n])
		orphans = append(orphans, p.workers[n], p.children[n])
	}
	testkit.StillAlive(p.t, orphans...)
	return orphans
}

// A worker that lost its watchdog while its parent lives is listed as unguarded, and ended
// by --unguarded only. Workers that have a watchdog are not.
func TestReaperAndUnguardedWorkers(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p, other := startPool(t, "guard", "guard", "unlabelled", "run"), startPool(t, "guard")
		lost, foreign := p.lose(0, 2), other.lose(0)
		kept := []testkit.Ident{p.workers[1], p.children[1], p.workers[3], p.children[3]}
		list := reapWith(t, reaper(t, "list", "--json"))
		list.expectState(t, p.runID, "alive")
		for _, id := range append(append(lost, foreign...), kept...) {
			want := id != kept[0] && id != kept[1] && id != kept[2] && id != kept[3]
			if got := list.process(id.PID); got.PID == 0 || got.Unguarded != want || got.Action != "none" {
				t.Errorf("%v: %+v", id, got)
			}
		}
		status, text, _ := testkit.Run(t, reaper(t, "list"))
		if status != 0 || !strings.Contains(text, "unguarded") {
			t.Errorf("status %d:\n%s", status, text)
		}
		status, text, _ = testkit.Run(t, reaper(t, "explain", itoa(lost[0].PID)))
		if status != 0 || !strings.Contains(text, "it is unguarded") || !strings.Contains(text, "would leave it alone") {
			t.Errorf("status %d:\n%s", status, text)
		}
		for _, args := range [][]string{{}, {"--unclaimed"}, {"--dry-run", "--unguarded"}} {
			r := reap(t, args...)
			if r.Terminated+r.Killed+r.Survived != 0 {
				t.Errorf("%q: %s", args, r.stdout)
			}
		}
		testkit.StillAlive(t, append(append(lost, foreign...), kept...)...)

		r := reap(t, "--unguarded", "--run-id", other.runID)
		r.expectEnded(t, foreign...)
		testkit.StillAlive(t, lost...)
		r = reap(t, "--unguarded")
		r.expectEnded(t, lost...)
		r.expectState(t, p.runID, "alive")
		r.expect(t, "none", kept...)
		testkit.StillAlive(t, kept...)
		testkit.StillAlive(t, p.watchdogs[1], p.watchdogs[3], p.parent.Ident)
	})
}

// One worker of a run is ended, with its tree, and no other.
func TestReaperOfOneWorker(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p, dead := startPool(t, "guard", "guard", "unlabelled"), startPool(t, "guard", "unlabelled")
		orphans := dead.kill()
		r := reap(t, "--run-id", p.runID, "--worker-id", "w9")
		if r.Terminated+r.Killed != 0 {
			t.Errorf("a worker that is not there: %s", r.stdout)
		}
		r = reap(t, "--run-id", p.runID, "--worker-id", "w1", "--worker-id", "w3")
		testkit.AwaitGone(t, p.workers[0], p.children[0], p.workers[2], p.children[2])
		r.expect(t, "none", p.workers[1], p.children[1])
		testkit.StillAlive(t, p.workers[1], p.children[1])
		testkit.StillAlive(t, p.watchdogs[1])
		testkit.StillAlive(t, orphans...)
		reap(t, "--run-id", dead.runID, "--worker-id", "w2").expectEnded(t, dead.workers[1], dead.children[1])
		testkit.StillAlive(t, dead.workers[0], dead.children[0])
	})
}

// ownLeaf makes a leaf beside our own cgroup as a watchdog of that PID would have.
func ownLeaf(t *testing.T, pid int, tick uint64) string {
	t.Helper()
	mounts := readFile(t, "/proc/self/mountinfo")
	own := readFile(t, "/proc/self/cgroup")
	base := ""
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " - cgroup2 ") {
			base = strings.Fields(line)[4]
		}
	}
	_, path, ok := strings.Cut("\n"+string(own), "\n0::")
	if base == "" || !ok {
		testkit.Skip(t, "this test needs cgroup v2")
	}
	path, _, _ = strings.Cut(path, "\n")
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, path, "leash-"+strings.Trim(link, "pid:[]")+"-"+itoa(pid)+"-"+itoa(int(tick)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		testkit.Skip(t, "this test needs to make cgroups: "+err.Error())
	}
	t.Cleanup(func() { os.Remove(dir) })
	return dir
}

// inLeaf starts a process without labels, in a session of its own, in a leaf.
func inLeaf(t *testing.T, dir string) testkit.Ident {
	t.Helper()
	p := testkit.Start(t, exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs" && exec env -i setsid -f sh -c 'echo PID $$; exec sleep 1000000'`, dir))
	return identOf(t, p.Stdout, "PID")
}

// A watchdog that was killed before it wrote its record leaves its cgroup: the
// processes in it are ended. Those in the cgroup of a living one are not.
func TestReaperAndTheLeafOfADeadWatchdog(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		gone := testkit.Start(t, exec.Command("true"))
		gone.Wait()
		testkit.AwaitGone(t, gone.Ident)
		living := sleeper(t)
		dead, alive := ownLeaf(t, gone.PID, gone.Start+1), ownLeaf(t, living.PID, living.Start+1)
		orphan, bystander := inLeaf(t, dead), inLeaf(t, alive)
		if r := reap(t, "--dry-run"); r.process(orphan.PID).Action != "would_terminate" || r.process(bystander.PID).PID != 0 {
			t.Errorf("%s", r.stdout)
		}
		r := reap(t)
		r.expectEnded(t, orphan)
		r.expectState(t, "", "dead")
		testkit.StillAlive(t, bystander)
		if _, err := os.Stat(dead); err == nil {
			t.Error("the leaf is still there")
		}
		if _, err := os.Stat(alive); err != nil {
			t.Error(err)
		}
		if err := bystander.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testkit.AwaitGone(t, bystander)
	})
}

// What a PID namespace left that has ended as a whole is removed.
func TestReaperSweepsAfterANamespace(t *testing.T) {
	if link, err := os.Readlink("/proc/self/ns/pid"); err != nil || link != "pid:[4026531836]" {
		testkit.Skip(t, "this test needs the first PID namespace")
	}
	testkit.NeedRoot(t)
	t.Setenv("LEASH_STATE_DIR", stateDir(t))
	b := startBox(t)
	before := records(t, root())
	if len(before) != 2 {
		t.Fatalf("records: %q", before)
	}
	// Only that run's records are read: the machine is not ours alone.
	if reap(t, "--run-id", b.runID); len(records(t, root())) != 2 {
		t.Error("a record of a living namespace was removed")
	}
	if err := b.init.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testkit.AwaitGone(t, append(b.members(), b.init)...)
	record := recordOf(t, root(), before[0])
	other := record // of a namespace of another boot's number, still there
	other.Boot, other.RunID = "b007", newRunID()
	other.Watchdog.Start++
	save(t, other)
	reap(t, "--run-id", b.runID)
	if left := records(t, root()); len(left) != 1 || left[0] != other.Name() {
		t.Errorf("records: %q", left)
	}
}
