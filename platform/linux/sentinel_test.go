//go:build linux

package linux

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// A watchdog that had children before cannot tell theirs from the worker's. So that it has
// no child left when its sentinel has died proves nothing.
func TestNothingIsProvenBesideOtherChildren(t *testing.T) {
	for _, sole := range []bool{false, true} {
		s, err := newSystem(newTestKernel(t), "event")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(pair[1])
		dead := exec.Command("/bin/sh", "-c", "exit 0") // the containment waits for it
		if err := dead.Start(); err != nil {
			t.Fatal(err)
		}
		c := &containment{s: s, changed: func() {}}
		if err := c.useSentinel(pair[0], dead.Process.Pid); err != nil {
			t.Fatal(err)
		}
		s.sole = sole
		if got := c.reap(); got != sole {
			t.Errorf("all children are the worker's: %t; proven that none is left: %t", sole, got)
		}
		s.Close()
	}
}
