//go:build linux

package scenes

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"leash/internal/testkit"
)

func TestParentOfRunIsKilled(t *testing.T) {
	h := newStage(t)
	bystander := h.bystander()
	parent := testkit.Start(t, h.command(part("parent", h.run(nil, part("tree", "wiped")...)...)...))
	ids := members(t, parent.Stdout)
	containment(t, parent.Stderr, "subreaper", "group")
	testkit.StillAlive(t, ids...)
	since := time.Now()
	parent.Kill()
	gone(t, since, ids...)
	stopped := parent.Stderr.AwaitEvent("watchdog.stopped")
	if stopped.Str("outcome") != "parent_died" {
		t.Errorf("%v", stopped)
	}
	parent.Stderr.AwaitEnd() // the watchdog has ended too
	testkit.StillAlive(t, bystander)
}

func TestParentOfGuardIsKilled(t *testing.T) {
	h := newStage(t)
	bystander := h.bystander()
	parent := testkit.Start(t, h.command(part("stay", "parent")...))
	parent.Stdout.Await("parent ")
	cmd := h.command(part("tree")...)
	cmd.Env = append(cmd.Env, "LEASH_RUN_ID="+h.runID, "LEASH_WORKER_ID=w1")
	worker := testkit.Start(t, cmd)
	ids := members(t, worker.Stdout)
	guard := testkit.Start(t, h.command(testkit.Watchdog(t), "guard", "--grace", grace, "--worker-id", "w1",
		"--worker-pid", strconv.Itoa(worker.PID), "--parent-pid", strconv.Itoa(parent.PID)))
	if got := guard.Stderr.AwaitEvent("watchdog.started").Str("containment"); got != "group,descendants,environment" {
		t.Errorf("containment %q", got)
	}
	testkit.StillAlive(t, ids...)
	since := time.Now()
	parent.Kill()
	gone(t, since, ids...)
	if status := guard.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.StillAlive(t, bystander)
}

func TestStatusOfTheWorker(t *testing.T) {
	h := newStage(t)
	for _, want := range []int{0, 1, 77, 255} {
		if status, _, stderr := testkit.Run(t, h.command(h.run(nil, part("exit", strconv.Itoa(want))...)...)); status != want {
			t.Errorf("status %d, want %d\n%s", status, want, stderr)
		}
	}
}

func TestTermStops(t *testing.T) {
	h := newStage(t)
	run := testkit.Start(t, h.command(h.run(nil, part("tree", "wiped")...)...))
	ids := members(t, run.Stdout)
	containment(t, run.Stderr, "subreaper", "group")
	since := time.Now()
	run.Signal(syscall.SIGTERM)
	gone(t, since, ids...)
	if status := run.Wait(); status != 128+int(syscall.SIGTERM) {
		t.Errorf("status %d", status)
	}
	if done := run.Stderr.AwaitEvent("process.cleanup_completed"); done["success"] != true || done.Int("survivors") != 0 {
		t.Errorf("%v", done)
	}
	if entries, err := os.ReadDir(h.state); err != nil || len(entries) != 0 {
		t.Errorf("records are left: %v, %v", entries, err)
	}
}

// Whatever the worker did, it is in the cgroup, and the cgroup goes with it.
func TestCgroup(t *testing.T) {
	h := newStage(t)
	run := testkit.Start(t, h.command(h.run(nil, part("tree", "wiped")...)...))
	ids := members(t, run.Stdout)
	started := run.Stderr.AwaitEvent("watchdog.started")
	inCgroup := strings.HasPrefix(started.Str("containment"), "cgroup,")
	if known := os.Getenv(cgroupVar); known != "" && inCgroup != (known == "yes") {
		t.Errorf("%v, but can it make cgroups? %s", started, known)
	}
	leaf := ""
	for _, id := range ids {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(id.PID) + "/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		_, at, _ := strings.Cut("\n"+string(b), "\n0::")
		at, _, _ = strings.Cut(at, "\n")
		if leaf == "" {
			leaf = at
		}
		if at != leaf || strings.Contains(at, "/leash-") != inCgroup {
			t.Errorf("process %d is in %q, the first one in %q", id.PID, at, leaf)
		}
	}
	since := time.Now()
	run.Signal(syscall.SIGTERM)
	gone(t, since, ids...)
	run.Wait()
	if _, err := os.Stat("/sys/fs/cgroup" + leaf); inCgroup && err == nil {
		t.Errorf("%s is left", leaf)
	}
}

func TestHungWorker(t *testing.T) {
	h := newStage(t)
	run := testkit.Start(t, h.command(h.run([]string{"--heartbeat", "notify", "--heartbeat-interval", "200ms",
		"--heartbeat-timeout", "2s", "--max-missed", "5"}, part("beats")...)...))
	ids := []testkit.Ident{ident(t, run.Stdout, "deaf-child"), ident(t, run.Stdout, "worker")}
	run.Stderr.AwaitEvent("process.ready")
	run.Stderr.AwaitEvent("heartbeat.timeout")
	if status := run.Wait(); status != 124 {
		t.Errorf("status %d", status)
	}
	if stopped := run.Stderr.AwaitEvent("watchdog.stopped"); stopped.Str("outcome") != "heartbeat_timeout" {
		t.Errorf("%v", stopped)
	}
	testkit.AwaitGone(t, ids...)
}

// The records may be lost: then the processes' own labels are enough.
func TestReaperEndsADeadRun(t *testing.T) {
	for _, records := range []string{"with records", "without records"} {
		t.Run(records, func(t *testing.T) {
			h := newStage(t)
			bystander := h.bystander()
			living := newStage(t) // another run, in the same place
			living.state = h.state
			other := testkit.Start(t, living.command(living.run(nil, part("tree", "wiped")...)...))
			others := members(t, other.Stdout)
			other.Stderr.AwaitEvent("watchdog.started")

			parent := testkit.Start(t, h.command(part("parent", h.run(withoutSentinel(t), part("tree")...)...)...))
			ids := members(t, parent.Stdout)
			parent.Stderr.AwaitEvent("watchdog.started")
			watchdog := testkit.Identify(t, parentOf(t, ids[len(ids)-1].PID))
			// Stopped, so that it cannot do its work first.
			if err := watchdog.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			parent.Kill()
			parent.Wait()
			if err := watchdog.Kill(); err != nil {
				t.Fatal(err)
			}
			testkit.AwaitGone(t, watchdog)
			if records == "without records" {
				if err := os.RemoveAll(h.state); err != nil {
					t.Fatal(err)
				}
			}
			r := h.reap()
			testkit.AwaitGone(t, ids...)
			testkit.StillAlive(t, append(others, bystander, other.Ident)...)
			if r.Terminated+r.Killed == 0 || r.Survived != 0 {
				t.Errorf("%+v", r)
			}
			if again := h.reap(); again.Terminated+again.Killed+again.Survived != 0 {
				t.Errorf("the second time: %+v", again)
			}
			testkit.StillAlive(t, append(others, bystander, other.Ident)...)
		})
	}
}

type report struct{ Terminated, Killed, Survived, Skipped int }

func (h *stage) reap() (r report) {
	h.t.Helper()
	args := []string{testkit.Reaper(h.t), "reap", "--grace", grace, "--json"}
	if os.Getenv(aloneVar) != "1" {
		args = append(args, "--run-id", h.runID)
	}
	status, stdout, stderr := testkit.Run(h.t, h.command(args...))
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || status != 0 {
		h.t.Fatalf("status %d, %v\n%s\n%s", status, err, stdout, stderr)
	}
	return r
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\nPPid:")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// guarded is a worker with every kind of child, without any environment, below a
// watchdog and its sentinel.
type guarded struct {
	run *testkit.Proc
	ids []testkit.Ident
}

func newGuarded(t *testing.T) guarded {
	t.Helper()
	h := newStage(t)
	run := testkit.Start(t, h.command(h.run(nil, part("tree", "wiped")...)...))
	g := guarded{run: run, ids: members(t, run.Stdout)}
	run.Stderr.AwaitEvent("watchdog.started")
	return g
}

func (g guarded) worker() testkit.Ident { return g.ids[len(g.ids)-1] }

// sentinels are the children of the watchdog that run the same program.
func (g guarded) sentinels(t *testing.T) (found []testkit.Ident) {
	t.Helper()
	mine, err := os.Stat("/proc/" + strconv.Itoa(g.run.PID) + "/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range testkit.Descendants(t, g.run.PID) {
		exe, err := os.Stat("/proc/" + strconv.Itoa(id.PID) + "/exe")
		if err == nil && os.SameFile(mine, exe) {
			testkit.Adopt(t, id)
			found = append(found, id)
		}
	}
	return found
}

func (g guarded) sentinel(t *testing.T) testkit.Ident {
	t.Helper()
	all := g.sentinels(t)
	if len(all) != 1 {
		t.Fatalf("%d processes below the watchdog run its program, want 1: %v", len(all), all)
	}
	return all[0]
}

func kill(t *testing.T, id testkit.Ident) time.Time {
	t.Helper()
	since := time.Now()
	if err := id.Kill(); err != nil {
		t.Fatal(err)
	}
	return since
}

func TestWatchdogIsKilled(t *testing.T) {
	g := newGuarded(t)
	sentinel := g.sentinel(t)
	gone(t, kill(t, g.run.Ident), append(g.ids, sentinel)...)
}

// To its group and its session: what ends the watchdog must not reach the sentinel too.
func TestGroupOfTheWatchdogIsKilled(t *testing.T) {
	g := newGuarded(t)
	sentinel := g.sentinel(t)
	since := time.Now()
	if err := syscall.Kill(-g.run.PID, syscall.SIGKILL); err != nil { // ours: the test has not waited for it
		t.Fatal(err)
	}
	gone(t, since, append(g.ids, sentinel)...)
}

// The tree ends, or it is as protected as before.
func TestSentinelIsKilled(t *testing.T) {
	g := newGuarded(t)
	old := g.sentinel(t)
	since := kill(t, old)
	for end := time.Now().Add(testkit.Patience); ; {
		if !g.worker().Alive() {
			gone(t, since, g.ids...)
			if status := g.run.Wait(); status != 125 {
				t.Errorf("the tree had to end, and the status is %d, not 125", status)
			}
			return
		}
		if now := g.sentinels(t); len(now) == 1 && now[0] != old {
			t.Logf("the sentinel was replaced after %v", time.Since(since).Round(time.Millisecond))
			testkit.StillAlive(t, g.run.Ident)
			gone(t, kill(t, g.run.Ident), append(g.ids, now[0])...)
			return
		}
		if time.Now().After(end) {
			t.Fatal("after the death of the sentinel nothing has happened")
		}
		select { // no event reports a new sentinel
		case <-g.run.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestWorkerIsKilled(t *testing.T) {
	g := newGuarded(t)
	sentinel := g.sentinel(t)
	gone(t, kill(t, g.worker()), append(g.ids, sentinel)...)
	if status := g.run.Wait(); status != 128+int(syscall.SIGKILL) {
		t.Errorf("status %d", status)
	}
}

// No process but the one that the user started names the worker: a kill by
// name would hit it.
func TestSentinelDoesNotNameTheWorker(t *testing.T) {
	g := newGuarded(t)
	args, err := os.ReadFile("/proc/" + strconv.Itoa(g.sentinel(t).PID) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{self(), "tree", "wiped", "w1"} {
		if strings.Contains(string(args), word) {
			t.Errorf("%q is among the arguments of the sentinel: %q", word, args)
		}
	}
	g.run.Signal(syscall.SIGTERM)
	testkit.AwaitGone(t, g.ids...)
	g.run.Wait()
}

func TestWithoutSentinelThereIsNone(t *testing.T) {
	h := newStage(t)
	run := testkit.Start(t, h.command(h.run([]string{"--sentinel", "off"}, part("tree", "wiped")...)...))
	g := guarded{run: run, ids: members(t, run.Stdout)}
	if all := g.sentinels(t); len(all) != 0 {
		t.Errorf("%v", all)
	}
	testkit.AwaitGone(t, func() testkit.Ident { kill(t, run.Ident); return g.worker() }())
}
