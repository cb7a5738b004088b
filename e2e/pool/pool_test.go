//go:build linux

package pool

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// clinging is a tree that does all it can to stay: one that ignores SIGTERM, and a daemon in a
// session of its own with nothing in its environment.
const clinging = `
sh -c 'trap "" TERM HUP INT; echo deaf $$; sleep 1000000 & wait' &
(setsid env -i sh -c 'echo daemon $$; exec sleep 1000000' &)
echo worker $$
exec sleep 1000000
`

func TestRunListStop(t *testing.T) {
	t.Parallel()
	c := start(t)
	started := c.await("pool.started", func(m message) bool { return m.event() == "pool.started" })
	for _, key := range []string{"time", "level", "msg", "leash.run_id", "backend", "containment", "version"} {
		if started.Params[key] == nil {
			t.Errorf("pool.started has no %s: %v", key, started.Params)
		}
	}
	w := c.run("a", nil, "sh", "-c", "echo begun; echo bad >&2; printf end; exec sleep 1000000")
	c.line("a", "begun")
	list := c.call("list", nil)["workers"].([]any)
	first := list[0].(map[string]any)
	if len(list) != 1 || first["worker_id"] != "a" || first["pid"] != float64(w.PID) || first["state"] != "running" ||
		first["restarts"] != 0.0 || first["processes"] != 1.0 {
		t.Errorf("list: %v", list)
	}
	one, two := c.send("stop", params{"worker_id": "a"}), c.send("stop", params{"worker_id": "a", "grace": "1h"})
	for _, id := range []string{one, two} {
		if r := c.answer(id).Result; r["worker_id"] != "a" || r["outcome"] != "signalled" || r["signal"] != "SIGTERM" || r["survivors"] != 0.0 {
			t.Errorf("stop: %v", r)
		}
	}
	testkit.AwaitGone(t, w)
	var order []string
	for _, m := range c.messages("a") {
		switch {
		case m.Method == "output":
			order = append(order, fmt.Sprint(m.Params["stream"], " ", m.Params["line"]))
		case m.event() != "signal.sent":
			order = append(order, m.event())
			if m.Params["leash.run_id"] != started.Params["leash.run_id"] || m.Params["process.pid"] != float64(w.PID) ||
				m.Params["process.parent_pid"] != float64(os.Getpid()) {
				t.Errorf("%v", m.Params)
			}
		}
	}
	at := func(what string) int { return slices.Index(order, what) }
	for _, pair := range [][2]string{{"watchdog.started", "process.started"}, {"process.started", "process.terminated"},
		{"stdout begun", "stdout end"}, {"stdout end", "process.terminated"}, {"stderr bad", "process.terminated"},
		{"process.terminated", "process.cleanup_completed"}, {"process.cleanup_completed", "watchdog.stopped"}} {
		if at(pair[0]) < 0 || at(pair[1]) < at(pair[0]) {
			t.Errorf("%s does not come before %s in %q", pair[0], pair[1], order)
		}
	}
	c.fails(-32001, "stop", params{"worker_id": "a"})
	c.run("a", nil, "true") // the ID is free again
	if r := c.event("a", "process.cleanup_completed"); r.Params["verified"] != true {
		t.Errorf("%v", r.Params)
	}
	c.call("shutdown", nil)
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// users runs a test as root, for which there is a cgroup where the system has v2, and as a
// user, for which there is none.
func users(t *testing.T, test func(t *testing.T, start func(args ...string) *client)) {
	for name, uid := range map[string]uint32{"as we are": 0, "as nobody": 65534} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(args ...string) *client { t.Helper(); return startAs(t, dialect{args: args, uid: uid}) })
		})
	}
}

// An orphan of one worker is ended with that worker, and with no other.
func TestOrphansAreTheirOwnWorkers(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, start func(args ...string) *client) {
		c := start("--grace", "100ms")
		trees := map[string][]testkit.Ident{}
		for _, id := range []string{"a", "b", "c"} {
			c.run(id, nil, "sh", "-c", clinging)
			for _, word := range []string{"worker", "deaf", "daemon"} {
				trees[id] = append(trees[id], c.process(id, word))
			}
		}
		for i, id := range []string{"b", "a", "c"} {
			r := c.call("stop", params{"worker_id": id})
			if r["survivors"] != 0.0 {
				t.Errorf("%v", r)
			}
			testkit.AwaitGone(t, trees[id]...)
			if v := c.event(id, "process.cleanup_completed").Params["verified"]; v != true {
				t.Errorf("%s: verified %v", id, v)
			}
			for _, other := range []string{"b", "a", "c"}[i+1:] {
				testkit.StillAlive(t, trees[other]...)
			}
		}
	})
}

// A process that takes its mark away cannot be attributed: it is ended with the last worker.
func TestUnattributedEndsWithTheLastWorker(t *testing.T) {
	t.Parallel()
	testkit.Need(t, "prlimit")
	c := startAs(t, dialect{args: []string{"--grace", "100ms"}, uid: 65534})
	c.run("b", nil, "sleep", "1000000")
	c.run("a", nil, "sh", "-c", `(setsid env -i prlimit --rttime=unlimited: sh -c 'echo lost $$; exec sleep 1000000' &) ; exec sleep 1000000`)
	lost := c.process("a", "lost")
	// It was seen before, or not: both is right. What must not be is that b is touched.
	c.call("stop", params{"worker_id": "a"})
	b := c.call("list", nil)["workers"].([]any)
	if len(b) != 1 {
		t.Fatalf("%v", b)
	}
	c.call("stop", params{"worker_id": "b"})
	testkit.AwaitGone(t, lost)
}

// Whichever process is killed, nothing of a started worker is left.
func TestNoSingleKillLeavesAnything(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, start func(args ...string) *client) {
		for _, what := range []string{"pool", "sentinel", "worker", "end-of-file", "TERM"} {
			c := start("--grace", "100ms")
			var trees, firsts []testkit.Ident
			for _, id := range []string{"a", "b"} {
				c.run(id, nil, "sh", "-c", clinging)
				for _, word := range []string{"worker", "deaf", "daemon"} {
					trees = append(trees, c.process(id, word))
				}
				firsts = append(firsts, trees[len(trees)-3])
			}
			switch what {
			case "pool":
				c.self.Kill()
			case "sentinel":
				c.sentinel().Kill()
			case "worker":
				for _, w := range firsts {
					w.Kill()
				}
			case "end-of-file":
				c.in.Close()
			case "TERM":
				c.cmd.Process.Signal(syscall.SIGTERM)
			}
			testkit.AwaitGone(t, trees...)
			switch what {
			case "sentinel":
				if m := c.event("a", "watchdog.stopped"); m.Params["exit_status"] != 125.0 || m.Params["outcome"] != "worker_exited" {
					t.Errorf("%v", m.Params)
				}
				c.run("next", nil, "true") // with another sentinel
				c.event("next", "watchdog.stopped")
				c.in.Close()
			case "worker":
				if m := c.event("a", "process.terminated"); m.Params["signal"] != "SIGKILL" {
					t.Errorf("%v", m.Params)
				}
				c.in.Close()
			}
			if status := c.status(); what != "pool" && status != 0 {
				t.Errorf("%s: status %d", what, status)
			}
		}
	})
}

// The death of a parent that is named ends the workers, guarded ones too.
func TestParentDies(t *testing.T) {
	t.Parallel()
	parent := testkit.Start(t, exec.Command("sleep", "1000000"))
	other := testkit.Start(t, exec.Command("sleep", "1000000"))
	c := start(t, "--grace=5s", "--parent-pid", fmt.Sprint(parent.PID))
	w := c.run("a", nil, "sleep", "1000000")
	c.call("guard", params{"worker_id": "g", "pid": other.PID})
	parent.Signal(syscall.SIGKILL)
	testkit.AwaitGone(t, w, other.Ident)
	if m := c.event("a", "watchdog.parent_death_detected"); m.Params["detected_by"] != "pidfd" {
		t.Errorf("%v", m.Params)
	}
	if m := c.event("g", "watchdog.stopped"); m.Params["outcome"] != "parent_died" {
		t.Errorf("%v", m.Params)
	}
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestGuardAndRelease(t *testing.T) {
	t.Parallel()
	c := start(t, "--grace=5s")
	a, b := testkit.Start(t, exec.Command("sleep", "1000000")), testkit.Start(t, exec.Command("sleep", "1000000"))
	r := c.call("guard", params{"worker_id": "a", "pid": a.PID})
	if r["worker_id"] != "a" || r["pid"] != float64(a.PID) || r["containment"] == "" {
		t.Errorf("%v", r)
	}
	c.call("guard", params{"worker_id": "b", "pid": b.PID})
	c.fails(-32005, "guard", params{"worker_id": "c", "pid": a.PID})
	c.call("release", params{"worker_id": "a"})
	if m := c.event("a", "watchdog.stopped"); m.Params["outcome"] != "signalled" {
		t.Errorf("%v", m.Params)
	}
	c.fails(-32001, "release", params{"worker_id": "a"})
	c.run("run", nil, "sleep", "1000000")
	c.fails(-32005, "release", params{"worker_id": "run"})
	if r := c.call("stop", params{"worker_id": "b", "stop_signal": "INT"}); r["outcome"] != "signalled" || r["survivors"] != 0.0 {
		t.Errorf("%v", r)
	}
	c.in.Close()
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.StillAlive(t, a.Ident)
}

func TestGuardedLiveOnWhenThePoolIsKilled(t *testing.T) {
	t.Parallel()
	c := start(t)
	a := testkit.Start(t, exec.Command("sleep", "1000000"))
	c.call("guard", params{"worker_id": "a", "pid": a.PID})
	w := c.run("w", nil, "sleep", "1000000")
	c.self.Kill()
	testkit.AwaitGone(t, w)
	testkit.StillAlive(t, a.Ident)
}

func TestGuardRefuses(t *testing.T) {
	t.Parallel()
	c := start(t)
	for what, pid := range map[string]int{"the pool itself": c.self.PID, "its parent": os.Getpid(), "PID 1": 1} {
		if m := c.fails(-32005, "guard", params{"worker_id": "x", "pid": pid}); m.Error.Message == "" {
			t.Errorf("%s: no reason", what)
		}
	}
	c.fails(-32004, "guard", params{"worker_id": "x", "pid": gonePID(t)})
	for _, pid := range []any{0, -5, 1 << 40, "12", 1.5, nil, true} {
		c.fails(-32602, "guard", params{"worker_id": "x", "pid": pid})
	}
	other := start(t)
	w := other.run("w", nil, "sleep", "1000000")
	if m := c.fails(-32005, "guard", params{"worker_id": "x", "pid": w.PID}); !strings.Contains(m.Error.Message, "already") {
		t.Errorf("%q", m.Error.Message)
	}
	testkit.StillAlive(t, w)
	if list := c.call("list", nil)["workers"].([]any); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

// gonePID is the PID of a process that has ended.
func gonePID(t *testing.T) int {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestSignal(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.run("a", nil, "sh", "-c", `trap 'echo usr1' USR1; echo begun; while :; do sleep 0.05; done`)
	c.line("a", "begun")
	c.call("signal", params{"worker_id": "a", "signal": "USR1"})
	c.line("a", "usr1")
	c.fails(-32602, "signal", params{"worker_id": "a", "signal": "NONE"})
	c.fails(-32602, "signal", params{"worker_id": "a"})
	c.fails(-32001, "signal", params{"worker_id": "b", "signal": "USR1"})
	c.call("signal", params{"worker_id": "a", "signal": "KILL"})
	if m := c.event("a", "process.terminated"); m.Params["signal"] != "SIGKILL" || m.Params["reason"] != "worker_exited" {
		t.Errorf("%v", m.Params)
	}
}

func TestStopAllAndShutdown(t *testing.T) {
	t.Parallel()
	c := start(t)
	for i := range 5 {
		c.run(fmt.Sprint("w", i), nil, "sleep", "1000000")
	}
	if r := c.call("stop_all", params{"grace": "2s"}); r["ended"] != 5.0 || r["survivors"] != 0.0 {
		t.Errorf("%v", r)
	}
	if r := c.call("stop_all", nil); r["ended"] != 0.0 {
		t.Errorf("%v", r)
	}
	w := c.run("w", nil, "sh", "-c", `trap "" TERM; echo begun; sleep 1000000 & wait`)
	c.line("w", "begun")
	c.call("shutdown", params{"grace": "200ms"})
	late := c.send("list", nil)
	if m := c.answer(late); m.Error == nil || m.Error.Code != -32005 {
		t.Errorf("a request after shutdown: %+v", m)
	}
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.AwaitGone(t, w)
}

func TestEnvironmentFolderAndOutputs(t *testing.T) {
	t.Parallel()
	c := start(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "out")
	os.WriteFile(file, []byte("before\n"), 0o600)
	c.run("a", params{"cwd": dir, "env": params{"ONE": "1", "HOME": nil, "LEASH_RUN_ID": "abcdefg"},
		"stdout": params{"file": file}, "stderr": "lines"},
		"sh", "-c", `pwd; echo "$ONE ${HOME-none}"; cat; ls -l /proc/self/fd | wc -l; echo "$LEASH_WORKER_ID $SPT_NOENV" >&2; echo "$LEASH_RUN_ID" >&2`)
	c.event("a", "watchdog.stopped")
	b, _ := os.ReadFile(file)
	if lines := strings.Split(string(b), "\n"); len(lines) < 4 || lines[0] != "before" || lines[1] != dir || lines[2] != "1 none" {
		t.Errorf("%q", b)
	}
	c.line("a", "a 1")
	if c.line("a", "") == "abcdefg" {
		t.Error("the run ID was overwritten")
	}
	c.run("b", params{"stdout": "null", "stderr": "stderr"}, "sh", "-c", "echo none; echo to-the-person >&2; exit 7")
	if m := c.event("b", "process.terminated"); m.Params["process.exit.code"] != 7.0 {
		t.Errorf("%v", m.Params)
	}
	if b, _ := os.ReadFile(c.stderr.Name()); !strings.Contains(string(b), "to-the-person") {
		t.Errorf("standard error: %q", b)
	}
	for _, m := range c.messages("b") {
		if m.Method == "output" {
			t.Errorf("%v", m.Params)
		}
	}
}

// Descriptors that the pool was given go to no worker.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.run("a", nil, "sh", "-c", `for fd in /proc/$$/fd/*; do echo "fd ${fd##*/}"; done; echo end`)
	c.line("a", "end")
	for _, m := range c.messages("a") {
		if line, _ := m.Params["line"].(string); strings.HasPrefix(line, "fd ") && len(line) > 4 {
			t.Errorf("the worker has %s", line)
		}
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.run("a", params{"restart": "on-failure", "max_restarts": 1}, "sh", "-c", "echo life $$; exit 3")
	first := c.await("process.restarting", func(m message) bool { return m.event() == "process.restarting" })
	if first.Params["attempt"] != 1.0 {
		t.Errorf("%v", first.Params)
	}
	stopped := c.event("a", "watchdog.stopped")
	if stopped.Params["exit_status"] != 3.0 {
		t.Errorf("%v", stopped.Params)
	}
	pids := map[any]bool{}
	for _, m := range c.messages("a") {
		if m.Method == "output" {
			pids[m.Params["pid"]] = true
			if m.Params["line"] != fmt.Sprint("life ", m.Params["pid"]) {
				t.Errorf("%v", m.Params)
			}
		}
	}
	if len(pids) != 2 {
		t.Errorf("%d lives", len(pids))
	}
}

const beating = `
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
a = os.environ["NOTIFY_SOCKET"]
s.connect("\0" + a[1:] if a[0] == "@" else a)
s.send(b"READY=1")
if sys.argv[1] == "hang": time.sleep(1000000)
while True:
    s.send(b"WATCHDOG=1")
    time.sleep(0.05)
`

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	testkit.Need(t, "python3")
	c := start(t, "--heartbeat", "notify", "--heartbeat-timeout", "1h", "--heartbeat-interval", "1h")
	c.run("good", nil, "python3", "-c", beating, "beat")
	c.run("hung", params{"heartbeat_interval": "100ms", "heartbeat_timeout": "200ms", "grace": "100ms"}, "python3", "-c", beating, "hang")
	c.event("good", "process.ready")
	if m := c.event("hung", "watchdog.stopped"); m.Params["outcome"] != "heartbeat_timeout" || m.Params["exit_status"] != 124.0 {
		t.Errorf("%v", m.Params)
	}
	list := c.call("list", nil)["workers"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["state"] != "ready" {
		t.Errorf("%v", list)
	}
}
