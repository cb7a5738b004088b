//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// restarting is a command line of run around a shell script.
func restarting(t *testing.T, script string, flags ...string) *testkit.Proc {
	t.Helper()
	line := slices.Concat([]string{"run", "--grace", "200ms"}, flags, []string{"--", "sh", "-c", script})
	return testkit.Start(t, watchdog(t, line...))
}

// generations checks how many workers there were: one record for the start and
// the clean end of each, in turn, and one for the end of all.
func generations(t *testing.T, lines *testkit.Lines, want int, outcome string) {
	t.Helper()
	lines.AwaitEnd()
	var order, pids []string
	for _, e := range lines.Events() {
		switch e.Name() {
		case "process.started", "process.terminated", "process.cleanup_completed", "process.restarting", "watchdog.stopped":
			order = append(order, strings.TrimPrefix(e.Name(), "process."))
		}
		if e.Name() == "process.started" {
			pids = append(pids, itoa(e.Int("process.pid")))
		}
		if e.Name() == "process.cleanup_completed" && (e["success"] != true || !slices.Contains(pids, itoa(e.Int("process.pid")))) {
			t.Errorf("cleanup: %v", e)
		}
	}
	var expected []string
	for range want {
		expected = append(expected, "started", "terminated", "cleanup_completed", "restarting")
	}
	expected = append(expected[:len(expected)-1], "watchdog.stopped")
	if !slices.Equal(order, expected) {
		t.Errorf("%d generations are\n%q, not\n%q", want, order, expected)
	}
	slices.Sort(pids)
	if n := len(slices.Compact(pids)); n != want {
		t.Errorf("%d different workers, want %d", n, want)
	}
	if e := lines.AwaitEvent("watchdog.stopped"); e.Str("outcome") != outcome {
		t.Errorf("outcome is not %s: %v", outcome, e)
	}
}

// delays checks that each wait is about twice the one before, and was kept by the
// worker's own clock: its times are those at which it ran.
func delays(t *testing.T, lines *testkit.Lines, times []int) {
	t.Helper()
	base := 500
	for i, e := range named(lines, "process.restarting") {
		// Some jitter, but never so much that two waits could be mistaken.
		d := e.Int("delay_ms")
		if d < base || d > base*3/2 {
			t.Errorf("wait of %d ms, about %d were to come", d, base)
		}
		if e.Int("attempt") != i+1 {
			t.Errorf("attempt %d: %v", i+1, e)
		}
		if i+1 >= len(times) || times[i+1]-times[i] < d*9/10 {
			t.Errorf("wait %d of %d ms was not kept: the worker ran at %v", i+1, d, times)
		}
		base = min(2*base, 30_000)
	}
}

func TestFailingWorkerIsStartedAgainSomeTimes(t *testing.T) {
	t.Parallel()
	w := restarting(t, "date +'ran %s%3N'; exit 3", "--restart", "on-failure", "--max-restarts", "2")
	if status := w.Wait(); status != 3 {
		t.Errorf("status %d", status)
	}
	generations(t, w.Stderr, 3, "worker_exited")
	w.Stdout.AwaitEnd()
	times := told(w.Stdout, "ran")
	delays(t, w.Stderr, times)
	if len(times) != 3 {
		t.Errorf("output %q", w.Stdout.All())
	}
}

// What counts as a failure, and what does not.
func TestWhatIsStartedAgain(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, c := range []struct {
		restart, script string
		generations     int
		status          int
	}{
		{"on-failure", "exit 0", 1, 0},
		{"on-failure", "kill -KILL $$", 2, 137},
		{"on-failure", "exit 1", 2, 1},
		{"always", "exit 0", 2, 0},
		{"always", "exit 4", 2, 4},
		{"never", "exit 3", 1, 3},
	} {
		run(c.restart+", "+c.script, func(t *testing.T) {
			w := restarting(t, c.script, "--restart", c.restart, "--max-restarts", "1")
			if status := w.Wait(); status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			generations(t, w.Stderr, c.generations, "worker_exited")
		})
	}
}

// Without the flag, and with no restarts allowed, there is one worker.
func TestNoRestartByItself(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"--restart", "always", "--max-restarts", "0"}} {
		w := restarting(t, "exit 3", flags...)
		if status := w.Wait(); status != 3 {
			t.Errorf("%q: status %d", flags, status)
		}
		generations(t, w.Stderr, 1, "worker_exited")
	}
}

// A worker that hangs is followed by one that does not. The watchdog receives
// the new one's messages at the same socket; those of the old one do not count any more.
func TestHungWorkerIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	p := runPatient(t, append(calm, "--restart", "on-failure", "--on-hang-signal", "ABRT"), "--hasten", hastens, "--child")
	old := p.tree()
	socket := p.socket
	p.hang("gil")
	testkit.AwaitGone(t, old...)
	p.awaitWorker(true)
	if p.worker.PID == old[0].PID || p.socket != socket {
		t.Errorf("worker %v at %s follows %v at %s", p.worker, p.socket, old[0], socket)
	}
	p.orderAndAwait("later 0")
	stacks(t, p.Stderr, "hold_the_gil")
	for range 2 {
		p.log.AwaitEvent("process.ready")
	}
	for range 8 {
		awaitBeatOf(p.log, p.worker)
	}
	testkit.StillAlive(t, p.tree()...)

	// The second hang is one too: of the second, with status 124 at the end.
	p.hang("gil")
	testkit.AwaitGone(t, p.tree()...)
	p.awaitWorker(true)
	p.orderAndAwait("stopping")
	p.order("hang sleep") // no beats, and no hang: it is stopping
	p.log.AwaitEvent("process.stopping")
	p.Kill()
	testkit.AwaitGone(t, p.worker)
	if n := len(named(p.log, "heartbeat.timeout")); n != 2 {
		t.Errorf("%d times hung", n)
	}
}

// awaitBeatOf waits for a beat of this worker.
func awaitBeatOf(lines *testkit.Lines, worker testkit.Ident) {
	for lines.AwaitEvent("heartbeat.received").Int("process.pid") != worker.PID {
	}
}

// Workers that hang each time are no end in themselves.
func TestWorkerThatHangsAgainAndAgain(t *testing.T) {
	t.Parallel()
	w := restarting(t, "systemd-notify --ready; systemd-notify WATCHDOG=trigger; exec sleep 1000000",
		append(unhurried, "--restart", "always", "--max-restarts", "1")...)
	testkit.Need(t, "systemd-notify")
	if status := w.Wait(); status != 124 {
		t.Errorf("status %d", status)
	}
	generations(t, w.Stderr, 2, "heartbeat_timeout")
}

// Nothing of a generation is left when the next one starts: not its deaf
// daemon either, which had to be killed.
func TestGenerationsDoNotMeet(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "daemons")
	write(t, list, "")
	if err := unix.Mkfifo(list+".fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	w := restarting(t, fmt.Sprintf(`
		while read -r daemon; do
			[ -e /proc/$daemon ] && echo "MET $daemon"
		done <%[1]s
		setsid sh -c 'trap "" TERM; echo $$ >>%[1]s; echo "DAEMON $$"; echo deaf now >%[1]s.fifo; exec sleep 1000000' &
		read -r line <%[1]s.fifo
		exit 3`, list), "--restart", "on-failure", "--max-restarts", "2")
	if status := w.Wait(); status != 3 {
		t.Errorf("status %d", status)
	}
	if out := w.Stdout.AwaitEnd(); strings.Contains(out, "MET") || strings.Count(out, "DAEMON") != 3 {
		t.Errorf("output %q", out)
	}
	generations(t, w.Stderr, 3, "worker_exited")
	for _, e := range named(w.Stderr, "process.cleanup_completed") {
		if m := e.Str("method"); m != "cgroup" && m != "sigkill" {
			t.Errorf("it ignores TERM: %v", e)
		}
	}
}

// A command that was removed when it is to be started again.
func TestCommandThatVanishes(t *testing.T) {
	t.Parallel()
	command := filepath.Join(t.TempDir(), "command")
	if err := os.WriteFile(command, []byte("#!/bin/sh\nrm \"$0\"\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := testkit.Run(t, watchdog(t, "run", "--restart", "on-failure", "--max-restarts", "1", "--", command))
	if status != 127 || !strings.Contains(stderr, command) {
		t.Errorf("status %d\n%s", status, stderr)
	}
	if n := strings.Count(stderr, "watchdog.stopped"); n != 1 {
		t.Errorf("%d times stopped\n%s", n, stderr)
	}
}

// awaitRest waits for the pause before the nth restart. The fifth lasts eight
// seconds or more: long enough to do something in it on any machine.
func awaitRest(t *testing.T, w *testkit.Proc, n int) {
	t.Helper()
	for w.Stderr.AwaitEvent("process.restarting").Int("attempt") != n {
	}
}

// The parent's death ends the cycle at once, in the pause too: there is no
// further worker, and the rest of the pause is not waited for.
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
			awaitCondition(t, "the record is of the worker that lives", func() bool {
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
