//go:build linux

package linux

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel is the process table and the signals of this system.
type Kernel struct {
	// PIDFDs is whether handles are pidfds.
	PIDFDs    bool
	pidfs     bool
	groupFlag bool
	children  bool // /proc/PID/task/TID/children exists (CONFIG_PROC_CHILDREN)
	self      string
	buf       []byte
	dents     []byte
	loop      *loop
	notify    func(*handle)
	forget    func(*handle)
}

// NewKernel probes what the system offers; it never compares versions.
func NewKernel() (*Kernel, error) {
	k := &Kernel{buf: make([]byte, 4096)}
	if _, err := k.readFile(unix.AT_FDCWD, "/proc/self/stat"); err != nil {
		return nil, errors.New("/proc cannot be read; mount it: without it no process can be told from another")
	}
	if exe, err := os.Readlink("/proc/self/exe"); err == nil {
		k.self = strings.TrimSuffix(exe, deleted)
	}
	k.children = unix.Access("/proc/thread-self/children", unix.R_OK) == nil
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return k, nil
	}
	defer unix.Close(fd)
	// seccomp filters may refuse the one and not the other.
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		return k, nil
	}
	k.PIDFDs = true
	var fs unix.Statfs_t
	k.pidfs = unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PID_FS_MAGIC
	err = unix.PidfdSendSignal(fd, 0, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	k.groupFlag = err == nil || err == unix.ESRCH
	return k, nil
}

// deleted is what the kernel appends to the link of an unlinked executable.
const deleted = " (deleted)"

// isLeash reports whether the executable is ours or the one installed beside
// it, also an older build that was replaced since.
func (k *Kernel) isLeash(at int, path string) bool {
	if k.self == "" {
		return false
	}
	var b [512]byte
	n, err := unix.Readlinkat(at, path, b[:])
	if err != nil || n <= 0 {
		return false
	}
	exe := strings.TrimSuffix(string(b[:n]), deleted)
	if exe == k.self {
		return true
	}
	name := filepath.Base(exe)
	return (name == "watchdog" || name == "reaper") && filepath.Dir(exe) == filepath.Dir(k.self)
}

// Tick is the present in clock ticks since boot, as in field 22 of
// proc_pid_stat(5). The kernel rounds both down alike (USER_HZ is 100).
func (k *Kernel) Tick() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return uint64(ts.Sec)*userHZ + uint64(ts.Nsec)/(1e9/userHZ)
}

const userHZ = 100

// sameNamespace reports whether the process lives in our PID namespace: then
// NSpid (Linux 4.1) shows one number. Unreadable counts as foreign.
func (k *Kernel) sameNamespace(at int, path string) bool {
	b, err := k.readFile(at, path)
	if err != nil {
		return false
	}
	_, line, ok := bytes.Cut(b, []byte("\nNSpid:"))
	if !ok {
		return false
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return len(bytes.Fields(line)) == 1
}

// Children lists the children of all threads of the process.
func (k *Kernel) Children(pid int, out []int) []int {
	if !k.children {
		return k.childrenByTable(pid, out)
	}
	task := procPath(pid, "task")
	k.eachNumber(task, func(tid int) {
		if b, err := k.readFile(unix.AT_FDCWD, procPath(pid, "task/")+itoa(tid)+"/children"); err == nil {
			out = ParsePIDs(b, out)
		}
	})
	return out
}

func (k *Kernel) childrenByTable(parent int, out []int) []int {
	k.eachNumber("/proc", func(pid int) {
		b, err := k.readFile(unix.AT_FDCWD, procPath(pid, "stat"))
		if err != nil {
			return
		}
		if info, err := ParseStat(b); err == nil && info.PPID == parent {
			out = append(out, pid)
		}
	})
	return out
}

// Highest is the highest PID that the system gives out; 0 if unknown.
func (k *Kernel) Highest() int {
	b, err := k.readFile(unix.AT_FDCWD, "/proc/sys/kernel/pid_max")
	if err != nil {
		return 0
	}
	n, _ := number(bytes.TrimSpace(b))
	return int(n) - 1
}
