//go:build linux

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// badSockets are places where no socket can be. Each is said in one line, and
// what is there stays as it is.
func badSockets(t *testing.T) map[string]string {
	t.Helper()
	dir := socketDir(t)
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write(t, file, "precious")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"no such directory":  filepath.Join(dir, "none", "notify"),
		"nobody may write":   "/proc/leash-notify",
		"a file":             file,
		"a link to a file":   link,
		"a directory":        dir,
		"below a file":       filepath.Join(file, "notify"),
		"too long":           filepath.Join(dir, strings.Repeat("x", 108-len(dir)-1)),
		"too long, abstract": "@" + strings.Repeat("x", 108),
	}
}

func TestSocketThatCannotBe(t *testing.T) {
	t.Parallel()
	worker := sleeper(t)
	for what, path := range badSockets(t) {
		for mode, args := range map[string][]string{
			"guard": {"guard", "--worker-pid", pid(worker), "--heartbeat", "notify", "--notify-socket", path},
			"run":   {"run", "--heartbeat", "notify", "--notify-socket", path, "--", "echo", "started"},
		} {
			status, stdout, stderr := testkit.Run(t, watchdog(t, args...))
			if status != 125 || stdout != "" || strings.Contains(stderr, "\n") || !strings.HasPrefix(stderr, "watchdog: ") ||
				!strings.Contains(stderr, "--notify-socket") {
				t.Errorf("%s, %s: status %d, stdout %q, stderr %q", mode, what, status, stdout, stderr)
			}
		}
		if filepath.Base(path) == "file" || filepath.Base(path) == "link" {
			if text, err := os.ReadFile(path); string(text) != "precious" {
				t.Errorf("%s: %q, %v", what, text, err)
			}
		}
	}
	testkit.StillAlive(t, worker.Ident)
}

// The longest address that there is works.
func TestLongestSocket(t *testing.T) {
	t.Parallel()
	dir := socketDir(t)
	path := filepath.Join(dir, strings.Repeat("x", 107-len(dir)-1))
	p := runPatient(t, append(calm, "--notify-socket", path))
	if p.socket != path || len(path) != 107 {
		t.Errorf("the worker was given %q", p.socket)
	}
	p.log.AwaitEvent("process.ready")
}

// A socket that somebody listens at is not taken from him, be it a path or a
// name.
func TestSocketThatSomebodyHas(t *testing.T) {
	t.Parallel()
	path := filepath.Join(socketDir(t), "notify")
	for _, socket := range []string{path, "@leash-e2e-" + newRunID()} {
		first := runPatient(t, append(calm, "--notify-socket", socket))
		worker := sleeper(t)
		status, _, stderr := testkit.Run(t, watchdog(t, "guard", "--worker-pid", pid(worker), "--heartbeat", "notify", "--notify-socket", socket))
		if status != 125 || strings.Contains(stderr, "\n") || !strings.Contains(stderr, "--notify-socket") {
			t.Errorf("status %d, stderr %q", status, stderr)
		}
		testkit.StillAlive(t, worker.Ident)
		heard := len(named(first.log, "heartbeat.received"))
		for range heard + 3 { // beats go on
			first.log.AwaitEvent("heartbeat.received")
		}
		first.unharmed()
	}
}

// What a killed watchdog has left at the path is replaced, and the path is
// free again after a clean end.
func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(socketDir(t), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal("there is nothing stale: ", err)
	}
	p := alone(t, path)
	g := guardPatient(t, p, calm...)
	g.Stderr.AwaitEvent("heartbeat.received")
	g.Kill()
	g.Wait()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal("a killed watchdog cleans nothing: ", err)
	}
	g = guardPatient(t, p, calm...)
	g.Stderr.AwaitEvent("heartbeat.received")
	p.Kill()
	if status := g.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left behind")
	}
}

// Under run the worker is told where its watchdog listens and how often it is
// to beat, and nothing of it without heartbeats.
func TestWhatTheWorkerIsTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--heartbeat", "notify"}, "4000000"},
		{[]string{"--heartbeat", "notify", "--heartbeat-timeout", "3s"}, "3000000"},
		{[]string{"--heartbeat", "notify", "--max-missed", "1"}, "2000000"},
		{[]string{"--heartbeat", "off"}, "none"},
	} {
		line := append(append([]string{"run"}, c.flags...), "--", "sh", "-c",
			`echo "${WATCHDOG_USEC-none} ${WATCHDOG_PID-none} ${NOTIFY_SOCKET-none}"`)
		cmd := watchdog(t, line...)
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET=/run/manager", "WATCHDOG_USEC=77", "WATCHDOG_PID=1")
		_, stdout, stderr := testkit.Run(t, cmd)
		f := strings.Fields(stdout)
		if len(f) != 3 {
			t.Fatalf("%q: %q\n%s", c.flags, stdout, stderr)
		}
		if c.want == "none" {
			// Without heartbeats the watchdog stays out of it.
			if f[0] != "77" || f[1] != "1" || f[2] != "/run/manager" {
				t.Errorf("%q: %q", c.flags, f)
			}
			continue
		}
		if f[0] != c.want || f[1] != "none" || !strings.HasPrefix(f[2], "@leash-") {
			t.Errorf("%q: %q, want %s", c.flags, f, c.want)
		}
	}
}
