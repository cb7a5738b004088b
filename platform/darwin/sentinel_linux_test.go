//go:build linux

package darwin

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/system"
	"leash/internal/testkit"
	"leash/platform/platformtest"
	"leash/watch"
)

// watchdogSystem is that of a watchdog, which holds no descriptor that it was left.
func watchdogSystem(backend string) (*System, error) {
	if err := unix.CloseRange(3, 1<<30, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, err
	}
	st, err := openStandIn()
	if err != nil {
		return nil, err
	}
	k, err := newKernel(st)
	if err != nil {
		return nil, err
	}
	s, err := newSystem(k, st, st, backend)
	if err == nil {
		s.program = thisProgram()
	}
	return s, err
}

// watched is a watchdog and what belongs to it.
type watched struct {
	*testkit.Proc
	in       io.Closer
	sentinel testkit.Ident
	worker   testkit.Ident
}

// named is the process of the next line that begins with a word.
func (w *watched) named(t *testing.T, word string) testkit.Ident {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimPrefix(w.Stdout.Await(word+" "), word+" "))
	if err != nil {
		t.Fatal(err)
	}
	id := testkit.Identify(t, pid)
	testkit.Adopt(t, id)
	return id
}

func watchdog(t *testing.T, g *guarded, backend, script string) *watched {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, testkit.NeedPython(t), "-c", script, g.fifo)
	cmd.Env = append(g.env(), watchdogVar+"="+backend)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{Proc: testkit.Start(t, cmd), in: in}
	t.Cleanup(func() { in.Close() })
	w.worker = w.named(t, "worker")
	w.sentinel = w.named(t, "sentinel")
	return w
}

func TestDieWithMe(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		g := newGuarded(t, backend)
		bystander := sleeper(t, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=another")
		w := watchdog(t, g, backend, stays)
		var below []int
		for _, id := range append(g.members(), w.sentinel) {
			below = append(below, id.PID)
		}
		platformtest.DieWithMe(t, platformtest.Doomed{Kernel: testKernel(t), Watchdog: w.PID, Worker: w.worker.PID, Below: below,
			Bystander: bystander.PID, Kill: w.Kill, Await: await})
	})
}

// Another sentinel takes the place of one that was killed, and knows the worker.
func TestSentinelIsReplaced(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		g := newGuarded(t, backend)
		w := watchdog(t, g, backend, stays)
		ids := append(g.members(), w.worker)
		if err := w.sentinel.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		next := w.named(t, "sentinel")
		testkit.StillAlive(t, ids...)
		if id, still := testkit.Lookup(w.sentinel.PID); still && id == w.sentinel {
			t.Error("the first was not reaped")
		}
		w.Kill()
		testkit.AwaitGone(t, append(ids, next)...)
	})
}

// The same sentinel guards the next worker, and leaves alone what the watchdog has
// left of the last.
func TestSentinelKnowsTheNextWorker(t *testing.T) {
	g := newGuarded(t, "event")
	w := watchdog(t, g, "event", stays)
	first := g.members()
	if err := w.worker.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	worker := w.named(t, "worker")
	await(t, "the next tree", func() bool { return strings.Count(g.said.All(), "ready") == 2 })
	w.Kill()
	testkit.AwaitGone(t, worker, w.sentinel)
	testkit.AwaitGone(t, first[1]) // the daemon has the labels of the worker
}

// The watchdog is killed while it waits for the sentinel's answer, which is
// stopped: the worker never begins.
func TestKilledBeforeTheAnswer(t *testing.T) {
	g := newGuarded(t, "event")
	w := watchdog(t, g, "event", signals)
	g.said.Await("ready")
	if err := w.sentinel.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := w.worker.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var gate []testkit.Ident
	await(t, "the next worker's gate", func() bool {
		gate = slices.DeleteFunc(testkit.Descendants(t, w.PID), func(id testkit.Ident) bool { return id == w.sentinel || id == w.worker })
		return len(gate) == 1
	})
	testkit.Adopt(t, gate...)
	w.Kill()
	testkit.AwaitGone(t, gate...)
	if err := w.sentinel.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	testkit.AwaitGone(t, w.sentinel)
	if n := strings.Count(g.said.All(), "ready"); n != 1 {
		t.Errorf("%d workers have begun", n)
	}
}

func TestSentinelEndsSilently(t *testing.T) {
	g := newGuarded(t, "event")
	w := watchdog(t, g, "event", stays)
	ids := append(g.members(), w.worker)
	w.in.Close()
	if status := w.Wait(); status != 0 {
		t.Errorf("status %d: %s", status, w.Stderr.All())
	}
	testkit.AwaitGone(t, w.sentinel)
	testkit.StillAlive(t, ids...)
}

// It holds nothing of other processes, ignores what could end it, and is in a
// session of its own.
func TestSentinelKeepsToItself(t *testing.T) {
	w := watchdog(t, newGuarded(t, "event"), "event", signals)
	dir := "/proc/" + strconv.Itoa(w.sentinel.PID)
	all, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		own := strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/sys/fs/cgroup/") // of the Go runtime
		switch fd.Name() {
		case "0", "1":
			own = strings.HasPrefix(target, "pipe:")
		case "2":
			own = target == os.DevNull
		}
		if !own {
			t.Errorf("descriptor %s is %s (%v)", fd.Name(), target, err)
		}
	}
	if cwd, _ := os.Readlink(filepath.Join(dir, "cwd")); cwd != "/" {
		t.Errorf("it holds %s", cwd)
	}
	k := testKernel(t)
	h, err := k.open(w.sentinel.PID)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := h.Info(); err != nil || info.SID != info.PID || !info.Leash {
		t.Errorf("%+v, %v", info, err)
	}
	if run, worker := h.Labels(); run != "" || worker != "" {
		t.Errorf("labels %q, %q", run, worker)
	}
	ignored := uint64(0)
	await(t, "its ignoring signals", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "status"))
		_, line, _ := strings.Cut(string(b), "\nSigIgn:\t")
		ignored, _ = strconv.ParseUint(strings.SplitN(line, "\n", 2)[0], 16, 64)
		return ignored != 0
	})
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGUSR1, unix.SIGTSTP} {
		if ignored&(1<<(s-1)) == 0 {
			t.Errorf("%v is not ignored", unix.SignalName(s))
		}
	}
}

// gated starts the test binary as a gate in front of a command.
func gated(t *testing.T, path string, args ...string) (p *testkit.Proc, open, outcome *os.File) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var pipes pipes
	read, open := pipes.open()
	outcome, write := pipes.open()
	if pipes.err != nil {
		t.Fatal(pipes.err)
	}
	cmd := exec.Command(exe)
	cmd.Args = args
	cmd.Env = []string{"A=1", fmt.Sprintf("%s=%d %s 3 4 %s", roleVariable, os.Getpid(), roleGate, path)}
	cmd.ExtraFiles = []*os.File{read, write}
	if err := unix.CloseRange(5, 1<<30, unix.CLOSE_RANGE_CLOEXEC); err != nil { // what the tests were given is not the gate's
		t.Fatal(err)
	}
	p = testkit.Start(t, cmd)
	read.Close()
	write.Close()
	t.Cleanup(func() { open.Close(); outcome.Close() })
	return p, open, outcome
}

func TestGate(t *testing.T) {
	p, open, outcome := gated(t, "/bin/sh", "a shell", "-c", `echo "$0 $1 $LEASH_ROLE $A"; ls -l /proc/$$/fd; :`, "zero", "one")
	if err := pass(open, outcome); err != nil {
		t.Fatal(err)
	}
	if status := p.Wait(); status != 0 || !strings.HasPrefix(p.Stdout.AwaitEnd(), "zero one  1\n") || strings.Count(p.Stdout.All(), " -> ") != 3 {
		t.Errorf("status %d: %s%s", status, p.Stdout.All(), p.Stderr.All())
	}
}

// The watchdog is killed before it has opened the gate.
func TestGateStaysShut(t *testing.T) {
	p, open, outcome := gated(t, "/bin/echo", "echo", "it runs")
	open.Close()
	if said, err := io.ReadAll(outcome); err != nil || len(said) > 0 {
		t.Errorf("%q, %v", said, err)
	}
	if status := p.Wait(); status != exitFailed || p.Stdout.AwaitEnd() != "" {
		t.Errorf("status %d: %s", status, p.Stdout.All())
	}
}

func TestGateTellsWhyNot(t *testing.T) {
	for path, want := range map[string]syscall.Errno{"/nowhere/at all": syscall.ENOENT, "/etc/passwd": syscall.EACCES} {
		p, open, outcome := gated(t, path, "x")
		if err := pass(open, outcome); err != want {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		p.Wait()
	}
}

// Through all of Start.
func TestWorkerThatCannotStart(t *testing.T) {
	g := newGuarded(t, "event")
	g.sys.program = thisProgram()
	for _, c := range []struct {
		path string
		want syscall.Errno
	}{{"/nowhere", syscall.ENOENT}, {"/etc/passwd", syscall.EACCES}} {
		if _, err := g.Start(system.Command{Path: c.path, Args: []string{"x"}, Env: g.env(), Sentinel: true}); err != c.want {
			t.Errorf("%s: %v, want %v", c.path, err, c.want)
		}
	}
	sentinel := testkit.Identify(t, g.sys.hold.sentinel.h.pid)
	testkit.Adopt(t, sentinel)
	g.Close()
	testkit.AwaitGone(t, sentinel)
}

// A role in the environment that our parent did not give us is refused.
func TestRoleOfAnother(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"1 sentinel", strconv.Itoa(os.Getpid()) + " neither", strconv.Itoa(os.Getpid()) + " gate 1"} {
		cmd := exec.Command(exe, "-test.list", "none")
		cmd.Env = append(os.Environ(), roleVariable+"="+role)
		status, out, said := testkit.Run(t, cmd)
		if status != exitFailed || out != "" || !strings.HasPrefix(said, "watchdog: "+roleVariable) || strings.Contains(said, "\n") {
			t.Errorf("%q: status %d, %s%s", role, status, out, said)
		}
	}
}

// Where there is no sentinel to be had, the worker is started all the same.
func TestWithoutSentinel(t *testing.T) {
	yes, no := func() bool { return true }, func() bool { return false }
	for name, in := range map[string]executable{
		"it cannot be started":         {"/nowhere", yes},
		"the program was replaced":     {thisProgram().path, no},
		"it answers something else":    {"/bin/cat", yes},
		"it ends before it has begun":  {"/bin/true", yes},
		"it is not known where we are": {},
		"(and so it is with sentinel)": thisProgram(),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t, "event")
			g.sys.program = in
			parent := g.parent()
			if err := g.launch(stays); err != nil {
				t.Fatal(err)
			}
			ids := g.members()
			if got, want := strings.Contains(g.Containment(), "sentinel"), in.path == thisProgram().path && in.same(); got != want {
				t.Errorf("containment %q", g.Containment())
			}
			if conn := g.sys.hold.sentinel; conn != nil {
				testkit.Adopt(t, testkit.Identify(t, conn.h.pid))
			}
			g.guard(watch.Config{Owns: true, Grace: hasty})
			parent.Kill()
			g.want(128+15, watch.ParentEnded)
			testkit.AwaitGone(t, ids...)
		})
	}
}
