//go:build linux

package darwin

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/event"
	"leash/internal/proc"
	"leash/internal/system"
	"leash/internal/testkit"
	"leash/watch"
)

// guarded is a worker as cmd/watchdog completes it, over the stand-in.
type guarded struct {
	*host
	t      *testing.T
	said   *testkit.Lines // by the worker
	fifo   string
	result chan int
	grace  time.Duration
}

// worker is the handle on the worker.
func (g *guarded) worker() *handle { return g.sys.hold.worker }

func (g *guarded) Restart() (int, error) { return 0, g.launch(signals) }

func testSystem(t *testing.T, backend string) *System {
	t.Helper()
	st := newStandIn(t)
	k, err := newKernel(st)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSystem(k, st, st, backend)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newGuarded(t *testing.T, backend string) *guarded {
	t.Helper()
	g := &guarded{host: newHost(t, testSystem(t, backend)), t: t, fifo: filepath.Join(t.TempDir(), "said"), result: make(chan int, 1)}
	if err := unix.Mkfifo(g.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(g.fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	g.said = testkit.Collect(t, f)
	t.Cleanup(func() { f.Close() })
	return g
}

// tree prints the PIDs of a child, of a daemon and of one that ignores TERM.
const tree = `
import os, signal, subprocess, sys
out = open(sys.argv[1], "w")
def say(word):
    out.write(f"{word}\n")
    out.flush()
say(subprocess.Popen(["sleep", "1000000"]).pid)
reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writer, str(os.getpid()).encode())
        os.execvp("sleep", ["sleep", "1000000"])
    os._exit(0)
os.waitpid(pid, 0)
say(os.read(reader, 16).decode())
child = subprocess.Popen([sys.executable, "-c", """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    signal.pause()
"""], stdout=subprocess.PIPE)
child.stdout.readline()
say(child.pid)
say("ready")
`

const (
	stays   = tree + "signal.pause()\n"
	leaves  = tree + "sys.exit(3)\n"
	signals = `
import os, signal, sys
out = os.open(sys.argv[1], os.O_WRONLY)
signal.signal(signal.SIGUSR1, lambda *_: os.write(out, b"heard\n"))
os.write(out, b"ready\n")
while True:
    signal.pause()
`
)

func (g *guarded) env() []string {
	return append(os.Environ(), "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID="+g.label())
}

// label is a worker ID that no other test has.
func (g *guarded) label() string { return "w-" + strconv.Itoa(os.Getpid()) + g.t.Name() }

func (g *guarded) launch(script string) error {
	python := testkit.NeedPython(g.t)
	info, err := g.Start(system.Command{Path: python, Args: []string{"python3", "-c", script, g.fifo}, Env: g.env(), Sentinel: true})
	if err == nil {
		testkit.Adopt(g.t, testkit.Identify(g.t, info.PID))
		g.Label("abc1234", g.label())
	}
	return err
}

// members are those that the tree names.
func (g *guarded) members() []testkit.Ident {
	g.t.Helper()
	g.said.Await("ready")
	var ids []testkit.Ident
	for _, line := range strings.Fields(g.said.All()) {
		if pid, err := strconv.Atoi(line); err == nil {
			ids = append(ids, testkit.Identify(g.t, pid))
		}
	}
	testkit.Adopt(g.t, ids...)
	if len(ids) != 3 {
		g.t.Fatalf("%d members", len(ids))
	}
	return ids
}

// hasty is a grace period that is to run out, on the one that ignores TERM.
const hasty = 300 * time.Millisecond

// guard has no haste unless the test has: what handles TERM may be slow.
func (g *guarded) guard(cfg watch.Config) {
	cfg.StopSignal = proc.TERM
	if cfg.Grace == 0 {
		cfg.Grace = testkit.Patience
	}
	g.grace, cfg.Scans = cfg.Grace, true
	go func() {
		status, err := watch.Guard(watch.NewMachine(cfg), g.Worker, g)
		if err != nil {
			g.t.Error(err)
		}
		g.result <- status
	}()
}

// want also takes a worker that got the stop signal, and was killed when it did nothing
// for longer than a hasty grace period.
func (g *guarded) want(status int, outcome string) {
	g.t.Helper()
	select {
	case got := <-g.result:
		late := g.grace == hasty && g.attr(event.SignalSent, event.Signal) == proc.TERM.Name
		if got != status && !(late && status == 128+15 && got == 128+9) {
			g.t.Errorf("status %d, want %d", got, status)
		}
	case <-time.After(testkit.Patience):
		g.t.Fatal("it does not end")
	}
	if got := g.attr(event.WatchdogStopped, event.Outcome); got != outcome {
		g.t.Errorf("outcome %q, want %q", got, outcome)
	}
	if got := g.attr(event.CleanupCompleted, event.Survivors); got != "0" {
		g.t.Errorf("%s survivors: %v", got, g.Survivors())
	}
}

// attr is that of the first record of a name.
func (g *guarded) attr(name, key string) string {
	i := slices.IndexFunc(g.records, func(r watch.Record) bool { return r.Event == name })
	if i < 0 {
		return "no record"
	}
	j := slices.IndexFunc(g.records[i].Attrs, func(a slog.Attr) bool { return a.Key == key })
	if j < 0 {
		return "no attribute"
	}
	return g.records[i].Attrs[j].Value.String()
}

func sleeper(t *testing.T, env ...string) *testkit.Proc {
	t.Helper()
	cmd := exec.Command("sleep", "1000000")
	cmd.Env = append(os.Environ(), env...)
	return testkit.Start(t, cmd)
}

func (g *guarded) by() string {
	if g.Backend() == "poll" {
		return "poll"
	}
	return "kqueue"
}

func (g *guarded) parent() *testkit.Proc {
	g.t.Helper()
	p := sleeper(g.t)
	if alive, err := g.AddParent(p.PID); !alive || err != nil {
		g.t.Fatal(alive, err)
	}
	return p
}

func TestRunParentDies(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		g := newGuarded(t, backend)
		parent := g.parent()
		bystander := sleeper(t, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=another")
		if err := g.launch(stays); err != nil {
			t.Fatal(err)
		}
		ids := append(g.members(), testkit.Identify(t, g.worker().pid))
		if got := g.Containment(); got != "session,group,descendants,environment" {
			t.Errorf("containment %q", got)
		}
		r, err := g.Record()
		if err != nil || r.Worker.PID != g.worker().pid || r.Group != g.worker().pid || r.Session != g.worker().pid ||
			r.Watchdog.PID != os.Getpid() || len(r.Parents) != 1 || r.Parents[0].PID != parent.PID || r.NS != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		g.guard(watch.Config{Owns: true, Grace: hasty})
		parent.Kill()
		g.want(128+15, watch.ParentEnded)
		testkit.AwaitGone(t, ids...)
		testkit.StillAlive(t, bystander.Ident)
		if got := g.attr(event.ParentDeathDetected, event.DetectedBy); got != g.by() {
			t.Errorf("detected by %q", got)
		}
	})
}

func TestRunWorkerLeavesAMess(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		g := newGuarded(t, backend)
		g.parent()
		if err := g.launch(leaves); err != nil {
			t.Fatal(err)
		}
		ids := g.members() // before the guard begins, for it ends them
		g.guard(watch.Config{Owns: true, Grace: hasty})
		g.want(3, watch.WorkerEnded)
		testkit.AwaitGone(t, ids...)
		// As a zombie it has kept the group's number, so that all of it was
		// signalled in one stroke.
		if got := g.attr(event.SignalSent, event.Target); got != "group" {
			t.Errorf("the first signal went to a %s", got)
		}
		h := g.worker()
		if g.Close(); !h.reaped {
			t.Error("the worker was not reaped")
		}
	})
}

func TestRunWorkerIsKilled(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		g := newGuarded(t, backend)
		g.parent()
		if err := g.launch(signals); err != nil {
			t.Fatal(err)
		}
		g.said.Await("ready")
		g.guard(watch.Config{Owns: true})
		unix.Kill(g.worker().pid, unix.SIGKILL)
		g.want(128+9, watch.WorkerEnded)
	})
}

func TestRunForwardsAndRestarts(t *testing.T) {
	g := newGuarded(t, "event")
	parent := g.parent()
	if err := g.Listen(true); err != nil {
		t.Fatal(err)
	}
	if err := g.launch(signals); err != nil {
		t.Fatal(err)
	}
	g.said.Await("ready")
	first := testkit.Identify(t, g.worker().pid)
	g.guard(watch.Config{Owns: true, Restart: watch.RestartOnFailure, MaxRestarts: 3})
	unix.Kill(os.Getpid(), unix.SIGUSR1)
	g.said.Await("heard")
	if err := first.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the next worker", func() bool { return strings.Count(g.said.All(), "ready") == 2 })
	if id, still := testkit.Lookup(first.PID); still && id == first {
		t.Error("the first worker was not reaped")
	}
	parent.Kill()
	g.want(128+15, watch.ParentEnded)
}

func TestGuardParentDies(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		g := newGuarded(t, backend)
		parent := g.parent()
		cmd := exec.Command(testkit.NeedPython(t), "-c", stays, g.fifo)
		cmd.Env = g.env()
		worker := testkit.Start(t, cmd)
		ids := append(g.members(), worker.Ident)
		bystanders := []testkit.Ident{
			sleeper(t, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=another").Ident,
			sleeper(t, "LEASH_RUN_ID=other12", "LEASH_WORKER_ID="+g.label()).Ident,
		}
		a, err := g.Adopt(worker.PID)
		if err != nil || a.RunID != "abc1234" || a.WorkerID != g.label() || !g.Leads() {
			t.Fatalf("%+v, %v", a, err)
		}
		g.Label(a.RunID, a.WorkerID)
		g.guard(watch.Config{Grace: hasty})
		parent.Kill()
		g.want(0, watch.ParentEnded)
		testkit.AwaitGone(t, ids...)
		testkit.StillAlive(t, bystanders...)
	})
}

// Without labels nothing tells that the daemon is of the tree: that is what no
// subreaper means.
func TestGuardWithoutLabels(t *testing.T) {
	g := newGuarded(t, "event")
	parent := g.parent()
	worker := testkit.Start(t, exec.Command(testkit.NeedPython(t), "-c", stays, g.fifo))
	ids := g.members() // the second is the daemon
	if _, err := g.Adopt(worker.PID); err != nil {
		t.Fatal(err)
	}
	g.guard(watch.Config{Grace: hasty})
	parent.Kill()
	g.want(0, watch.ParentEnded)
	testkit.AwaitGone(t, ids[0], ids[2], worker.Ident)
	testkit.StillAlive(t, ids[1])
}

func TestGuardLifeline(t *testing.T) {
	g := newGuarded(t, "event")
	other := lifelineOf(t, g.Worker)
	worker := sleeper(t)
	if _, err := g.Adopt(worker.PID); err != nil {
		t.Fatal(err)
	}
	g.guard(watch.Config{})
	other.Close()
	g.want(0, watch.ParentEnded)
	if got := g.attr(event.ParentDeathDetected, event.DetectedBy); got != "lifeline" {
		t.Errorf("detected by %q", got)
	}
	testkit.AwaitGone(t, worker.Ident)
}
