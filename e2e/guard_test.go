//go:build linux

package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/testkit"
)

const stay = "echo ready; exec sleep 1000000"

func TestGuardEndsTheWorkerWithItsParent(t *testing.T) {
	for _, backend := range []string{"event", "poll", "auto"} {
		parent, w := sleeper(t), scriptWorker(t, stay)
		g := guard(t, w, parent, "--backend", backend, "--poll-interval", "20ms", "--grace", "1m")
		testkit.StillAlive(t, w.Ident)
		parent.Kill()
		testkit.AwaitGone(t, w.Ident)
		if status := g.Wait(); status != 0 {
			t.Errorf("%s: status %d", backend, status)
		}
		e := g.Stderr.AwaitEvent("process.cleanup_completed")
		if e["success"] != true || e.Str("method") != "stop_signal" {
			t.Errorf("%v", e)
		}
	}
}

func TestGuardOfAWorkerThatIsGone(t *testing.T) {
	w := scriptWorker(t, stay)
	w.Kill()
	w.Wait()
	status, _, stderr := testkit.Run(t, watchdog(t, "guard", "--worker-pid", pid(w)))
	if status != 0 || !strings.Contains(stderr, `"outcome":"worker_exited"`) {
		t.Errorf("status %d\n%s", status, stderr)
	}
}

func TestGuardWithAParentDeadAtStart(t *testing.T) {
	parent, w := sleeper(t), scriptWorker(t, stay)
	parent.Kill()
	parent.Wait()
	g := guard(t, w, parent)
	testkit.AwaitGone(t, w.Ident)
	if by := g.Stderr.AwaitEvent("watchdog.parent_death_detected").Str("detected_by"); by != "start" {
		t.Errorf("detected by %q", by)
	}
	if status := g.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestTheDeathOfAnyParentCounts(t *testing.T) {
	a, b, w := sleeper(t), sleeper(t), scriptWorker(t, stay)
	g := guard(t, w, a, "--parent-pid", pid(b))
	b.Kill()
	testkit.AwaitGone(t, w.Ident)
	if p := g.Stderr.AwaitEvent("watchdog.parent_death_detected").Int("process.parent_pid"); p != b.PID {
		t.Errorf("parent %d, want %d", p, b.PID)
	}
	testkit.StillAlive(t, a.Ident)
}

func TestLifeline(t *testing.T) {
	for _, fd := range []string{"0", "3"} {
		w := scriptWorker(t, stay)
		r, wr, _ := os.Pipe()
		cmd := watchdog(t, "guard", "--worker-pid", pid(w), "--parent-fd", fd)
		if fd == "0" {
			cmd.Stdin = r
		} else {
			cmd.ExtraFiles = []*os.File{r}
		}
		g := testkit.Start(t, cmd)
		r.Close()
		g.Stderr.AwaitEvent("watchdog.started")
		wr.Write([]byte("data is not the end"))
		g.Signal(syscall.SIGHUP) // and neither is this
		testkit.StillAlive(t, w.Ident, g.Ident)
		wr.Close()
		testkit.AwaitGone(t, w.Ident)
		if by := g.Stderr.AwaitEvent("watchdog.parent_death_detected").Str("detected_by"); by != "lifeline" {
			t.Errorf("detected by %q", by)
		}
	}
}

func TestLifelineBesideAParent(t *testing.T) {
	parent, w := sleeper(t), scriptWorker(t, stay)
	cmd := watchdog(t, "guard", "--worker-pid", pid(w), "--parent-pid", pid(parent), "--parent-fd", "0")
	in, _ := cmd.StdinPipe()
	g := testkit.Start(t, cmd)
	g.Stderr.AwaitEvent("watchdog.started")
	parent.Kill()
	testkit.AwaitGone(t, w.Ident)
	in.Close()
}

func TestSignalsToGuard(t *testing.T) {
	for _, s := range []syscall.Signal{unix.SIGTERM, unix.SIGINT} {
		parent, w := sleeper(t), scriptWorker(t, `trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
		g := guard(t, w, parent, "--grace", "1m")
		for n := syscall.Signal(1); n <= 64; n++ {
			switch n {
			case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGKILL, unix.SIGSTOP, 33,
				unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSTKFLT: // its end
			default: // nothing to guard
				g.Signal(n)
			}
		}
		g.Signal(s)
		w.Stdout.Await("term")
		if status := g.Wait(); status != 0 {
			t.Errorf("%v: status %d", s, status)
		}
		if o := g.Stderr.AwaitEvent("watchdog.stopped").Str("outcome"); o != "signalled" {
			t.Errorf("outcome %q", o)
		}
		testkit.StillAlive(t, parent.Ident)
	}
}

func TestStoppedWorkerGetsTheStopSignal(t *testing.T) {
	parent, w := sleeper(t), scriptWorker(t, `trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
	guard(t, w, parent, "--grace", "300s")
	w.Signal(unix.SIGSTOP)
	awaitState(t, w.PID, "T")
	parent.Kill()
	w.Stdout.Await("term")
}

func TestGroupThatTheWorkerDoesNotLead(t *testing.T) {
	// The worker, its child and a bystander share the shell's group.
	shell := scriptWorker(t, `sleep 1000000 & echo bystander $!
		sh -c 'sleep 1000000 & echo child $!; echo worker $$; wait' & echo ready; wait`)
	var ids []testkit.Ident
	for _, n := range []string{"bystander", "child", "worker"} {
		ids = append(ids, identOf(t, shell.Stdout, n))
	}
	parent := sleeper(t)
	g := testkit.Start(t, watchdog(t, "guard", "--worker-pid", itoa(ids[2].PID), "--parent-pid", pid(parent)))
	if e := g.Stderr.AwaitEvent("watchdog.started"); !strings.Contains(e.Str("msg"), "one by one") || strings.Contains(e.Str("containment"), "group") {
		t.Errorf("not said: %v", e)
	}
	parent.Kill()
	testkit.AwaitGone(t, ids[1:]...)
	if status := g.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.StillAlive(t, ids[0], shell.Ident)
}

func TestWorkerInTheWatchdogsOwnGroup(t *testing.T) {
	parent := sleeper(t)
	shell := testkit.Start(t, exec.Command("sh", "-c",
		`sleep 1000000 & echo worker $!; "$0" guard --log-format json --worker-pid $! --parent-pid $1; echo status $?; exec sleep 1000000`,
		testkit.Watchdog(t), pid(parent)))
	id := identOf(t, shell.Stdout, "worker")
	shell.Stderr.AwaitEvent("watchdog.started")
	parent.Kill()
	testkit.AwaitGone(t, id)
	if s := shell.Stdout.Await("status "); s != "0" {
		t.Errorf("status %s", s)
	}
	testkit.StillAlive(t, shell.Ident)
}

func TestGuardEndsEscapeesItHasSeen(t *testing.T) {
	py := testkit.NeedPython(t)
	parent := sleeper(t)
	cmd := exec.Command(py, "-c", `
import os, subprocess, sys
p = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], start_new_session=True)
print(f"deaf {p.pid}\n", end="", flush=True)
p = subprocess.Popen(["sleep", "1000000"], start_new_session=True)
print(f"setsid {p.pid}\n", end="", flush=True)
print("ready\n", end="", flush=True)
sys.stdin.readline()
`)
	in, _ := cmd.StdinPipe()
	w := testkit.Start(t, cmd)
	w.Stdout.Await("ready")
	deaf, setsid := identOf(t, w.Stdout, "deaf"), identOf(t, w.Stdout, "setsid")
	g := guard(t, w, parent, "--grace", "100ms")
	in.Write([]byte("\n")) // the worker ends on its own: its children lose it
	testkit.AwaitGone(t, w.Ident, deaf, setsid)
	if status := g.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
}

const daemon = `
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(f"daemon {os.getpid()}\n", end="", flush=True)
        signal.pause()
    os._exit(0)
os.wait()
print("ready\n", end="", flush=True)
signal.pause()
`

func TestLabelsFindUnseenEscapees(t *testing.T) {
	py := testkit.NeedPython(t)
	start := func(run, worker string) (*testkit.Proc, testkit.Ident) {
		cmd := exec.Command(py, "-c", daemon)
		cmd.Env = append(os.Environ(), "LEASH_RUN_ID="+run, "LEASH_WORKER_ID="+worker)
		p := testkit.Start(t, cmd)
		p.Stdout.Await("ready")
		return p, identOf(t, p.Stdout, "daemon")
	}
	mine, escapee := start("k3x9a2p", "w1")
	sibling, siblings := start("k3x9a2p", "w2")
	other, others := start("k3x9a2q", "w1")
	unnamed, nameless := start("k3x9a2p", "")
	parent := sleeper(t)
	g := guard(t, mine, parent)
	// Watchdogs carry the labels of their worker's environment too.
	cmd := watchdog(t, "guard", "--worker-pid", pid(sibling), "--parent-pid", pid(sleeper(t)))
	cmd.Env = append(cmd.Env, "LEASH_RUN_ID=k3x9a2p", "LEASH_WORKER_ID=w1")
	dog := testkit.Start(t, cmd)
	dog.Stderr.AwaitEvent("watchdog.started")
	parent.Kill()
	testkit.AwaitGone(t, mine.Ident, escapee)
	if status := g.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.StillAlive(t, siblings, others, nameless, sibling.Ident, other.Ident, unnamed.Ident, dog.Ident)
}

func TestContradictingLabelsFindNothing(t *testing.T) {
	py := testkit.NeedPython(t)
	cmd := exec.Command(py, "-c", daemon)
	cmd.Env = append(os.Environ(), "LEASH_RUN_ID=k3x9a2p", "LEASH_WORKER_ID=w1")
	w := testkit.Start(t, cmd)
	w.Stdout.Await("ready")
	escapee := identOf(t, w.Stdout, "daemon")
	parent := sleeper(t)
	g := guard(t, w, parent, "--worker-id", "w9")
	parent.Kill()
	testkit.AwaitGone(t, w.Ident)
	g.Wait()
	testkit.StillAlive(t, escapee)
}

func TestRunIDIsReadFromTheWorker(t *testing.T) {
	for _, arg := range [][]string{{"--run-id", "k3x9a2p"}, {"--snakepit-run-id=k3x9a2p"}} {
		w := testkit.Start(t, exec.Command("sh", append([]string{"-c", "echo ready; while :; do sleep 1; done", "worker.py"}, arg...)...))
		w.Stdout.Await("ready")
		parent := sleeper(t)
		g := testkit.Start(t, watchdog(t, "guard", "--worker-pid", pid(w), "--parent-pid", pid(parent)))
		if id := g.Stderr.AwaitEvent("watchdog.started").Str("leash.run_id"); id != "k3x9a2p" {
			t.Errorf("%q: run ID %q", arg, id)
		}
	}
}

func TestAnotherUsersWorkerIsRefused(t *testing.T) {
	testkit.NeedRoot(t)
	w := sleeper(t)
	bin := "/tmp/leash-e2e-watchdog-" + itoa(os.Getpid())
	b := readFile(t, testkit.Watchdog(t))
	if err := os.WriteFile(bin, b, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(bin)
	cmd := exec.Command(bin, "guard", "--worker-pid", pid(w))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	status, _, stderr := testkit.Run(t, cmd)
	if status != 125 || !strings.Contains(stderr, "another user") || strings.Count(stderr, "\n") != 0 {
		t.Errorf("status %d, %q", status, stderr)
	}
	testkit.StillAlive(t, w.Ident)
}

func TestSeccompRefusesPidfds(t *testing.T) {
	py := testkit.NeedPython(t)
	// It answers pidfd_open (434) and pidfd_send_signal (424) with EPERM.
	filter := filtered("ins(0x15,1,0,434) + ins(0x15,0,1,424) + ins(0x06,0,0,0x00050001)")
	run := func(args ...string) *exec.Cmd {
		cmd := watchdog(t)
		return exec.Command(py, append([]string{"-c", filter, cmd.Path}, args...)...)
	}
	parent, w := sleeper(t), scriptWorker(t, `setsid sleep 1000000 & echo child $!; echo ready; exec sleep 1000000`)
	child := identOf(t, w.Stdout, "child")
	g := testkit.Start(t, run("guard", "--log-format", "json", "--poll-interval", "20ms", "--worker-pid", pid(w), "--parent-pid", pid(parent)))
	if b := g.Stderr.AwaitEvent("watchdog.started").Str("backend"); b != "poll" {
		t.Errorf("backend %q", b)
	}
	parent.Kill()
	testkit.AwaitGone(t, w.Ident, child)
	if status := g.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if status, _, _ := testkit.Run(t, run("run", "--log-level", "error", "--", "sh", "-c", "exit 5")); status != 5 {
		t.Errorf("run: status %d", status)
	}
	if status, _, stderr := testkit.Run(t, run("run", "--backend", "event", "--", "true")); status != 125 || !strings.Contains(stderr, "--backend") {
		t.Errorf("event: status %d, %q", status, stderr)
	}
}

func TestTheNextWorkerOfTheSameNameLives(t *testing.T) {
	py := testkit.NeedPython(t)
	parent := testkit.Start(t, exec.Command(py, "-c", `
import os, subprocess, sys
env = dict(os.environ, LEASH_RUN_ID="k3x9a2p", LEASH_WORKER_ID="w1")
start = lambda: subprocess.Popen(["sleep", "1000000"], env=env, start_new_session=True)
a = start()
sys.stdout.write(f"first {a.pid}\n"); sys.stdout.flush()
a.wait()
b = start()
sys.stdout.write(f"second {b.pid}\n"); sys.stdout.flush()
b.wait()
`))
	first := identOf(t, parent.Stdout, "first")
	g := testkit.Start(t, watchdog(t, "guard", "--worker-pid", itoa(first.PID), "--parent-pid", pid(parent)))
	g.Stderr.AwaitEvent("watchdog.started")
	first.Signal(unix.SIGKILL)
	second := identOf(t, parent.Stdout, "second")
	if status := g.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.StillAlive(t, second)
}

// zombie starts a worker that ends at once and is not reaped while its parent
// lives. kind is setsid or setpgid, of which it leads something, or none.
func zombie(t *testing.T, kind string) (parent *testkit.Proc, stdin io.Writer, worker int, children map[string]testkit.Ident) {
	t.Helper()
	cmd := exec.Command(testkit.NeedPython(t), "-c", `
import os, signal, subprocess, sys
kind = sys.argv[1]
say = lambda text: os.write(1, (text + "\n").encode())
r, w = os.pipe()
worker = os.fork()
if worker == 0:
    if kind == "setsid": os.setsid()
    if kind == "setpgid": os.setpgid(0, 0)
    deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
    env = dict(os.environ, LEASH_RUN_ID="k3x9a2p", LEASH_WORKER_ID="w1")
    say(f"plain {subprocess.Popen(['sleep', '1000000']).pid}")
    say(f"deaf {subprocess.Popen(deaf).pid}")
    say(f"group {subprocess.Popen(['sleep', '1000000'], process_group=0).pid}")
    say(f"labelled {subprocess.Popen(['sleep', '1000000'], start_new_session=True, env=env).pid}")
    say(f"far {subprocess.Popen(['sleep', '1000000'], start_new_session=True).pid}")
    os._exit(0)
os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
say(f"worker {worker}")
for line in sys.stdin:
    os.waitpid(worker, 0)
    say("reaped")
    # The next worker of the same name, and what it starts.
    env = dict(os.environ, LEASH_RUN_ID="k3x9a2p", LEASH_WORKER_ID="w1")
    script = "echo next $$; setsid sleep 1000000 & echo below $!; wait"
    subprocess.Popen(["sh", "-c", script], start_new_session=True, env=env)
signal.pause()
`, kind)
	stdin = input(t, cmd)
	parent = testkit.Start(t, cmd)
	children = map[string]testkit.Ident{}
	for _, name := range []string{"plain", "deaf", "group", "labelled", "far"} {
		children[name] = identOf(t, parent.Stdout, name)
		testkit.Adopt(t, children[name])
	}
	id := parent.Stdout.Await("worker ")
	for _, c := range id {
		worker = 10*worker + int(c-'0')
	}
	return parent, stdin, worker, children
}

// A worker that has ended and was not reaped holds its group and session: what
// is in them is ended, and nothing else.
func TestGuardOfAZombie(t *testing.T) {
	for _, c := range []struct {
		kind  string
		flags []string
		ends  []string
	}{
		{"setsid", nil, []string{"plain", "deaf", "group"}},
		{"setpgid", nil, []string{"plain", "deaf"}},
		{"none", nil, nil},
		{"setsid", []string{"--run-id", "k3x9a2p", "--worker-id", "w1"}, []string{"plain", "deaf", "group", "labelled"}},
		{"none", []string{"--run-id", "k3x9a2p", "--worker-id", "w1"}, []string{"labelled"}},
		{"none", []string{"--run-id", "k3x9a2p", "--worker-id", "w2"}, nil},
	} {
		t.Run(c.kind+strings.Join(c.flags, ""), func(t *testing.T) {
			parent, _, worker, children := zombie(t, c.kind)
			bystander := sleeper(t)
			status, _, stderr := testkit.Run(t, watchdog(t, append([]string{"guard", "--worker-pid", itoa(worker),
				"--parent-pid", pid(parent), "--grace", "100ms"}, c.flags...)...))
			if status != 0 || !strings.Contains(stderr, `"outcome":"worker_exited"`) {
				t.Errorf("status %d\n%s", status, stderr)
			}
			for name, id := range children {
				if want := contains(c.ends, name); id.Alive() == want {
					t.Errorf("%s is to end: %t, and it is alive: %t", name, want, id.Alive())
				}
			}
			testkit.StillAlive(t, parent.Ident, bystander.Ident)
		})
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// Of a worker that was reaped only its labels are left. They count if the call
// itself gave both; variables may be those of a worker that started the watchdog.
func TestGuardOfAReapedWorkersLabels(t *testing.T) {
	for _, c := range []struct {
		flags, env []string
		ends       bool
	}{
		{[]string{"--run-id", "k3x9a2p", "--worker-id", "w1"}, nil, true},
		{[]string{"--run-id=k3x9a2p"}, []string{"LEASH_WORKER_ID=w1"}, false},
		{nil, []string{"LEASH_RUN_ID=k3x9a2p", "LEASH_WORKER_ID=w1"}, false},
		{[]string{"--run-id", "k3x9a2p", "--worker-id", "w2"}, nil, false},
		{nil, nil, false},
	} {
		parent, stdin, worker, children := zombie(t, "setsid")
		tell(t, stdin, "reap")
		parent.Stdout.Await("reaped")
		next, below := identOf(t, parent.Stdout, "next"), identOf(t, parent.Stdout, "below")
		cmd := watchdog(t, append([]string{"guard", "--worker-pid", itoa(worker), "--parent-pid", pid(parent), "--grace", "100ms"}, c.flags...)...)
		cmd.Env = append(cmd.Env, c.env...)
		status, _, stderr := testkit.Run(t, cmd)
		if status != 0 || !strings.Contains(stderr, `"outcome":"worker_exited"`) {
			t.Errorf("%v: status %d\n%s", c, status, stderr)
		}
		if children["labelled"].Alive() == c.ends {
			t.Errorf("%v: it is alive: %t\n%s", c, children["labelled"].Alive(), stderr)
		}
		testkit.StillAlive(t, next, below, parent.Ident, children["plain"], children["deaf"], children["far"])
	}
}

// A wrapper executes the worker a while after guard has begun. The labels of its
// last program count: for what escaped, in the events and in the ledger.
func TestLabelsThatComeLate(t *testing.T) {
	py := testkit.NeedPython(t)
	for _, c := range []struct {
		name, first string
		flags       []string
		ends        bool
	}{
		{"without a scan between", "", nil, true},
		{"outer labels", "0uter00", nil, true},
		{"other flags", "", []string{"--worker-id", "w9"}, false},
		{"the same flags", "", []string{"--run-id", "k3x9a2p", "--worker-id", "w1"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			cmd := exec.Command("sh", "-c", `echo ready; read line; exec env LEASH_RUN_ID=k3x9a2p LEASH_WORKER_ID=w1 "$@"`,
				"wrapper", py, "-c", strings.Replace(daemon, "ready", "worker", 1))
			if c.first != "" {
				cmd.Env = append(os.Environ(), "LEASH_RUN_ID="+c.first, "LEASH_WORKER_ID=w0")
			}
			stdin := input(t, cmd)
			w := testkit.Start(t, cmd)
			w.Stdout.Await("ready")
			parent := sleeper(t)
			g := watchdog(t, append([]string{"guard", "--worker-pid", pid(w), "--parent-pid", pid(parent)}, c.flags...)...)
			g.Env = append(g.Env, "LEASH_STATE_DIR="+state)
			dog := testkit.Start(t, g)
			first := dog.Stderr.AwaitEvent("watchdog.started").Str("leash.run_id")
			tell(t, stdin, "go")
			w.Stdout.Await("worker")
			escapee := identOf(t, w.Stdout, "daemon")
			if c.first != "" {
				if first != c.first {
					t.Errorf("the run ID of the wrapper is %q", first)
				}
				// A process that had both labels at first is read again at the next scan.
				awaitRecord(t, state, "of the new labels", func(r ledger.Record) bool {
					return r.RunID == "k3x9a2p" && r.WorkerID == "w1"
				})
			}
			parent.Kill()
			dog.Wait()
			if escapee.Alive() == c.ends {
				t.Errorf("expected the daemon to be ended: %t; it is alive: %t", c.ends, escapee.Alive())
			}
			last := dog.Stderr.AwaitEvent("watchdog.stopped").Str("leash.run_id")
			if last != "k3x9a2p" || first == last && len(c.flags) < 4 {
				t.Errorf("the run ID was %q and is %q", first, last)
			}
		})
	}
}

// Where descriptors are so few that nothing can be known of a child that ignores
// the stop signal, guard either ends it or says that it does not know.
func TestGuardWithFewDescriptors(t *testing.T) {
	for _, limit := range []int{9, 13, 14, 16} {
		t.Run(itoa(limit), func(t *testing.T) {
			t.Parallel()
			w := scriptWorker(t, `for i in 1 2 3; do
					setsid sh -c 'trap "" TERM; echo child $$; while :; do sleep 1; done' &
				done; echo ready; wait`)
			var children []testkit.Ident
			for range 3 {
				children = append(children, identOf(t, w.Stdout, "child"))
			}
			parent := sleeper(t)
			cmd := watchdog(t, "guard", "--worker-pid", pid(w), "--parent-pid", pid(parent), "--grace", "100ms")
			g := testkit.Start(t, limited(cmd, limit))
			if !g.Stderr.Happens("watchdog.started") { // with too few it does not even start, and says so
				if status := g.Wait(); status != 125 && status != 2 {
					t.Errorf("status %d", status)
				}
				return
			}
			parent.Kill()
			status := g.Wait()
			left := 0
			for _, id := range children {
				if id.Alive() {
					left++
				}
			}
			if status == 0 && left > 0 || status != 0 && status != 1 {
				t.Errorf("status %d, and %d live", status, left)
			}
			t.Logf("status %d, and %d live", status, left)
		})
	}
}

// limited has a command run with so many descriptors.
func limited(cmd *exec.Cmd, n int) *exec.Cmd {
	c := exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, n)}, cmd.Args...)...)
	c.Env = cmd.Env
	return c
}
