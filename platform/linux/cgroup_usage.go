//go:build linux

package linux

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
)

// read reads a small file of the cgroup; nil if it cannot be read.
func (c *cgroup) read(name string) []byte {
	fd, err := unix.Openat(c.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	n, err := readRetry(fd, b)
	if err != nil {
		return nil
	}
	return b[:n]
}

// count adds what the cgroup counted of the tree. memory.events counts what is in groups
// below too, which are the tree's own. The kernel counts an OOM kill before it sends
// SIGKILL (mm/oom_kill.c, __oom_kill_process), so none is missed.
func (c *cgroup) count(u proc.Usage) proc.Usage {
	u.OOMKills, _ = flatKeyed(c.read("memory.events"), "oom_kill")
	user, system, ok := cpuTimes(c.read("cpu.stat"))
	peak, peaked := number(bytes.TrimSpace(c.read("memory.peak"))) // Linux 5.19
	if ok && peaked {
		u.Known, u.Tree, u.User, u.System, u.Peak = true, true, user, system, peak
	}
	return u
}

// Usage is what the worker's tree used, where its cgroup counted that, else the worker.
func (c *containment) Usage() proc.Usage {
	u := proc.Usage{}
	if c.worker != nil {
		u = c.worker.usage
	}
	if c.cgroup != nil {
		u = c.cgroup.count(u)
	}
	return u
}

// usageOf is what wait4(2) says of a child that it reaped.
func usageOf(r *unix.Rusage) proc.Usage {
	return proc.Usage{Known: true, User: time.Duration(r.Utime.Nano()), System: time.Duration(r.Stime.Nano()),
		Peak: uint64(r.Maxrss) << 10}
}
