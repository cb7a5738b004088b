//go:build linux

package e2e

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

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

// A daemon that uses Debian's module: it beats, it stops by itself, and when
// it is silent it is hung.
func TestPythonSystemd(t *testing.T) {
	t.Parallel()
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
	port := gunicornPort(t, p)
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

// It beats never by itself: with a patience that is long enough it serves all
// the same, and stops when it is asked to.
func TestGunicornAsItIs(t *testing.T) {
	t.Parallel()
	p, _ := gunicornBehind(t, []string{"--heartbeat", "notify", "--heartbeat-interval", "1h", "--heartbeat-timeout", "2h",
		"--startup-timeout", "50m", "--grace", "5m"}, "--workers", "4", "--bind", "127.0.0.1:0",
		"--graceful-timeout", "5") // a worker that has not begun to listen loses the signal; gunicorn ends it then
	port := gunicornPort(t, p)
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

// A service manager above the watchdog hears when the worker is ready, how it
// is and that it stops. The worker's beats it does not hear, but the watchdog's
// own if it has asked for beats. To it the main process is the watchdog.
func TestManagerAboveHears(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		cmd := beating(t, calm)
		m := listen(t, filepath.Join(socketDir(t), "manager"))
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.path)
		if own { // as systemd 248 and later say whom they started
			cmd.Args = append([]string{"sh", "-c", `SYSTEMD_EXEC_PID=$$ WATCHDOG_PID=$$ WATCHDOG_USEC=300000 exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/bin/sh"
		}
		p := admit(t, cmd)
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
		p.does("send STATUS=half done")
		if got := m.await(t, "STATUS"); !strings.Contains(got, "STATUS=half done") || strings.Contains(got, "READY") {
			t.Errorf("message %q", got)
		}
		p.does(`send STOPPING=1\nMAINPID=1\nFDSTORE=1`)
		got := strings.Split(m.await(t, "STOPPING"), "\n")
		if slices.Contains(got, "MAINPID=1") || slices.Contains(got, "FDSTORE=1") {
			t.Errorf("message %q", got)
		}
		if own {
			m.await(t, "WATCHDOG")
		}
		p.Signal(unix.SIGTERM)
		p.gone(143)
		if !own && strings.Contains(strings.Join(m.heard, "\n"), "WATCHDOG") {
			t.Errorf("nobody asked for beats: %q", m.heard)
		}
	}
}

// Where the manager is another's, or nobody listens, or nobody reads, the
// worker is watched as ever.
func TestManagerAboveThatIsNone(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for _, c := range []struct{ name, env string }{
		{"of another program", "SYSTEMD_EXEC_PID=1"}, {"nobody listens", ""}, {"nobody reads", ""},
	} {
		run(c.name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "manager")
			cmd := beating(t, patience, "--mute")
			cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path, c.env)
			var m *manager
			switch c.name {
			case "of another program":
				m = listen(t, path)
			case "nobody reads":
				l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
			}
			p := admit(t, cmd)
			for range 30 {
				p.does("send STATUS=again")
			}
			p.does("barrier")
			p.hang("gil")
			p.gone(124)
			wasHung(t, p.log, p.worker, 3)
			if m != nil && len(m.said) > 0 {
				t.Errorf("it was told %q", <-m.said)
			}
		})
	}
}
