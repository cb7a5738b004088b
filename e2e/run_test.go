//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

func TestRunEndsTheWorkerWithItsParent(t *testing.T) {
	for _, backend := range []string{"event", "poll"} {
		parent := sleeper(t)
		w := testkit.Start(t, watchdog(t, "run", "--backend", backend, "--poll-interval", "20ms", "--grace", "1m",
			"--parent-pid", pid(parent), "--", "sh", "-c", "echo pid $$; exec sleep 1000000"))
		id := identOf(t, w.Stdout, "pid")
		w.Stderr.AwaitEvent("watchdog.started")
		testkit.StillAlive(t, id)
		parent.Kill()
		testkit.AwaitGone(t, id)
		if status := w.Wait(); status != 143 {
			t.Errorf("%s: status %d", backend, status)
		}
		by := w.Stderr.AwaitEvent("watchdog.parent_death_detected").Str("detected_by")
		if want := map[string]string{"event": "pidfd", "poll": "poll"}[backend]; by != want {
			t.Errorf("detected by %q, want %q", by, want)
		}
	}
}

func TestRunWithADeadParentStartsNothing(t *testing.T) {
	parent := sleeper(t)
	parent.Kill()
	parent.Wait()
	status, stdout, stderr := testkit.Run(t, watchdog(t, "run", "--parent-pid", pid(parent), "--", "echo", "started"))
	if status != 143 || stdout != "" || !strings.Contains(stderr, `"detected_by":"start"`) {
		t.Errorf("status %d, stdout %q\n%s", status, stdout, stderr)
	}
}

func TestZombieParentIsDead(t *testing.T) {
	for _, backend := range []string{"event", "poll"} {
		// Not a shell: that might wait for its child.
		p := testkit.Start(t, exec.Command(testkit.NeedPython(t), "-c", `import signal, subprocess
child = subprocess.Popen(["true"], stdout=subprocess.PIPE)
child.stdout.read()
print(f"pid {child.pid}\n", end="", flush=True)
signal.pause()`))
		parent := identOf(t, p.Stdout, "pid")
		w := scriptWorker(t, "echo ready; exec sleep 1000000")
		testkit.Start(t, watchdog(t, "guard", "--backend", backend, "--poll-interval", "20ms",
			"--worker-pid", pid(w), "--parent-pid", itoa(parent.PID)))
		testkit.AwaitGone(t, w.Ident)
	}
}

func TestTheWorkerStartsClean(t *testing.T) {
	py := testkit.NeedPython(t)
	script := `
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP})
for s in (signal.SIGHUP, signal.SIGPIPE, signal.SIGINT, signal.SIGTTOU, signal.SIGCHLD, signal.SIGUSR2):
    signal.signal(s, signal.SIG_IGN)
os.dup2(0, 9)
os.execv(sys.argv[1], sys.argv[1:])
`
	worker := `grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | tr '\n' ' '; echo; ps -o pid=,pgid=,sid= -p $$; env | grep -E 'LEASH|SPT|^GO(GC|MAXPROCS)' | sort`
	cmd := exec.Command(py, "-c", script, testkit.Watchdog(t), "run", "--log-level", "error", "--worker-id", "w 1", "--", "sh", "-c", worker)
	cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+stateDir(t), "GOGC=77", "LEASH_RUN_OWNER=stale", "LEASH_PARENT_PID="+itoa(os.Getpid()))
	status, out, stderr := testkit.Run(t, cmd)
	lines := strings.Split(out, "\n")
	if status != 0 || len(lines) < 8 {
		t.Fatalf("status %d:\n%s\n%s", status, out, stderr)
	}
	for _, l := range lines[:2] {
		if !strings.HasSuffix(l, "0000000000000000") {
			t.Errorf("not a clean start: %s", l)
		}
	}
	if lines[2] != "0 1 2 3 9 " { // 9 is what it was given, 3 the folder that is read
		t.Errorf("descriptors %q", lines[2])
	}
	if f := strings.Fields(lines[3]); f[0] != f[1] || f[0] != f[2] {
		t.Errorf("not the leader of its session and group: %v", f)
	}
	env := strings.Join(lines[4:], "\n")
	for _, want := range []string{"GOGC=77\n", "LEASH_RUN_ID=", "LEASH_WORKER_ID=w 1", "LEASH_RUN_OWNER=" + itoa(os.Getpid()) + ":", "SPT_NOENV=1"} {
		if !strings.Contains(env, want) {
			t.Errorf("no %q in\n%s", want, env)
		}
	}
	for _, bad := range []string{"HANDOVER", "GOMAXPROCS", "LEASH_GOGC", "LEASH_PARENT_PID", "stale"} {
		if strings.Contains(env, bad) {
			t.Errorf("%q in\n%s", bad, env)
		}
	}
}

func TestStandardStreamsAreTheSameDescriptors(t *testing.T) {
	w := testkit.Start(t, watchdog(t, "run", "--", "sh", "-c", "echo pid $$; exec sleep 1000000"))
	id := identOf(t, w.Stdout, "pid")
	for _, fd := range []string{"0", "1", "2"} {
		mine, _ := os.Readlink("/proc/" + pid(w) + "/fd/" + fd)
		its, _ := os.Readlink("/proc/" + itoa(id.PID) + "/fd/" + fd)
		if mine == "" || mine != its {
			t.Errorf("descriptor %s is %q, the watchdog's is %q", fd, its, mine)
		}
	}
	w.Signal(syscall.SIGTERM)
	w.Wait()
}

// forwardable are the signals that a worker can be told of: all but those of a
// program's own faults, those
// which the system itself sends (CHLD, PIPE), the Go runtime's own (URG, PROF, 33),
// those that no Go program receives (32, 34), and those that stop (tested on their own).
var forwardable = []syscall.Signal{
	unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGVTALRM,
	unix.SIGWINCH, unix.SIGIO, unix.SIGPWR, unix.SIGCONT, unix.SIGABRT, unix.SIGXCPU,
	unix.SIGXFSZ, unix.SIGSYS, 35, 50, 64, unix.SIGINT,
}

const echoSignals = `
import signal, sys
def say(n, f): print(f"got {int(n)}\n", end="", flush=True)
for s in range(1, 65):
    if s not in (9, 19, 17, 32, 33, 11, 7, 8, 4): signal.signal(s, say)
print("ready\n", end="", flush=True)
while True: signal.pause()
`

func TestSignalsAreForwarded(t *testing.T) {
	py := testkit.NeedPython(t)
	start := func(grace string) *testkit.Proc {
		w := testkit.Start(t, watchdog(t, "run", "--grace", grace, "--", py, "-c", echoSignals))
		w.Stdout.Await("ready")
		w.Stderr.AwaitEvent("watchdog.started")
		return w
	}
	w := start("10m")
	for _, s := range []syscall.Signal{32, 34} { // ignored: their default would end the watchdog
		w.Signal(s)
	}
	for _, s := range forwardable {
		w.Signal(s)
		w.Stdout.Await("got " + itoa(int(s)))
	}
	w = start("100ms")
	w.Signal(unix.SIGINT)
	if status := w.Wait(); status != 137 { // after INT the grace runs
		t.Errorf("status %d", status)
	}
}

func TestTermIsTheStopSignalAndGraceEndsIt(t *testing.T) {
	w := testkit.Start(t, watchdog(t, "run", "--stop-signal", "USR1", "--grace", "300s", "--", "sh", "-c",
		`trap 'echo polite; exit 5' USR1; trap '' TERM; echo ready; while :; do sleep 0.01; done`))
	w.Stdout.Await("ready")
	w.Signal(syscall.SIGTERM)
	w.Stdout.Await("polite")
	if status := w.Wait(); status != 5 {
		t.Errorf("status %d", status)
	}
	w = testkit.Start(t, watchdog(t, "run", "--grace", "50ms", "--", "sh", "-c", `trap '' TERM; echo ready; while :; do sleep 0.01; done`))
	w.Stdout.Await("ready")
	w.Signal(syscall.SIGTERM)
	if status := w.Wait(); status != 137 {
		t.Errorf("status %d", status)
	}
	if m := w.Stderr.AwaitEvent("process.cleanup_completed").Str("method"); m != "cgroup" && m != "sigkill" {
		t.Errorf("method %q", m)
	}
}

// escapees leaves three kinds of descendant behind that a group signal misses.
const escapees = `
import os, subprocess, sys
def hide(name, ignore):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            import signal
            if ignore: signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print(f"{name} {os.getpid()}\n", end="", flush=True)
            signal.pause()
        os._exit(0)
    os.wait()
hide("double", False)
hide("deaf", True)
p = subprocess.Popen(["sleep", "1000000"], start_new_session=True)
print(f"setsid {p.pid}\n", end="", flush=True)
p = subprocess.Popen(["sleep", "1000000"], process_group=0)
print(f"group {p.pid}\n", end="", flush=True)
print(f"self {os.getpid()}\n", end="", flush=True)
sys.stdin.readline()
os._exit(9)
`

func TestRunLeavesNothingOfTheTree(t *testing.T) {
	py := testkit.NeedPython(t)
	for _, how := range []string{"worker exits", "parent dies", "signalled"} {
		t.Run(how, func(t *testing.T) {
			parent := sleeper(t)
			cmd := watchdog(t, "run", "--grace", "200ms", "--parent-pid", pid(parent), "--", py, "-c", escapees)
			in, _ := cmd.StdinPipe()
			w := testkit.Start(t, cmd)
			var ids []testkit.Ident
			for _, name := range []string{"double", "deaf", "setsid", "group", "self"} {
				ids = append(ids, identOf(t, w.Stdout, name))
			}
			testkit.StillAlive(t, ids...)
			// A process that is not quick enough for this grace period, which the one
			// that ignores the signal makes run out, is killed.
			want := []int{143, 137}
			switch how {
			case "worker exits":
				in.Write([]byte("\n"))
				want = []int{9}
			case "parent dies":
				parent.Kill()
			case "signalled":
				w.Signal(syscall.SIGTERM)
			}
			if status := w.Wait(); !slices.Contains(want, status) {
				t.Errorf("status %d, want one of %d", status, want)
			}
			testkit.AwaitGone(t, ids...)
			if e := w.Stderr.AwaitEvent("process.cleanup_completed"); e["success"] != true {
				t.Errorf("%v", e)
			}
		})
	}
}

func TestKilledWatchdogTakesTheWorkerAlong(t *testing.T) {
	w := testkit.Start(t, watchdog(t, "run", "--", "sh", "-c", "echo pid $$; exec sleep 1000000"))
	id := identOf(t, w.Stdout, "pid")
	w.Stderr.AwaitEvent("watchdog.started")
	w.Kill()
	testkit.AwaitGone(t, id)
}

func TestChildrenFromBeforeAreBystanders(t *testing.T) {
	// A shell starts a child and then becomes the watchdog.
	cmd := exec.Command("sh", "-c", `sleep 1000000 & echo bystander $!; exec "$0" run -- sh -c 'echo ready; exit 4'`, testkit.Watchdog(t))
	w := testkit.Start(t, cmd)
	bystander := identOf(t, w.Stdout, "bystander")
	if status := w.Wait(); status != 4 {
		t.Errorf("status %d", status)
	}
	testkit.StillAlive(t, bystander)
}

func TestPID1ReapsAndForwards(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare")
	w := testkit.Start(t, exec.Command("unshare", "-pf", "--mount-proc", "--kill-child", testkit.Watchdog(t), "run", "--log-format", "json", "--", "sh", "-c",
		`for i in 1 2 3 4 5; do (setsid sh -c 'exit 0' & ) ; done
		 trap 'echo usr1; exit 6' USR1
		 while ps -eo stat= | grep -q Z; do sleep 0.01; done
		 echo clean; while :; do sleep 0.01; done`))
	w.Stderr.AwaitEvent("watchdog.started")
	w.Stdout.Await("clean")
	inner := testkit.Descendants(t, w.PID)
	inner[0].Signal(unix.SIGUSR1)
	w.Stdout.Await("usr1")
	if status := w.Wait(); status != 6 {
		t.Errorf("status %d", status)
	}
}

func TestDaemonOfAWorkerBesideBystandersIsFound(t *testing.T) {
	py := testkit.NeedPython(t)
	// The daemon has left the worker before the first scan, and the watchdog
	// had a child before, so that it cannot be the subreaper.
	script := daemon[:strings.LastIndex(daemon, "signal.pause()")] + "sys.stdin.readline()\n"
	cmd := exec.Command("sh", "-c", `sleep 1000000 & echo bystander $!; exec "$0" run --log-format json --grace 100ms --worker-id w1 -- "$1" -c "$2"`, testkit.Watchdog(t), py, script)
	cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+stateDir(t))
	in, _ := cmd.StdinPipe()
	w := testkit.Start(t, cmd)
	bystander, escapee := identOf(t, w.Stdout, "bystander"), identOf(t, w.Stdout, "daemon")
	in.Write([]byte("\n"))
	if status := w.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	// Without the subreaper it is the cgroup that proves it.
	proof := strings.HasPrefix(w.Stderr.AwaitEvent("watchdog.started").Str("containment"), "cgroup,")
	if e := w.Stderr.AwaitEvent("process.cleanup_completed"); e["verified"] != proof {
		t.Errorf("a cgroup: %t, and %v", proof, e)
	}
	testkit.AwaitGone(t, escapee)
	testkit.StillAlive(t, bystander)
}

// prefork is a master like celery's, with two tasks in hand and a child in a session
// of its own. Asked to end, it tells its children to finish, and waits for them. A
// child that is sent the stop signal itself has lost its task.
const prefork = `
import os, signal
def say(text): os.write(1, (text + "\n").encode())
stops = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, stops | {signal.SIGUSR1, signal.SIGUSR2})
def task(n):
    say(f"task-{n} {os.getpid()}")
    if signal.sigwait(stops | {signal.SIGUSR1}) == signal.SIGUSR1:
        say(f"finishing {n}")
        if signal.sigwait(stops | {signal.SIGUSR2}) == signal.SIGUSR2: # the work is done
            say(f"finished {n}")
            os._exit(0)
    say(f"lost {n}")
    os._exit(1)
def apart():
    os.setsid()
    say(f"apart {os.getpid()}")
    say(f"apart was sent {signal.Signals(signal.sigwait(stops)).name}")
    os._exit(0)
children = []
for n in range(2):
    children.append(os.fork())
    if children[-1] == 0: task(n)
if os.fork() == 0: apart()
say(f"master {os.getpid()}")
say(f"master was sent {signal.Signals(signal.sigwait(stops)).name}")
for c in children: os.kill(c, signal.SIGUSR1)
for c in children: os.waitpid(c, 0)
say("master ends")
os._exit(0)
`

// preforked is one of them, under run or beside guard.
type preforked struct {
	dog          *testkit.Proc
	out          *testkit.Lines
	tasks        [2]testkit.Ident
	apart, other testkit.Ident // other is the parent
}

func startPreforked(t *testing.T, command string, env ...string) preforked {
	t.Helper()
	python, parent := testkit.NeedPython(t), sleeper(t)
	var p preforked
	if command == "run" {
		cmd := watchdog(t, "run", "--grace", "5m", "--parent-pid", pid(parent), "--", python, "-c", prefork)
		cmd.Env = append(cmd.Env, env...)
		p.dog = testkit.Start(t, cmd)
		p.out = p.dog.Stdout
	} else {
		p.out = testkit.Start(t, exec.Command(python, "-c", prefork)).Stdout
	}
	p.tasks = [2]testkit.Ident{identOf(t, p.out, "task-0"), identOf(t, p.out, "task-1")}
	p.apart, p.other = identOf(t, p.out, "apart"), parent.Ident
	master := identOf(t, p.out, "master")
	if command == "guard" {
		cmd := watchdog(t, "guard", "--grace", "5m", "--worker-pid", itoa(master.PID), "--parent-pid", pid(parent))
		cmd.Env = append(cmd.Env, env...)
		p.dog = testkit.Start(t, cmd)
	}
	return p
}

// TestKillMode: only in mode group the tasks are lost. What is left of the tree when
// the worker has ended gets the stop signal then, and not before.
func TestKillMode(t *testing.T) {
	for _, c := range []struct {
		command, mode string
		sig           syscall.Signal // 0: the parent dies
		lost          bool
		apart         string // what the one apart is sent
	}{
		{"run", "", unix.SIGTERM, false, "SIGTERM"},
		{"run", "mixed", 0, false, "SIGTERM"},
		{"run", "group", unix.SIGTERM, true, "SIGTERM"},
		{"run", "group", 0, true, "SIGTERM"},
		{"guard", "", unix.SIGTERM, false, "SIGTERM"},
		{"guard", "mixed", unix.SIGINT, false, "SIGTERM"},
		{"guard", "mixed", 0, false, "SIGTERM"},
		{"guard", "group", 0, true, "SIGTERM"},
		{"guard", "group", unix.SIGINT, true, "SIGTERM"},
		// A terminal sends it to the whole group.
		{"run", "mixed", unix.SIGINT, true, "SIGTERM"},
		{"run", "group", unix.SIGINT, true, "SIGINT"},
	} {
		cause := "parent dies"
		if c.sig != 0 {
			cause = unix.SignalName(c.sig)
		}
		t.Run(strings.Join([]string{c.command, "mode " + c.mode, cause}, "/"), func(t *testing.T) {
			t.Parallel()
			p := startPreforked(t, c.command, "LEASH_KILL_MODE="+c.mode)
			want := c.mode
			if want == "" {
				want = "mixed"
			}
			if got := p.dog.Stderr.AwaitEvent("watchdog.started").Str("kill_mode"); got != want {
				t.Errorf("kill_mode %q, want %q", got, want)
			}
			unix.Kill(p.tasks[0].PID, unix.SIGSTOP) // it must go on, in either mode
			awaitState(t, p.tasks[0].PID, "T")
			if c.sig == 0 {
				p.other.Kill()
			} else {
				p.dog.Signal(c.sig)
			}
			p.awaitTasks(t, c.lost)
			p.out.Await("master ends")
			if got := p.out.Await("apart was sent "); got != c.apart {
				t.Errorf("the one apart was sent %s, want %s", got, c.apart)
			}
			p.checkEnd(t, c.command == "run", want == "mixed")
		})
	}
}

func (p *preforked) awaitTasks(t *testing.T, lost bool) {
	t.Helper()
	if lost {
		p.out.Await("lost 0")
		p.out.Await("lost 1")
		return
	}
	p.out.Await("finishing 0")
	p.out.Await("finishing 1")
	for i, id := range p.tasks {
		id.Signal(unix.SIGUSR2)
		p.out.Await("finished " + itoa(i))
	}
}

func (p *preforked) checkEnd(t *testing.T, run, mixed bool) {
	t.Helper()
	if status := p.dog.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	testkit.AwaitGone(t, append(p.tasks[:], p.apart)...)
	e := p.dog.Stderr.AwaitEvent("process.cleanup_completed")
	if e["success"] != true || e.Str("method") != "stop_signal" || e["verified"] != run {
		t.Errorf("%v", e)
	}
	if claims := strings.Contains(e.Str("msg"), "nothing"); claims != run {
		t.Errorf("verified=%v, and it says %q", e["verified"], e.Str("msg"))
	}
	said := strings.Split(p.out.All(), "\n")
	at := func(what string) int {
		return slices.IndexFunc(said, func(l string) bool { return strings.HasPrefix(l, what) })
	}
	if mixed && at("apart was sent") < at("master ends") {
		t.Errorf("the one apart heard of it before the worker had ended: %q", said)
	}
}

// The grace period is counted once: a worker that does not end uses it up, and no other
// process gets the stop signal; then all are killed.
func TestTheGraceIsOneForAll(t *testing.T) {
	for _, command := range []string{"run", "guard"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			parent := sleeper(t)
			const script = `trap '' TERM; (trap 'echo asked' TERM; echo child; while :; do sleep 0.01; done) & trap 'echo worker' TERM; echo ready; while :; do sleep 0.01; done`
			var dog *testkit.Proc
			var out *testkit.Lines
			if command == "run" {
				dog = testkit.Start(t, watchdog(t, "run", "--grace", "300ms", "--parent-pid", pid(parent), "--", "sh", "-c", script))
				out = dog.Stdout
				out.Await("ready")
				out.Await("child")
			} else {
				w := scriptWorker(t, script)
				w.Stdout.Await("child")
				dog, out = guard(t, w, parent, "--grace", "300ms"), w.Stdout
			}
			parent.Kill()
			dog.Wait()
			out.AwaitEnd()
			if text := out.All(); !strings.Contains(text, "worker") || strings.Contains(text, "asked") {
				t.Errorf("expected the stop signal for the worker alone, but the child has it too: %q", text)
			}
			if m := dog.Stderr.AwaitEvent("process.cleanup_completed").Str("method"); m != "sigkill" && m != "cgroup" {
				t.Errorf("method %q", m)
			}
		})
	}
}
