//go:build linux

package scenes

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// A user that can play these scenes is told that all promises can be kept, and what the kernel and
// the cgroup lack all the same.
func TestDoctor(t *testing.T) {
	h := newStage(t)
	status, stdout, stderr := testkit.Run(t, h.command(testkit.Watchdog(t), "doctor", "--json"))
	var said struct {
		OK         bool
		Mechanisms []struct{ Name, State, Detail string }
	}
	if err := json.Unmarshal([]byte(stdout), &said); status != 0 || err != nil || !said.OK {
		t.Fatalf("status %d, %v\n%s%s", status, err, stdout, stderr)
	}
	states := make(map[string]string)
	for _, m := range said.Mechanisms {
		states[m.Name] = m.State
	}
	for _, name := range []string{"pidfd", "epoll", "subreaper", "sentinel", "notify socket"} {
		if states[name] != "works" {
			t.Errorf("%s: %q\n%s", name, states[name], stdout)
		}
	}
	// Inodes of pidfds tell processes apart where these are files of pidfs (Linux 6.9).
	if got := states["pidfd inode"] == "works"; got != onPidfs(t) {
		t.Errorf("pidfd inode: %q\n%s", states["pidfd inode"], stdout)
	}
	if known := os.Getenv(cgroupVar); known != "" && (states["cgroup"] == "works") != (known == "yes") {
		t.Errorf("cgroup: %q, but can it make cgroups? %s\n%s", states["cgroup"], known, stdout)
	}
	if strings.Contains(stdout+stderr, "goroutine ") {
		t.Errorf("%s%s", stdout, stderr)
	}
}

func onPidfs(t *testing.T) bool {
	t.Helper()
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		t.Fatal(err)
	}
	const magic = 0x50494446 // PID_FS_MAGIC of linux/magic.h
	return st.Type == magic
}
