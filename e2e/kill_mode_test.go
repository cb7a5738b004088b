//go:build linux

package e2e

import (
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

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
// the worker has ended hears of it then, and not before.
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

// The grace is counted once: a worker that does not end uses it up, and nobody else
// is asked; then all are killed.
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
				t.Errorf("the worker alone was to be asked: %q", text)
			}
			if m := dog.Stderr.AwaitEvent("process.cleanup_completed").Str("method"); m != "sigkill" && m != "cgroup" {
				t.Errorf("method %q", m)
			}
		})
	}
}
