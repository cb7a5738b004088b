//go:build linux

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// withAndWithoutSentinel runs a test both ways, because the worker is another
// process's child then.
func withAndWithoutSentinel(t *testing.T, test func(t *testing.T, run ...string)) {
	for _, sentinel := range []string{"auto", "off"} {
		t.Run("sentinel "+sentinel, func(t *testing.T) { test(t, "run", "--sentinel", sentinel) })
	}
}

// given starts a watchdog with the ends of two pipes for writing as descriptors 3
// and 4, and returns the others.
func given(t *testing.T, args ...string) (p *testkit.Proc, third, fourth *testkit.Lines) {
	t.Helper()
	cmd := watchdog(t, args...)
	var lines []*testkit.Lines
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		t.Cleanup(func() { r.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
		lines = append(lines, testkit.Collect(t, r))
	}
	return testkit.Start(t, cmd), lines[0], lines[1]
}

func TestDescriptorsArePassedOn(t *testing.T) {
	withAndWithoutSentinel(t, func(t *testing.T, run ...string) {
		list := []string{"sh", "-c", "echo three >&3; echo four >&4; ls /proc/self/fd"}
		p, third, fourth := given(t, append(append(run, "--"), list...)...)
		third.Await("three")
		fourth.Await("four")
		if status := p.Wait(); status != 0 {
			t.Errorf("status %d: %s", status, p.Stderr.All())
		}
		cmd := exec.Command(list[0], list[1:]...)
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		cmd.ExtraFiles = []*os.File{null, null}
		if _, want, _ := testkit.Run(t, cmd); p.Stdout.AwaitEnd() != want {
			t.Errorf("descriptors %q, and without a watchdog %q", p.Stdout.All(), want)
		}
	})
}

// While the worker lives, its reader is told when it has closed a descriptor.
func TestPassedDescriptorsAreNotHeld(t *testing.T) {
	withAndWithoutSentinel(t, func(t *testing.T, run ...string) {
		p, third, fourth := given(t, append(run, "--", "sh", "-c", "exec 3>&-; echo closed; read -r _; exec sleep 1000000")...)
		p.Stdout.Await("closed")
		third.AwaitEnd()
		select {
		case <-p.Done():
			t.Error("the worker has ended")
		default:
		}
		p.Kill()
		fourth.AwaitEnd()
	})
}

func TestOwnDescriptorsAreNotPassedOn(t *testing.T) {
	withAndWithoutSentinel(t, func(t *testing.T, run ...string) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		cmd := watchdog(t, append(run, "--parent-fd", "3", "--log-fd", "4", "--log-level", "info", "--", "sh", "-c",
			"test ! -e /proc/self/fd/3 && test ! -e /proc/self/fd/4 && test -e /proc/self/fd/5")...)
		cmd.ExtraFiles = []*os.File{r, log, r}
		p := testkit.Start(t, cmd)
		r.Close()
		if status := p.Wait(); status != 0 {
			t.Errorf("status %d: %s", status, p.Stderr.All())
		}
		if b, err := os.ReadFile(log.Name()); err != nil || !strings.Contains(string(b), "watchdog.stopped") {
			t.Errorf("the log is %q, %v", b, err)
		}
	})
}

func TestCloseFDs(t *testing.T) {
	withAndWithoutSentinel(t, func(t *testing.T, run ...string) {
		p, third, fourth := given(t, append(run, "--close-fds", "--keep-fd", "4", "--", "sh", "-c",
			`echo through >&4; test ! -e /proc/self/fd/3 && test -z "$LISTEN_FDS$LISTEN_PID$LISTEN_FDNAMES"`)...)
		third.AwaitEnd()
		fourth.Await("through")
		if status := p.Wait(); status != 0 {
			t.Errorf("status %d: %s", status, p.Stderr.All())
		}
	})
}

// A restarted worker has them too, with the sentinel of before or another.
func TestNextWorkerHasTheDescriptors(t *testing.T) {
	withAndWithoutSentinel(t, func(t *testing.T, run ...string) {
		p, third, _ := given(t, append(run, "--restart", "always", "--", "sh", "-c", "echo worker $$ >&3; exec sleep 1000000")...)
		first := identOf(t, third, "worker")
		if run[2] == "auto" {
			sentinelOf(t, p.PID).Signal(unix.SIGCONT) // it is there
		}
		if err := first.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if second := identOf(t, third, "worker"); second == first {
			t.Error("no other worker")
		}
		p.Kill()
		third.AwaitEnd()
	})
}

// systemd's sockets are meant for the process that LISTEN_PID names.
func TestListenPID(t *testing.T) {
	withAndWithoutSentinel(t, func(t *testing.T, run ...string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		socket, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		start := func(listenPID string, args ...string) *testkit.Proc {
			line := append([]string{"-c", `LISTEN_PID=` + listenPID + ` LISTEN_FDS=1 LISTEN_PIDFDID=9 exec "$@"`, "sh", testkit.Watchdog(t)}, args...)
			cmd := exec.Command("sh", line...)
			cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+stateDir(t))
			cmd.ExtraFiles = []*os.File{socket}
			return testkit.Start(t, cmd)
		}
		script := `test -S /proc/self/fd/3 || echo no socket; echo "$$ $LISTEN_PID $LISTEN_FDS $LISTEN_PIDFDID"; exec sleep 1000000`
		p := start("$$", append(run, "--", "sh", "-c", script)...)
		f := strings.Fields(p.Stdout.Await(""))
		if len(f) != 3 || f[0] != f[1] || f[2] != "1" {
			t.Errorf("PID, LISTEN_PID and LISTEN_FDS are %q", f)
		}
		p.Kill()
		// Another's stays another's.
		p = start("1", append(run, "--", "sh", "-c", script)...)
		if f := strings.Fields(p.Stdout.Await("")); len(f) != 4 || f[1] != "1" {
			t.Errorf("PID, LISTEN_PID and LISTEN_FDS are %q", f)
		}
		p.Kill()
		// What cannot be executed is reported as usual.
		if p = start("$$", append(run, "--", "/etc/passwd")...); p.Wait() != 126 {
			t.Errorf("a file that is no program: %s", p.Stderr.All())
		}
		if p = start("$$", append(run, "--", "/nowhere")...); p.Wait() != 127 {
			t.Errorf("no file: %s", p.Stderr.All())
		}
	})
}

// No variable of ours that another process left changes what is done.
func TestForgedVariables(t *testing.T) {
	for _, v := range []string{"LEASH_HANDOVER=", "LEASH_HANDOVER=0", "LEASH_HANDOVER=3", "LEASH_HANDOVER=x y z", "LEASH_GOGC=off",
		"LEASH_ROLE=1 sentinel", "LEASH_GOMAXPROCS=99"} {
		cmd := exec.Command("sh", "-c", `export LEASH_HANDOVER; exec "$@"`, "sh", testkit.Watchdog(t), "run", "--", "sh", "-c",
			`echo "$GOGC:$GOMAXPROCS:$LEASH_HANDOVER"; cat`)
		cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+stateDir(t), v)
		cmd.Stdin = strings.NewReader("all of it")
		if status, out, said := testkit.Run(t, cmd); status != 0 || out != "::\nall of it" {
			t.Errorf("%s: status %d, %q, %s", v, status, out, said)
		}
	}
	// In the shell's own words, with the PID that the watchdog will have.
	cmd := exec.Command("sh", "-c", `LEASH_HANDOVER="$$ true 1" exec "$0" run -- echo hi`, testkit.Watchdog(t))
	cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+stateDir(t))
	if status, out, said := testkit.Run(t, cmd); status != 0 || out != "hi" {
		t.Errorf("status %d, %q, %s", status, out, said)
	}
}
