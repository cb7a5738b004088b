//go:build linux

package scenes

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// Where no leaf can be made a scope is asked of systemd. The manager is that of a user here,
// root, with the socket where the system's is.
func TestScopeOfSystemd(t *testing.T) {
	if os.Getenv(cgroupVar) != "" && os.Geteuid() != 0 {
		testkit.Skip(t, "only root can put systemd's socket there")
	}
	if !limited(t) {
		return
	}
	dir := "/sys/fs/cgroup/leash-test-manager"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	run := t.TempDir()
	units := filepath.Join(run, "units")
	for _, d := range []string{units, "/run/systemd/system"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.RemoveAll("/run/systemd") })
	for _, unit := range []string{"default.target", "basic.target", "exit.target", "shutdown.target"} {
		if err := os.WriteFile(filepath.Join(units, unit), []byte("[Unit]\nDescription="+unit+"\nDefaultDependencies=no\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(run, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	ready.SetReadDeadline(time.Now().Add(testkit.Patience))
	cmd := exec.Command("/lib/systemd/systemd", "--user", "--log-target=console", "--log-level=info")
	cmd.Env = []string{"PATH=/bin", "HOME=" + run, "XDG_RUNTIME_DIR=" + run, "SYSTEMD_UNIT_PATH=" + units, "NOTIFY_SOCKET=" + filepath.Join(run, "notify")}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(in.Fd())}
	manager := testkit.Start(t, cmd)
	t.Cleanup(func() {
		manager.Kill()
		manager.Wait()
		removeBelow(t, dir)
	})
	for b := make([]byte, 4096); ; {
		n, err := ready.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b[:n]), "READY=1") {
			break
		}
	}
	if err := os.Symlink(filepath.Join(run, "systemd/private"), "/run/systemd/private"); err != nil {
		t.Fatal(err)
	}

	h := newStage(t)
	status, _, started, ended := h.outcome([]string{"--memory-max", "64M", "--tasks-max", "100"}, part("eat", "256")...)
	check(t, started, map[string]any{"limits": ""})
	if by := started.Str("limited_by"); status != 137 || !strings.HasPrefix(by, "systemd scope, cgroup "+dir+"/") || !strings.Contains(started.Str("msg"), "has moved") {
		t.Errorf("status %d, %v", status, started)
	}
	check(t, ended, map[string]any{"cause": "oom_killed", "usage.scope": "tree", "usage.oom_kills": 1.0})

	watched := testkit.Start(t, h.command(h.run([]string{"--memory-max", "64M"}, part("tree", "wiped")...)...))
	ids := members(t, watched.Stdout)
	watched.Stderr.AwaitEvent("watchdog.started")
	b, err := os.ReadFile("/proc/" + strconv.Itoa(watched.PID) + "/cgroup")
	if err != nil || !strings.Contains(string(b), ".scope/leash-watchdog-"+strconv.Itoa(watched.PID)) {
		t.Errorf("the watchdog is in %q, %v", b, err)
	}
	watched.Signal(syscall.SIGKILL) // nothing is left without it
	testkit.AwaitGone(t, ids...)
	watched.Wait()
}

// removeBelow removes cgroups, the deepest first.
func removeBelow(t *testing.T, dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeBelow(t, filepath.Join(dir, e.Name()))
		}
	}
	if err := unix.Rmdir(dir); err != nil {
		t.Errorf("%s: %v", dir, err)
	}
}
