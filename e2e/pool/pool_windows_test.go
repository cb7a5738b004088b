package pool

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"leash/internal/testkit"
)

// play starts a worker of a role.
func (c *client) play(id, role string, more params) testkit.Ident {
	c.t.Helper()
	p := params{}
	for k, v := range more {
		p[k] = v
	}
	env, _ := p["env"].(params)
	if env == nil {
		env = params{}
	}
	env[roleVar] = role
	p["env"] = env
	return c.run(id, p, os.Args[0])
}

// tree starts a worker of which no process can be stopped politely.
func (c *client) tree(id string) (ids []testkit.Ident) {
	c.t.Helper()
	c.play(id, "tree", nil)
	for _, word := range []string{"worker", "child", "detached", "orphan"} {
		ids = append(ids, c.process(id, word))
	}
	return ids
}

func actor(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	return cmd
}

func TestRunListStop(t *testing.T) {
	c := start(t)
	started := c.await("pool.started", func(m message) bool { return m.event() == "pool.started" })
	if started.Params["backend"] != "event" || started.Params["containment"] != "job,descendants" {
		t.Errorf("%v", started.Params)
	}
	w := c.play("a", "polite", nil)
	c.line("a", "begun")
	list := c.call("list", nil)["workers"].([]any)
	first := list[0].(map[string]any)
	if len(list) != 1 || first["worker_id"] != "a" || first["pid"] != float64(w.PID) || first["state"] != "running" ||
		first["restarts"] != 0.0 || first["processes"] != 1.0 {
		t.Errorf("list: %v", list)
	}
	one, two := c.send("stop", params{"worker_id": "a", "grace": "1m"}), c.send("stop", params{"worker_id": "a"})
	for _, id := range []string{one, two} {
		if r := c.answer(id).Result; r["outcome"] != "signalled" || r["exit_code"] != 42.0 || r["survivors"] != 0.0 {
			t.Errorf("stop: %v", r)
		}
	}
	testkit.AwaitGone(t, w)
	var order []string
	for _, m := range c.messages("a") {
		if m.Method == "output" {
			order = append(order, fmt.Sprint(m.Params["stream"], " ", m.Params["line"]))
		} else {
			order = append(order, m.event())
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
	c.play("a", "exit 3", nil) // the ID is free again
	if r := c.event("a", "process.cleanup_completed"); r.Params["verified"] != true {
		t.Errorf("%v", r.Params)
	}
	c.call("shutdown", nil)
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// Each worker's tree is ended with that worker, and with no other.
func TestTreesAreTheirOwnWorkers(t *testing.T) {
	c := start(t, "--grace", "100ms")
	a, b := c.tree("a"), c.tree("b")
	if r := c.call("stop", params{"worker_id": "b"}); r["survivors"] != 0.0 || r["signal"] != "SIGKILL" {
		t.Errorf("%v", r)
	}
	testkit.AwaitGone(t, b...)
	testkit.StillAlive(t, a...)
	if r := c.call("stop_all", nil); r["ended"] != 1.0 || r["survivors"] != 0.0 {
		t.Errorf("%v", r)
	}
	testkit.AwaitGone(t, a...)
	c.call("shutdown", nil)
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// Whichever process ends, nothing of a started worker is left; what is guarded lives on if the
// pool is killed.
func TestNothingIsLeft(t *testing.T) {
	for _, what := range []string{"pool", "worker", "end-of-file", "parent"} {
		t.Run(what, func(t *testing.T) {
			parent := testkit.Start(t, actor("stay"))
			c := start(t, "--grace", "100ms", "--parent-pid", fmt.Sprint(parent.PID))
			guarded := testkit.Start(t, actor("stay"))
			c.call("guard", params{"worker_id": "g", "pid": guarded.PID})
			a, b := c.tree("a"), c.tree("b")
			switch what {
			case "pool":
				c.self.Kill()
			case "worker":
				a[0].Kill()
				testkit.AwaitGone(t, a...)
				testkit.StillAlive(t, b...)
				if m := c.event("a", "watchdog.stopped"); m.Params["outcome"] != "worker_exited" {
					t.Errorf("%v", m.Params)
				}
				c.in.Close()
			case "end-of-file":
				c.in.Close()
			case "parent":
				parent.Kill()
				if m := c.event("a", "watchdog.parent_death_detected"); m.Params["detected_by"] != "handle" {
					t.Errorf("%v", m.Params)
				}
			}
			testkit.AwaitGone(t, append(a, b...)...)
			status := c.status()
			if what == "pool" {
				testkit.StillAlive(t, guarded.Ident)
				return
			}
			if testkit.AwaitGone(t, guarded.Ident); status != 0 {
				t.Errorf("status %d", status)
			}
		})
	}
}

func TestGuardSignalAndRelease(t *testing.T) {
	c := start(t, "--grace=10s")
	a := testkit.Start(t, actor("stay"))
	c.call("guard", params{"worker_id": "a", "pid": a.PID})
	c.fails(-32005, "guard", params{"worker_id": "c", "pid": a.PID})
	for what, pid := range map[string]int{"the pool itself": c.self.PID, "its parent": os.Getpid()} {
		if m := c.fails(-32005, "guard", params{"worker_id": "x", "pid": pid}); m.Error.Message == "" {
			t.Errorf("%s: no reason", what)
		}
	}
	c.call("release", params{"worker_id": "a"})
	c.fails(-32001, "release", params{"worker_id": "a"})
	c.play("p", "polite", nil)
	c.line("p", "begun")
	c.fails(-32005, "release", params{"worker_id": "p"})
	c.fails(-32602, "signal", params{"worker_id": "p", "signal": "USR1"})
	c.call("signal", params{"worker_id": "p", "signal": "INT"})
	if m := c.event("p", "process.terminated"); m.Params["process.exit.code"] != 42.0 || m.Params["reason"] != "worker_exited" {
		t.Errorf("%v", m.Params)
	}
	c.play("k", "stay", nil)
	c.call("signal", params{"worker_id": "k", "signal": "KILL"})
	if m := c.event("k", "process.terminated"); m.Params["signal"] != "SIGKILL" {
		t.Errorf("%v", m.Params)
	}
	c.in.Close()
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.StillAlive(t, a.Ident)
}

func TestEnvironmentFolderAndOutputs(t *testing.T) {
	c := start(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "out")
	if err := os.WriteFile(file, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.play("a", "tell ONE", params{"cwd": dir, "env": params{"one": "1", "path": nil}, "stdout": params{"file": file}})
	c.event("a", "watchdog.stopped")
	b, _ := os.ReadFile(file)
	lines := strings.Split(strings.ReplaceAll(string(b), "\r", ""), "\n")
	if len(lines) < 4 || lines[0] != "before" || !sameFolder(lines[1], dir) || lines[2] != `"1"` || lines[3] != "0 EOF" {
		t.Errorf("%q", b)
	}
	c.line("a", "to standard error a 1")
	c.play("n", "tell Path", params{"env": params{"PATH": nil}, "stderr": "stderr"})
	if got := c.line("n", `"`); got != `""` {
		t.Errorf("PATH was not removed: %s", got)
	}
	c.event("n", "watchdog.stopped")
	if b, _ := os.ReadFile(c.stderr.Name()); !strings.Contains(string(b), "to standard error n") {
		t.Errorf("standard error: %q", b)
	}
	c.play("b", "exit 7", params{"stdout": "null"})
	if m := c.event("b", "process.terminated"); m.Params["process.exit.code"] != 7.0 {
		t.Errorf("%v", m.Params)
	}
	for _, m := range c.messages("b") {
		if m.Method == "output" {
			t.Errorf("%v", m.Params)
		}
	}
}

func sameFolder(a, b string) bool {
	one, err := os.Stat(a)
	two, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(one, two)
}

// A program is searched for in the worker's PATH, and in its folder where it has a relative
// path.
func TestWhereTheProgramIs(t *testing.T) {
	c := start(t)
	dir := t.TempDir()
	b, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "leash-test-worker.exe"), b, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	env := params{"Path": dir, roleVar: "exit 5"}
	c.run("a", params{"env": env}, "leash-test-worker")
	if m := c.event("a", "process.terminated"); m.Params["process.exit.code"] != 5.0 {
		t.Errorf("%v", m.Params)
	}
	c.run("b", params{"cwd": dir, "env": params{roleVar: "exit 6"}}, `.\leash-test-worker.exe`)
	if m := c.event("b", "process.terminated"); m.Params["process.exit.code"] != 6.0 {
		t.Errorf("%v", m.Params)
	}
	c.fails(-32003, "run", params{"worker_id": "c", "argv": []string{"leash-test-worker"}})
}

func TestErrors(t *testing.T) {
	c := start(t)
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"{", "", "\"\xff\""} {
		c.write(line + "\n")
	}
	n := 0
	c.await("third answer to bad lines", func(m message) bool {
		if m.Error != nil && m.Error.Code == -32700 {
			n++
		}
		return n == 3
	})
	for says, p := range map[string]params{
		"cwd":         {"cwd": plain},
		"stdout":      {"stdout": params{"file": dir}},
		"stderr":      {"stderr": params{"file": filepath.Join(dir, "none", "x")}},
		"stop_signal": {"stop_signal": "HUP"},
		"sentinel":    {"sentinel": "off"},
		"env":         {"env": params{"A=B": "x"}},
	} {
		p["worker_id"], p["argv"] = "a", []string{os.Args[0]}
		if m := c.fails(-32602, "run", p); !strings.Contains(m.Error.Message, says) {
			t.Errorf("%v: %q", p, m.Error.Message)
		}
	}
	c.fails(-32005, "run", params{"worker_id": "a", "argv": []string{os.Args[0]}, "keep_fd": []int{100}})
	if m := c.fails(-32003, "run", params{"worker_id": "a", "argv": []string{`C:\nowhere\at all.exe`}}); m.Error.Data["status"] != 127.0 {
		t.Errorf("%+v", m.Error)
	}
	if m := c.fails(-32003, "run", params{"worker_id": "a", "argv": []string{os.Args[0], strings.Repeat("x", 40_000)}}); m.Error.Data["status"] != 126.0 {
		t.Errorf("%+v", m.Error)
	}
	c.play("a", "stay", nil)
	c.fails(-32002, "run", params{"worker_id": "a", "argv": []string{os.Args[0]}})
	c.fails(-32004, "guard", params{"worker_id": "x", "pid": gone(t)})
	if list := c.call("list", nil)["workers"].([]any); len(list) != 1 {
		t.Errorf("%v", list)
	}
	c.call("shutdown", params{"grace": "100ms"})
	if m := c.answer(c.send("list", nil)); m.Error == nil || m.Error.Code != -32005 {
		t.Errorf("%+v", m)
	}
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// gone is the PID of a process that has ended, whose handle is still open: it is not reused.
func gone(t *testing.T) int {
	t.Helper()
	cmd := actor("exit 0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Release() })
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return p.Pid
}

func TestOutput(t *testing.T) {
	c := start(t, "--grace=100ms")
	c.play("many", "lines 20000", nil)
	c.play("flood", "flood", nil)
	c.line("flood", "flood")
	c.event("many", "process.terminated")
	next := 1
	for _, m := range c.messages("many") {
		switch {
		case m.event() == "process.terminated":
			if next != 20002 {
				t.Errorf("%d lines before the end was told", next-1)
			}
			next = -1
		case m.Method == "output":
			want := fmt.Sprint(next)
			if next == 20001 {
				want = "last"
			}
			if line := strings.TrimSuffix(m.Params["line"].(string), "\r"); line != want {
				t.Fatalf("line %q, want %q", line, want)
			}
			next++
		}
	}
	c.call("stop", params{"worker_id": "flood"})
}

func TestRestart(t *testing.T) {
	c := start(t)
	c.play("a", "exit 3", params{"restart": "on-failure", "max_restarts": 1})
	if m := c.event("a", "watchdog.stopped"); m.Params["exit_status"] != 3.0 {
		t.Errorf("%v", m.Params)
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

func TestHeartbeats(t *testing.T) {
	c := start(t, "--heartbeat", "notify", "--heartbeat-timeout", "1h", "--heartbeat-interval", "1h")
	c.play("good", "beat", nil)
	c.play("hung", "beat", params{"heartbeat_interval": "100ms", "heartbeat_timeout": "200ms", "grace": "100ms"})
	c.event("good", "process.ready")
	if m := c.event("hung", "watchdog.stopped"); m.Params["outcome"] != "heartbeat_timeout" || m.Params["exit_status"] != 124.0 {
		t.Errorf("%v", m.Params)
	}
	list := c.call("list", nil)["workers"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["state"] != "ready" {
		t.Errorf("%v", list)
	}
}

// A handle that the pool inherited goes to no worker.
func TestNoHandles(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h := syscall.Handle(w.Fd())
	if err := syscall.SetHandleInformation(h, syscall.HANDLE_FLAG_INHERIT, syscall.HANDLE_FLAG_INHERIT); err != nil {
		t.Fatal(err)
	}
	c := startAs(t, dialect{attr: &syscall.SysProcAttr{AdditionalInheritedHandles: []syscall.Handle{h}}})
	w.Close()
	c.play("a", fmt.Sprint("write ", int(h)), nil)
	c.line("a", "wrote ")
	c.in.Close()
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	if b, err := io.ReadAll(r); len(b) > 0 || err != nil {
		t.Errorf("the worker wrote %q to a handle of the pool (%v)", b, err)
	}
}

// A parent that neither reads nor lives is noticed.
func TestParentThatDoesNotReadDies(t *testing.T) {
	c := startAs(t, dialect{mute: true, args: []string{"--grace=100ms"}})
	dir := t.TempDir()
	file := filepath.Join(dir, "pid")
	c.send("run", params{"worker_id": "a", "argv": []string{os.Args[0]}, "env": params{roleVar: "named worker"}, "stdout": params{"file": file}})
	var w testkit.Ident
	awaitFile(t, file, func(text string) bool {
		var pid int
		if n, _ := fmt.Sscanf(text, "worker %d", &pid); n != 1 || !strings.HasSuffix(text, "\n") {
			return false
		}
		w = testkit.Identify(t, pid)
		return true
	})
	testkit.Adopt(t, w)
	// More answers than are kept: no further request is read, and so no end-of-file.
	line := `{"jsonrpc":"2.0","id":"` + strings.Repeat("i", 1000) + `","method":"fly"}` + "\n"
	var written atomic.Int32
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		for {
			if _, err := io.WriteString(c.in, line); err != nil {
				return
			}
			written.Add(1)
		}
	}()
	for before := int32(-1); before != written.Load() || before == 0; { // what is slow is not full, and then the test is easy
		before = written.Load()
		select {
		case <-time.After(300 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	c.in.Close() // which ends the writing too
	<-stuck
	testkit.AwaitGone(t, w)
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}
