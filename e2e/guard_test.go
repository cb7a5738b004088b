//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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
		g.Signal(unix.SIGHUP)
		g.Signal(unix.SIGPIPE)
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

func TestStoppedWorkerHearsThePoliteSignal(t *testing.T) {
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

func TestGuardEndsStraysItHasSeen(t *testing.T) {
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

func TestLabelsFindWhoEscapedUnseen(t *testing.T) {
	py := testkit.NeedPython(t)
	start := func(run, worker string) (*testkit.Proc, testkit.Ident) {
		cmd := exec.Command(py, "-c", daemon)
		cmd.Env = append(os.Environ(), "LEASH_RUN_ID="+run, "LEASH_WORKER_ID="+worker)
		p := testkit.Start(t, cmd)
		p.Stdout.Await("ready")
		return p, identOf(t, p.Stdout, "daemon")
	}
	mine, stray := start("k3x9a2p", "w1")
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
	testkit.AwaitGone(t, mine.Ident, stray)
	if status := g.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.StillAlive(t, siblings, others, nameless, sibling.Ident, other.Ident, unnamed.Ident, dog.Ident)
}

func TestContradictingLabelsFindNobody(t *testing.T) {
	py := testkit.NeedPython(t)
	cmd := exec.Command(py, "-c", daemon)
	cmd.Env = append(os.Environ(), "LEASH_RUN_ID=k3x9a2p", "LEASH_WORKER_ID=w1")
	w := testkit.Start(t, cmd)
	w.Stdout.Await("ready")
	stray := identOf(t, w.Stdout, "daemon")
	parent := sleeper(t)
	g := guard(t, w, parent, "--worker-id", "w9")
	parent.Kill()
	testkit.AwaitGone(t, w.Ident)
	g.Wait()
	testkit.StillAlive(t, stray)
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
	b, err := os.ReadFile(testkit.Watchdog(t))
	if err != nil {
		t.Fatal(err)
	}
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
