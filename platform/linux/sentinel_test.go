//go:build linux

package linux

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A watchdog that had children before cannot tell theirs from the worker's. So that it has
// no child left when its sentinel has died proves nothing.
func TestNothingIsProvenBesideOtherChildren(t *testing.T) {
	for _, sole := range []bool{false, true} {
		h, err := NewHost(newTestKernel(t), "event", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(pair[1])
		dead := exec.Command("/bin/sh", "-c", "exit 0") // the host waits for it
		if err := dead.Start(); err != nil {
			t.Fatal(err)
		}
		hd, err := h.Kernel.open(dead.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		h.sole = sole
		h.sentinel = &sentinelConn{pid: dead.Process.Pid, fd: pair[0], h: hd, token: h.loop.token(), exit: func(unix.WaitStatus) {}}
		if got := h.reap(); got != sole {
			t.Errorf("all children are the worker's: %t; proven that none is left: %t", sole, got)
		}
		h.Close()
	}
}
