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
	h := newHouse(t)
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
	h := newHouse(t)
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
	h := newHouse(t)
	for _, want := range []int{0, 1, 77, 255} {
		if status, _, stderr := testkit.Run(t, h.command(h.run(nil, part("exit", strconv.Itoa(want))...)...)); status != want {
			t.Errorf("status %d, want %d\n%s", status, want, stderr)
		}
	}
}

func TestTermStops(t *testing.T) {
	h := newHouse(t)
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
	h := newHouse(t)
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
	h := newHouse(t)
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

// The records may be lost: then what the processes say of themselves is enough.
func TestReaperEndsADeadRun(t *testing.T) {
	for _, records := range []string{"with records", "without records"} {
		t.Run(records, func(t *testing.T) {
			h := newHouse(t)
			bystander := h.bystander()
			living := newHouse(t) // another run, in the same place
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

func (h *house) reap() (r report) {
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
