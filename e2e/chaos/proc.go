//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ident is one process: its number and its start time in clock ticks since boot.
type ident struct {
	PID   int
	Start uint64
}

// process is what /proc holds of a living process.
type process struct {
	ident
	PPID, PGID, SID int
	State           byte
	Exe, Dir        string
}

// stat reads /proc/PID/stat; its fields count from the last bracket.
func stat(pid int) (p process, alive bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return p, false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return p, false
	}
	n := func(i int) int { v, _ := strconv.Atoi(f[i]); return v }
	p.PID, p.State, p.PPID, p.PGID, p.SID = pid, f[0][0], n(1), n(2), n(3)
	p.Start, _ = strconv.ParseUint(f[19], 10, 64)
	// A zombie leader with other threads that run is alive.
	return p, p.State != 'X' && (p.State != 'Z' || n(17) > 1)
}

func (id ident) alive() bool {
	p, ok := stat(id.PID)
	return ok && p.ident == id
}

// signal opens the process first and compares its start time then.
func (id ident) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err == unix.EINVAL || err == unix.ENOENT { // the number is a group's, a session's or a thread's by now
		return unix.ESRCH
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if p, _ := stat(id.PID); p.ident != id {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// scan lists the living processes of the namespace.
func scan() (list []process) {
	dir, err := os.Open("/proc")
	if err != nil {
		panic(err)
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p, ok := stat(pid)
		if !ok {
			continue
		}
		p.Exe, _ = os.Readlink("/proc/" + name + "/exe")
		p.Dir, _ = os.Readlink("/proc/" + name + "/cwd")
		if again, ok := stat(pid); !ok || again.ident != p.ident {
			continue
		}
		list = append(list, p)
	}
	return list
}

func (p process) String() string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	args := strings.TrimSpace(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
	if len(args) > 160 {
		args = args[:160] + "..."
	}
	return fmt.Sprintf("%d (%c, parent %d, group %d, session %d, %s, %s) %q",
		p.PID, p.State, p.PPID, p.PGID, p.SID, filepath.Base(p.Exe), filepath.Base(p.Dir), args)
}

// nested reports whether the process is a watchdog in the tree of another one, or of its tree:
// such a watchdog starts in a folder of its own.
func (p process) nested() bool { return strings.HasPrefix(filepath.Base(p.Dir), nestedDir) }

// environ returns the value of a variable of another process.
func (p process) environ(name string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if value, ok := bytes.CutPrefix(v, []byte(name+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// leaf tells whether the process is in a cgroup that a watchdog has made.
func (p process) leaf() bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID))
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.Contains(path, "/leash-")
		}
	}
	return false
}

// cgroup2 is where the unified hierarchy is mounted, "" where it is not.
func cgroup2() string {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		left, right, _ := strings.Cut(line, " - ")
		if f := strings.Fields(left); strings.HasPrefix(right, "cgroup2 ") && len(f) > 4 {
			return f[4]
		}
	}
	return ""
}

// ownCgroup is the path of this process in it.
func ownCgroup() string {
	b, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path)
		}
	}
	return "/"
}
