//go:build linux

package scenes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// consume is a worker that uses what is limited.
func consume(name string, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	switch name {
	case "eat": // so many MiB of memory, and then stays
		b, err := unix.Mmap(-1, 0, n<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return err
		}
		for i := 0; i < len(b); i += os.Getpagesize() {
			b[i] = 1
		}
		say("ate")
		pause()
	case "eats": // by a child; it ends with this status when that is dead
		child := part("eat", args[1])
		cmd := exec.Command(child[0], child[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			return fmt.Errorf("the child was not killed: %v", err)
		}
		os.Exit(n)
	case "spin": // for so many milliseconds
		for until := time.Now().Add(time.Duration(n) * time.Millisecond); time.Now().Before(until); {
		}
	case "bomb": // so many children, or fewer
		var all []*exec.Cmd
		for range n {
			cmd := exec.Command("sleep", "1000000")
			if err = cmd.Start(); err != nil {
				break
			}
			all = append(all, cmd)
		}
		fmt.Printf("children %d %v\n", len(all), err)
		for _, cmd := range all {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	return nil
}

// limited reports whether limits can be enforced here. Where they cannot, a worker with one is
// refused.
func limited(t *testing.T) bool {
	t.Helper()
	if os.Getenv(cgroupVar) == "yes" {
		return true
	}
	b, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if os.Getenv(cgroupVar) == "" && strings.Contains(string(b), "memory") {
		testkit.Skip(t, "whether limits can be had here is not known: make vm tests them")
	}
	h := newStage(t)
	status, stdout, stderr := testkit.Run(t, h.command(h.run([]string{"--memory-max", "1G", "--tasks-max", "500", "--cpu-quota", "100%"}, part("stay", "never")...)...))
	if status != 125 || stdout != "" || strings.Contains(stderr, "\n") || !strings.HasPrefix(stderr, "watchdog: --memory-max, --tasks-max, --cpu-quota: ") ||
		!strings.HasSuffix(stderr, ", or give --limits best-effort") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	if entries, err := os.ReadDir(h.state); err == nil && len(entries) != 0 {
		t.Errorf("records are left: %v", entries)
	}
	return false
}

// outcome runs a worker to its end, and returns its status and the records of its start and of
// the end of its process.
func (h *stage) outcome(flags []string, worker ...string) (status int, stdout string, started, ended testkit.Event) {
	h.t.Helper()
	status, stdout, stderr := testkit.Run(h.t, h.command(h.run(flags, worker...)...))
	for _, e := range testkit.Events(strings.NewReader(stderr)) {
		switch e.Name() {
		case "watchdog.started":
			started = e
		case "process.terminated":
			ended = e
		}
	}
	if started == nil || ended == nil {
		h.t.Fatalf("status %d, %s\n%s", status, stdout, stderr)
	}
	h.t.Logf("status %d, %v, %v", status, started, ended)
	return status, stdout, started, ended
}

func check(t *testing.T, e testkit.Event, want map[string]any) {
	t.Helper()
	for key, value := range want {
		if got := e[key]; got != value {
			t.Errorf("%s is %v, want %v: %v", key, got, value, e)
		}
	}
}

func TestMemoryMax(t *testing.T) {
	if !limited(t) {
		return
	}
	h := newStage(t)
	status, _, started, ended := h.outcome([]string{"--memory-max", "64M"}, part("eat", "256")...)
	check(t, started, map[string]any{"limits": ""})
	check(t, ended, map[string]any{"cause": "oom_killed", "signal": "SIGKILL", "reason": "worker_exited", "usage.scope": "tree"})
	if peak := ended.Int("usage.memory_peak_bytes"); status != 137 || ended.Int("usage.oom_kills") < 1 || peak < 32<<20 || peak > 64<<20 {
		t.Errorf("status %d, %v", status, ended)
	}
	// More than the worker needs changes nothing.
	if status, _, _, ended := h.outcome([]string{"--memory-max", "90%", "--memory-high", "80%"}, part("exit", "7")...); status != 7 {
		t.Errorf("status %d, %v", status, ended)
	} else {
		check(t, ended, map[string]any{"cause": "exited", "usage.scope": "tree", "usage.oom_kills": 0.0})
	}
}

// One that cannot even begin below its limit is killed as well, and that is told.
func TestTinyMemoryMax(t *testing.T) {
	if !limited(t) {
		return
	}
	h := newStage(t)
	if status, _, _, ended := h.outcome([]string{"--memory-max", "1"}, part("exit", "0")...); status != 137 || ended.Str("cause") != "oom_killed" {
		t.Errorf("status %d, %v", status, ended)
	}
}

func TestOOMKilledChild(t *testing.T) {
	if !limited(t) {
		return
	}
	h := newStage(t)
	for want, cause := range map[int]string{0: "exited", 3: "oom_killed"} {
		status, _, _, ended := h.outcome([]string{"--memory-max", "64M"}, part("eats", strconv.Itoa(want), "256")...)
		if status != want || ended.Str("cause") != cause || ended.Int("usage.oom_kills") != 1 {
			t.Errorf("status %d, want %d: %v", status, want, ended)
		}
	}
}

// Another's OOM kill is not this worker's.
func TestNeighbourIsOOMKilled(t *testing.T) {
	if !limited(t) {
		return
	}
	h := newStage(t)
	healthy := testkit.Start(t, h.command(h.run([]string{"--memory-max", "64M", "--tasks-max", "100"}, part("eat", "8")...)...))
	id := ident(t, healthy.Stdout, "ate")
	healthy.Stderr.AwaitEvent("watchdog.started")
	other := newStage(t)
	if status, _, _, ended := other.outcome([]string{"--memory-max", "64M"}, part("eat", "256")...); status != 137 || ended.Str("cause") != "oom_killed" {
		t.Errorf("status %d, %v", status, ended)
	}
	testkit.StillAlive(t, id)
	if err := id.Kill(); err != nil {
		t.Fatal(err)
	}
	check(t, healthy.Stderr.AwaitEvent("process.terminated"), map[string]any{"cause": "signal", "signal": "SIGKILL", "usage.oom_kills": 0.0})
	healthy.Wait()
}

func TestTasksMax(t *testing.T) {
	if !limited(t) {
		return
	}
	h := newStage(t)
	status, stdout, _, _ := h.outcome([]string{"--tasks-max", "40"}, part("bomb", "100")...)
	n, err := strconv.Atoi(strings.Fields(stdout + " x x")[1])
	if err != nil || status != 0 || n >= 40 || n < 10 {
		t.Errorf("status %d, %q: %d children", status, stdout, n)
	}
}

func TestCPUQuota(t *testing.T) {
	if !limited(t) {
		return
	}
	h := newStage(t)
	_, _, _, ended := h.outcome([]string{"--cpu-quota", "20%"}, part("spin", "3000")...)
	used, took := ended.Int("usage.cpu_user_ms")+ended.Int("usage.cpu_system_ms"), ended.Int("uptime_ms")
	if used*2 > took || ended.Str("usage.scope") != "worker" && ended.Str("usage.scope") != "tree" {
		t.Errorf("it used %d of %d ms, with a fifth of a processor", used, took)
	}
}

func TestRestartAfterOOM(t *testing.T) {
	if !limited(t) {
		return
	}
	h := newStage(t)
	status, _, stderr := testkit.Run(t, h.command(h.run([]string{"--memory-max", "64M", "--restart", "on-failure", "--max-restarts", "1"}, part("eat", "256")...)...))
	ends := 0
	var last testkit.Event
	for _, e := range testkit.Events(strings.NewReader(stderr)) {
		if e.Name() == "process.terminated" {
			ends++
			check(t, e, map[string]any{"cause": "oom_killed", "usage.oom_kills": 1.0})
		}
		last = e
	}
	if ends != 2 || status != 137 || last.Name() != "watchdog.stopped" || last.Str("cause") != "oom_killed" {
		t.Errorf("%d ends, status %d, %v\n%s", ends, status, last, stderr)
	}
}

// Where the system does not limit memory the watchdog measures.
func TestMemoryMaxBestEffort(t *testing.T) {
	h := newStage(t)
	status, _, started, ended := h.outcome([]string{"--memory-max", "64M", "--limits", "best-effort"}, part("eat", "256")...)
	cause, missing := "memory_max", "memory-max"
	if limited(t) {
		cause, missing = "oom_killed", ""
	}
	check(t, started, map[string]any{"limits": missing})
	check(t, ended, map[string]any{"cause": cause, "signal": "SIGKILL"})
	if status != 137 {
		t.Errorf("status %d", status)
	}
}

// What is shared after a fork counts once, so that a pool of processes over one model lives.
func TestSharedMemoryCountsOnce(t *testing.T) {
	h := newStage(t)
	script := `import os, time
model = bytearray(60 << 20)
for _ in range(4):
    if os.fork() == 0:
        time.sleep(1000000)
print("ready", os.getpid(), flush=True)
time.sleep(4)
os.kill(0, 15)
`
	run := testkit.Start(t, h.command(h.run([]string{"--memory-max", "150M", "--limits", "best-effort"}, "python3", "-c", script)...))
	run.Stdout.Await("ready ")
	check(t, run.Stderr.AwaitEvent("process.terminated"), map[string]any{"cause": "signal", "signal": "SIGTERM"})
	run.Wait()
}

func TestOOMScoreAdjust(t *testing.T) {
	h := newStage(t)
	status, stdout, started, _ := h.outcome([]string{"--oom-score-adjust", "321"}, "cat", "/proc/self/oom_score_adj", "/proc/self/cmdline")
	if status != 0 || !strings.HasPrefix(stdout, "321\n") || !strings.HasSuffix(stdout, "cmdline\x00") {
		t.Errorf("status %d, %q", status, stdout)
	}
	check(t, started, map[string]any{"limits": ""})
	run := testkit.Start(t, h.command(h.run([]string{"--oom-score-adjust", "321"}, part("stay", "worker")...)...))
	id := ident(t, run.Stdout, "worker")
	for pid := parentOf(t, id.PID); pid != os.Getpid(); pid = parentOf(t, pid) { // the sentinel, the watchdog
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj"))
		if err != nil || string(b) == "321\n" {
			t.Errorf("process %d has %q, %v", pid, b, err)
		}
	}
	run.Signal(syscall.SIGTERM)
	run.Wait()
	if os.Geteuid() != 0 {
		status, stdout, stderr := testkit.Run(t, h.command(h.run([]string{"--oom-score-adjust", "-999", "--limits", "best-effort"}, part("exit", "0")...)...))
		if status != 125 || stdout != "" || !strings.HasPrefix(stderr, "watchdog: --oom-score-adjust: this user may not go down to -999") || strings.Contains(stderr, "\n") {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
	}
}

// A watchdog that is alone in a cgroup of its own, as a service or a container is, moves aside,
// and back when it ends.
func TestMovesAside(t *testing.T) {
	if os.Getenv(cgroupVar) != "" && os.Geteuid() != 0 {
		testkit.Skip(t, "only root can start a watchdog in a cgroup of another")
	}
	if !limited(t) {
		return
	}
	const user = 1000
	dir := "/sys/fs/cgroup/leash-test-alone"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Chown(filepath.Join(dir, name), user, user); err != nil {
			t.Fatal(err)
		}
	}
	in, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	h := newStage(t)
	h.state = "/tmp/leash-aside-" + strconv.Itoa(os.Getpid())
	if err := os.Mkdir(h.state, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(h.state) })
	if err := os.Chown(h.state, user, user); err != nil {
		t.Fatal(err)
	}
	cmd := h.command(h.run([]string{"--memory-max", "64M", "--tasks-max", "50", "--cpu-quota", "90%"}, part("stay", "worker")...)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(in.Fd()), Credential: &syscall.Credential{Uid: user, Gid: user}}
	run := testkit.Start(t, cmd)
	id := ident(t, run.Stdout, "worker")
	started := run.Stderr.AwaitEvent("watchdog.started")
	if !strings.Contains(started.Str("msg"), "has moved into a cgroup of its own") || !strings.HasPrefix(started.Str("limited_by"), "cgroup "+dir+"/leash-") {
		t.Errorf("%v", started)
	}
	for pid, want := range map[int]string{run.PID: "/leash-test-alone/leash-watchdog-", id.PID: "/leash-test-alone/leash-"} {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
		if err != nil || !strings.HasPrefix(string(b), "0::"+want) {
			t.Errorf("process %d is in %q, %v", pid, b, err)
		}
	}
	run.Signal(syscall.SIGTERM)
	run.Wait()
	testkit.AwaitGone(t, id)
	if left, _ := filepath.Glob(dir + "/leash-*"); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}
