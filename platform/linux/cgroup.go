//go:build linux

package linux

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroup is a leaf of the v2 hierarchy that holds one worker's tree. Its file cgroup.kill
// kills all processes in it at once (Linux 5.14).
type cgroup struct {
	path string
	fd   int
}

// newCgroup creates a leaf below our own cgroup; nil if that is not possible: no v2, no
// permission, no cgroup.kill.
func (k *Kernel) newCgroup() *cgroup {
	base := k.cgroupDir()
	if base == "" {
		return nil
	}
	_, ns, err := k.here()
	if err != nil {
		return nil
	}
	k.leafTick = max(k.Tick(), k.leafTick+1) // several may be made in one tick
	path := base + "/" + leafName(ns, os.Getpid(), k.leafTick)
	if os.Mkdir(path, 0o755) != nil {
		return nil
	}
	c := openCgroup(path)
	if c == nil {
		os.Remove(path)
		return nil
	}
	fd := c.fd
	if unix.Faccessat(fd, "cgroup.kill", unix.W_OK, 0) != nil {
		c.remove()
		return nil
	}
	return c
}

// openCgroup opens a leaf; nil if that fails.
func openCgroup(path string) *cgroup {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &cgroup{path: path, fd: fd}
}

// cgroupDir is the directory of our own v2 cgroup. In a hybrid set-up v2 is mounted beside v1
// without controllers, and still holds processes.
func (k *Kernel) cgroupDir() string {
	b, err := k.readFile(unix.AT_FDCWD, pathOf("/proc/self/cgroup"))
	if err != nil {
		return ""
	}
	own := ownCgroup(b)
	b, err = k.readFile(unix.AT_FDCWD, pathOf("/proc/self/mountinfo"))
	if err != nil || own == "" {
		return ""
	}
	root, point := cgroup2Mount(b)
	below, ok := strings.CutPrefix(own, strings.TrimSuffix(root, "/"))
	if point == "" || !ok {
		return ""
	}
	return point + strings.TrimSuffix(below, "/")
}

func (c *cgroup) kill() bool {
	fd, err := unix.Openat(c.fd, "cgroup.kill", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte("1"))
	return err == nil
}

// pids lists the processes in the cgroup, without those in its subgroups.
func (c *cgroup) pids() []int {
	fd, err := unix.Openat(c.fd, "cgroup.procs", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "cgroup.procs")
	defer f.Close()
	b, _ := io.ReadAll(f)
	return ParsePIDs(b, nil)
}

// vacant reports whether no process is in the cgroup or below it (cgroup.events, "populated":
// control-group-v2.rst). One that cannot be read is not vacant.
func (c *cgroup) vacant() bool {
	fd, err := unix.Openat(c.fd, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var b [256]byte
	n, err := unix.Read(fd, b[:])
	return err == nil && slices.Contains(strings.Split(string(b[:n]), "\n"), "populated 0")
}

// remove removes the cgroup. That fails, without harm, while a process is in it.
func (c *cgroup) remove() {
	removeLeaf(c.path, deepestLeaf, c.vacant)
	unix.Close(c.fd)
}

// deepestLeaf is how many nested watchdogs are supported.
const deepestLeaf = 8

// removeLeaf removes a leaf and the leaves in it, which nested watchdogs left when they were
// killed. No living watchdog is affected: a vacant cgroup has none.
func removeLeaf(path string, depth int, vacant func() bool) {
	if unix.Rmdir(path) != unix.EBUSY || depth == 0 || !vacant() {
		return
	}
	tries := 0
	eachFolder(path, func(name string) bool {
		if _, _, _, ok := leafOf(name); ok {
			removeLeaf(path+"/"+name, depth-1, func() bool { return true })
		}
		tries++
		return tries < maxEntries // the next reaper removes the rest
	})
	unix.Rmdir(path)
}

// ownCgroup reads /proc/self/cgroup: the v2 entry is "0::/path" (cgroups(7)).
func ownCgroup(b []byte) string {
	for line := range bytes.Lines(b) {
		if path, ok := bytes.CutPrefix(line, []byte("0::")); ok {
			path = bytes.TrimRight(path, "\n")
			if bytes.HasSuffix(path, []byte(deleted)) || !bytes.HasPrefix(path, []byte("/")) {
				return ""
			}
			return string(path)
		}
	}
	return ""
}

// cgroup2Mount parses /proc/self/mountinfo (proc_pid_mountinfo(5)): field 4 is the root of the
// mount in its file system, 5 the mount point; the type comes after " - ".
func cgroup2Mount(b []byte) (root, point string) {
	for line := range bytes.Lines(b) {
		left, right, ok := bytes.Cut(line, []byte(" - "))
		if !ok || !bytes.HasPrefix(right, []byte("cgroup2 ")) {
			continue
		}
		f := bytes.Fields(left)
		if len(f) < 5 || bytes.IndexByte(f[4], '\\') >= 0 { // escaped names are not supported
			continue
		}
		return string(f[3]), string(f[4])
	}
	return "", ""
}
