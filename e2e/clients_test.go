//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// pythons lists the interpreters that the client is for: the system's and,
// if pyenv has more, those.
func pythons(t *testing.T) []string {
	t.Helper()
	found := []string{testkit.NeedPython(t)}
	home, _ := os.UserHomeDir()
	for _, minor := range []string{"8", "9", "10", "11", "12", "13"} {
		more, err := filepath.Glob(filepath.Join(home, ".pyenv/versions/3."+minor+".*/bin/python3"))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, more...)
	}
	return found
}

// The client's own tests, with each Python that is there.
func TestPythonClient(t *testing.T) {
	for _, python := range pythons(t) {
		t.Run(python, func(t *testing.T) {
			cmd := exec.Command(python, "-X", "dev", "-m", "unittest", "discover", "-v", "-s", "tests", "-t", "tests")
			cmd.Dir = filepath.Join(testkit.Root(t), "clients", "python")
			cmd.Env = clientEnv(t)
			p := testkit.Start(t, cmd)
			select { // these are many tests, with a patience of their own
			case <-p.Done():
			case <-time.After(5 * testkit.Patience):
			}
			status, out, text := p.Wait(), p.Stdout.AwaitEnd(), p.Stderr.AwaitEnd()
			if status != 0 || !strings.Contains(text, "\nOK") || !strings.Contains(text, "test_stuck_in_every_way") {
				t.Errorf("status %d\n%s\n%s", status, out, text)
			}
			t.Log(strings.ReplaceAll(out, "\n", "; "))
		})
	}
}

func clientEnv(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(testkit.Root(t), "clients", "python")
	return append(os.Environ(), "PYTHONPATH="+path, "PYTHONDONTWRITEBYTECODE=1")
}

// snakepit starts a shell that starts the worker behind the command that is
// given, and waits until the worker answers.
func snakepit(t *testing.T, before []string, flags ...string) (parent *testkit.Proc, worker testkit.Ident, port int) {
	t.Helper()
	python := testkit.NeedPython(t, "grpc")
	args := append([]string{"-c", `"$@" & wait`, "parent"}, before...)
	args = append(append(args, python, peer(t, "snakepit_worker.py")), flags...)
	cmd := exec.Command("sh", args...)
	cmd.Env = clientEnv(t)
	parent = testkit.Start(t, cmd)
	s := &scene{t: t, parent: parent}
	worker = s.identify(parent.Stdout.Await("PID worker "))
	testkit.Adopt(t, worker)
	testkit.Adopt(t, testkit.Descendants(t, parent.PID)...)
	port = s.number(parent.Stdout.Await("GRPC_READY:"))
	if got, err := echo(port, "hello"); err != nil || got != "hello" {
		t.Fatalf("call gives %q, %v", got, err)
	}
	return parent, worker, port
}

// Without any watchdog the client alone ends the worker, drained.
func TestSnakepitWorkerEndsWithItsParent(t *testing.T) {
	parent, worker, port := snakepit(t, nil, "--run-id", newRunID(), "--grace", "60")
	parent.Kill()
	testkit.AwaitGone(t, worker)
	portIsFree(t, port)
	parent.Stdout.Await("DRAINED")
}

// The control: without the client's guard it stays.
func TestSnakepitWorkerWithoutGuardStays(t *testing.T) {
	parent, worker, port := snakepit(t, nil, "--no-guard")
	parent.Kill()
	parent.Wait()
	testkit.StillAlive(t, worker)
	if got, err := echo(port, "still here"); err != nil || got != "still here" {
		t.Errorf("call gives %q, %v", got, err)
	}
}

// The process that --parent-pid names counts, and no other.
func TestSnakepitWorkerOfANamedParent(t *testing.T) {
	named := testkit.Start(t, exec.Command("sleep", "1000000"))
	parent, worker, port := snakepit(t, nil, "--parent-pid", itoa(named.PID), "--snakepit-run-id", newRunID())
	parent.Kill()
	parent.Wait()
	if got, err := echo(port, "still here"); err != nil || got != "still here" {
		t.Errorf("call gives %q, %v", got, err)
	}
	named.Kill()
	testkit.AwaitGone(t, worker)
	portIsFree(t, port)
}

// A worker that ignores TERM, its loop blocked: the client's grace ends it.
func TestSnakepitWorkerThatHangsAndIgnoresTERM(t *testing.T) {
	parent, worker, port := snakepit(t, nil, "--grace", "0.2", "--deaf")
	go func() { _ = hang(port) }() // ends with the worker
	parent.Stdout.Await("HANGING")
	parent.Kill()
	testkit.AwaitGone(t, worker)
	portIsFree(t, port)
}

// hang makes the call that never returns.
func hang(port int) error {
	req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/leash.Peer/Hang", port),
		strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// The second line: under run the client watches the real parent, the one
// behind the watchdog, and ends its worker while the watchdog is stopped.
func TestSnakepitWorkerOfAStoppedWatchdog(t *testing.T) {
	parent, worker, port := snakepit(t, []string{testkit.Watchdog(t), "run", "--log-format", "json", "--"}, "--own-group")
	started := parent.Stderr.AwaitEvent("watchdog.started")
	if got := started.Int("process.pid"); got != worker.PID {
		t.Fatalf("the watchdog guards %d, not %v", got, worker)
	}
	all := testkit.Descendants(t, parent.PID)
	i := slices.IndexFunc(all, func(id testkit.Ident) bool { return id != worker })
	watchdog := all[i]
	if err := watchdog.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	parent.Kill()
	testkit.AwaitGone(t, worker)
	portIsFree(t, port)
	_ = watchdog.Signal(unix.SIGCONT) // unless the parent's death woke it: it may be gone
	testkit.AwaitGone(t, watchdog)
}

// What the worker says to a NOTIFY_SOCKET, as its watchdog would hear it.
func TestSnakepitWorkerBeatsFromItsLoop(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	parent, worker, port := snakepit(t, []string{"env", "NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=1500000"}) // a queue of 10 holds 5 s of it
	messages := make(chan string, 1000)
	go receive(socket, messages)
	beats, ready := 0, 0
	for beats < 3 || ready < 1 {
		switch message := <-messages; {
		case message == "":
			t.Fatalf("only %d beats and %d times ready", beats, ready)
		case message == "WATCHDOG=1":
			beats++
		case strings.HasPrefix(message, "READY=1\nSTATUS=serving on port "+itoa(port)):
			ready++
		default:
			t.Errorf("message %q", message)
		}
	}
	parent.Kill()
	testkit.AwaitGone(t, worker)
	for message := range messages {
		if message == "STOPPING=1" {
			return
		}
	}
	t.Error("it never said that it was stopping")
}

// receive hands on what comes until the socket is closed.
func receive(socket *net.UnixConn, messages chan<- string) {
	defer close(messages)
	buffer := make([]byte, 4096)
	for {
		n, err := socket.Read(buffer)
		if err != nil {
			return
		}
		messages <- string(buffer[:n])
	}
}

// behind is the command of a watchdog before a worker that is no patient.
func behind(t *testing.T, flags ...string) []string {
	t.Helper()
	return slices.Concat([]string{testkit.Watchdog(t), "run", "--log-format", "json", "--log-level", "debug"}, flags, []string{"--"})
}

// The command as it is, from a worker in sh, barriers included: it waits
// until what it said is handled, and complains after five seconds.
func TestSystemdNotify(t *testing.T) {
	t.Parallel()
	testkit.Need(t, "systemd-notify")
	line := behind(t, unhurried...)
	w := testkit.Start(t, exec.Command(line[0], append(line[1:], "sh", "-c", `
		systemd-notify --ready --status="as a shell"; echo "ready $?"
		systemd-notify WATCHDOG=1 X_OTHER=1; echo "beat $?"
		systemd-notify --pid=$$ --no-block; echo "pid $?"
		systemd-notify STOPPING=1; echo "stopping $?"
		read line; exit 5`)...))
	for _, what := range []string{"ready", "beat", "pid", "stopping"} {
		if got := w.Stdout.Await(what + " "); got != "0" {
			t.Errorf("%s: status %s", what, got)
		}
	}
	for _, name := range []string{"process.ready", "heartbeat.received", "process.stopping"} {
		w.Stderr.AwaitEvent(name)
	}
	if status := w.Wait(); status != 5 {
		t.Errorf("status %d", status)
	}
	if text := w.Stderr.AwaitEnd(); strings.Contains(text, "systemd-notify") || strings.Contains(text, "Failed") {
		t.Errorf("it complains:\n%s", text)
	}
}

// A daemon that uses Debian's module: it beats, it stops by itself, and
// without beats it is hung.
func TestPythonSystemd(t *testing.T) {
	run, wait := together(t)
	defer wait()
	python := testkit.NeedPython(t, "systemd.daemon")
	begin := func(t *testing.T) (*testkit.Proc, testkit.Ident, io.Writer) {
		t.Helper()
		line := behind(t, calm...)
		cmd := exec.Command(line[0], append(line[1:], python, peer(t, "systemd_worker.py"))...)
		in := input(t, cmd)
		w := testkit.Start(t, cmd)
		id := identOf(t, w.Stdout, "READY")
		w.Stderr.AwaitEvent("process.ready")
		for range 3 {
			w.Stderr.AwaitEvent("heartbeat.received")
		}
		return w, id, in
	}
	run("stops", func(t *testing.T) {
		w, _, in := begin(t)
		tell(t, in, "stop")
		if status := w.Wait(); status != 5 {
			t.Errorf("status %d", status)
		}
		w.Stderr.AwaitEvent("process.stopping")
	})
	run("hangs", func(t *testing.T) {
		w, id, in := begin(t)
		tell(t, in, "hang")
		w.Stdout.Await("HANGING")
		testkit.AwaitGone(t, id)
		if status := w.Wait(); status != 124 {
			t.Errorf("status %d", status)
		}
		wasHung(t, w.Stderr, id, 1)
	})
}

// gunicorn is ready by itself. With beats from a hook of its settings a
// stopped arbiter is noticed, and all its workers are ended.
func TestGunicornWithBeats(t *testing.T) {
	t.Parallel()
	p, arbiter := gunicornBehind(t, append(calm, "--grace", "300ms"), "--config", peer(t, "gunicorn_beats.py"))
	port := awaitGunicornPort(t, p)
	for range 8 {
		p.Stderr.AwaitEvent("heartbeat.received")
	}
	if found := named(p.Stderr, "heartbeat.timeout"); len(found) != 0 {
		t.Errorf("it is well: %v", found)
	}
	tree := treeOf(t, p)
	openRequest(t, p, port).Close()
	if err := arbiter.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	testkit.AwaitGone(t, tree...)
	portIsFree(t, port)
	if status := p.Wait(); status != 124 {
		t.Errorf("status %d", status)
	}
	p.Stderr.AwaitEvent("heartbeat.timeout")
	ended(t, p.Stderr, "heartbeat_timeout")
}

// It never beats by itself: with a timeout that is long enough it serves all the same, and
// stops on the stop signal.
func TestGunicornAsItIs(t *testing.T) {
	t.Parallel()
	p, _ := gunicornBehind(t, []string{"--heartbeat", "notify", "--heartbeat-interval", "1h", "--heartbeat-timeout", "2h",
		"--startup-timeout", "50m", "--grace", "5m"}, "--workers", "4", "--bind", "127.0.0.1:0",
		"--graceful-timeout", "5") // a worker that has not begun to listen loses the signal; gunicorn ends it then
	port := awaitGunicornPort(t, p)
	tree := treeOf(t, p)
	if s := p.Stderr.AwaitEvent("process.status").Str("status"); !strings.Contains(s, "arbiter booted") {
		t.Errorf("status %q", s)
	}
	p.Signal(unix.SIGTERM)
	testkit.AwaitGone(t, tree...)
	portIsFree(t, port)
	if status := p.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// gunicornBehind starts it below a watchdog, and returns when it is ready.
func gunicornBehind(t *testing.T, flags []string, settings ...string) (p *testkit.Proc, arbiter testkit.Ident) {
	t.Helper()
	python := testkit.NeedPython(t, "gunicorn")
	testkit.Need(t, gunicorn)
	line := slices.Concat(behind(t, flags...), []string{python, gunicorn, "--chdir", peer(t, "")}, settings, []string{"web_app:app"})
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = withClient(t, os.Environ())
	p = testkit.Start(t, cmd)
	arbiter = testkit.Identify(t, p.Stderr.AwaitEvent("process.ready").Int("process.pid"))
	return p, arbiter
}

// The worker in the style of Snakepit beats out of its loop. A call that
// blocks the loop is a hang.
func TestSnakepitWorkerThatHangsUnderItsWatchdog(t *testing.T) {
	t.Parallel()
	parent, worker, port := snakepit(t, behind(t, append(calm, "--grace", "300ms")...), "--deaf")
	parent.Stderr.AwaitEvent("process.ready")
	for range 8 {
		parent.Stderr.AwaitEvent("heartbeat.received")
	}
	if got, err := echo(port, "still here"); err != nil || got != "still here" {
		t.Fatalf("call gives %q, %v", got, err)
	}
	go func() { _ = hang(port) }() // ends with the worker
	parent.Stdout.Await("HANGING")
	testkit.AwaitGone(t, worker)
	portIsFree(t, port)
	wasHung(t, parent.Stderr, worker, 26)
	e := named(parent.Stderr, "watchdog.stopped")[0]
	if e.Int("exit_status") != 124 {
		t.Errorf("%v", e)
	}
}

// A service manager above the watchdog is told when the worker is ready, its status, and
// that it stops. It does not get the worker's beats, but the watchdog's own if it expects
// beats. To it the main process is the watchdog.
func TestManagerAboveHears(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		cmd := beating(t, calm)
		m := listen(t, filepath.Join(socketDir(t), "manager"))
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.path)
		if own { // as systemd 248 and later name what they started
			cmd.Args = append([]string{"sh", "-c", `SYSTEMD_EXEC_PID=$$ WATCHDOG_PID=$$ WATCHDOG_USEC=300000 exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/bin/sh"
		}
		p := startPatient(t, cmd)
		if p.socket == m.path {
			t.Error("the worker speaks to the manager itself")
		}
		ready := strings.Split(m.await(t, "READY"), "\n")
		for _, want := range []string{"READY=1", "STATUS=waiting for orders", "MAINPID=" + pid(p.Proc)} {
			if !slices.Contains(ready, want) {
				t.Errorf("no %q in %q", want, ready)
			}
		}
		p.log.AwaitEvent("heartbeat.received")
		p.orderAndAwait("send STATUS=half done")
		if got := m.await(t, "STATUS"); !strings.Contains(got, "STATUS=half done") || strings.Contains(got, "READY") {
			t.Errorf("message %q", got)
		}
		p.orderAndAwait(`send STOPPING=1\nMAINPID=1\nFDSTORE=1`)
		got := strings.Split(m.await(t, "STOPPING"), "\n")
		if slices.Contains(got, "MAINPID=1") || slices.Contains(got, "FDSTORE=1") {
			t.Errorf("message %q", got)
		}
		if own {
			m.await(t, "WATCHDOG")
		}
		p.Signal(unix.SIGTERM)
		p.awaitTreeGone(143)
		if !own && strings.Contains(strings.Join(m.heard, "\n"), "WATCHDOG") {
			t.Errorf("expected no beats without WATCHDOG_USEC, but got %q", m.heard)
		}
	}
}

// Where the manager is another's, or no process listens, or none reads, the worker is
// watched as usual.
func TestManagerAboveThatIsNone(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, c := range []struct{ name, env string }{
		{"of another program", "SYSTEMD_EXEC_PID=1"}, {"no listener", ""}, {"no reader", ""},
	} {
		run(c.name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "manager")
			cmd := beating(t, patience, "--mute")
			cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path, c.env)
			var m *manager
			switch c.name {
			case "of another program":
				m = listen(t, path)
			case "no reader":
				l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
			}
			p := startPatient(t, cmd)
			for range 30 {
				p.orderAndAwait("send STATUS=again")
			}
			p.orderAndAwait("barrier")
			p.hang("gil")
			p.awaitTreeGone(124)
			wasHung(t, p.log, p.worker, 3)
			if m != nil && len(m.said) > 0 {
				t.Errorf("it was told %q", <-m.said)
			}
		})
	}
}
