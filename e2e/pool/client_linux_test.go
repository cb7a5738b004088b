package pool

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// asUser is a copy of the program, and a state folder, for another user.
func asUser(t *testing.T, program string, uid uint32) (path, state string, attr *syscall.SysProcAttr) {
	t.Helper()
	testkit.NeedRoot(t)
	dir, err := os.MkdirTemp("", "leash") // unlike the tests' own, it is open to all
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path, state = dir+"/watchdog", dir+"/state"
	// By another process: a fork of another test would keep the file open for writing.
	copied := exec.Command("cp", program, path)
	if err = errors.Join(os.Chmod(dir, 0o755), copied.Run(), os.Chmod(path, 0o755), os.Mkdir(state, 0o700),
		os.Chown(state, int(uid), int(uid))); err != nil {
		t.Fatal(err)
	}
	return path, state, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}

// sentinel is the one process below the pool.
func (c *client) sentinel() testkit.Ident {
	c.t.Helper()
	for _, id := range testkit.Descendants(c.t, c.self.PID) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", id.PID))
		if strings.TrimSpace(string(b)) == "leash-sentinel" {
			return id
		}
	}
	c.t.Fatal("the pool has no sentinel")
	return testkit.Ident{}
}
