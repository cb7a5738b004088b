//go:build linux

package linux

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/program"
)

// Kernel reads the process table and sends signals.
type Kernel struct {
	// PIDFDs is whether handles are pidfds.
	PIDFDs    bool
	pidfs     bool
	groupFlag bool
	children  bool   // /proc/PID/task/TID/children exists (CONFIG_PROC_CHILDREN)
	dir, name string // the folder of our executable, with a slash, and its name
	alone     bool   // the holder of the table's lock is stuck: scan without the lock
	boot      string
	ns        uint64
	leafTick  uint64 // of the last cgroup
	// sentinels are those of whose children the first thread is the parent: it forks the
	// workers, and orphans go to the first thread that lives (find_alive_thread in
	// kernel/exit.c).
	sentinels map[int]bool
	buf       []byte
	dents     []byte
	link      [512]byte
	loop      *loop
	notify    func(*handle)
	forget    func(*handle)
}

// NewKernel probes what the kernel offers; it never compares versions.
func NewKernel() (*Kernel, error) {
	k := &Kernel{buf: make([]byte, 4096), sentinels: make(map[int]bool)}
	if err := k.checkView(); err != nil {
		return nil, err
	}
	if exe, err := os.Readlink("/proc/self/exe"); err == nil {
		k.dir, k.name = filepath.Split(strings.TrimSuffix(exe, deleted))
	}
	k.children = unix.Access("/proc/thread-self/children", unix.R_OK) == nil
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return k, nil
	}
	defer unix.Close(fd)
	// A seccomp filter may refuse only one of the two calls.
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

// isLeash reports whether an executable is ours or the one installed beside it, also an older
// build that has been replaced, or one of ours elsewhere.
func (k *Kernel) isLeash(at int, p path) bool {
	dir, name := k.executable(at, p)
	return k.beside(dir, name) || leashNamed(name) && marked(at, p)
}

// marked reads the file itself. That is rare: on most machines only our programs have these
// names.
func marked(at int, p path) bool {
	fd, err := openRetry(at, &p, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), "exe")
	defer f.Close()
	return program.Holds(f)
}

func (k *Kernel) beside(dir, name []byte) bool {
	return len(dir) > 0 && string(dir) == k.dir && (leashNamed(name) || string(name) == k.name)
}

// leashNamed reports whether a program has the name of one of ours.
func leashNamed(name []byte) bool { return program.Named(string(name)) }

// executable is the program of a process, its folder with a slash at the end; empty if it
// cannot be read. The call is raw (see reader.inspect): readlink(2) in /proc takes no lock of
// the process's memory.
func (k *Kernel) executable(at int, p path) (dir, name []byte) {
	n, _, e := unix.RawSyscall6(unix.SYS_READLINKAT, uintptr(at), uintptr(unsafe.Pointer(&p)),
		uintptr(unsafe.Pointer(&k.link)), uintptr(len(k.link)), 0, 0)
	if e != 0 || n == 0 {
		return nil, nil
	}
	exe := bytes.TrimSuffix(k.link[:n], []byte(deleted))
	cut := bytes.LastIndexByte(exe, '/') + 1
	return exe[:cut], exe[cut:]
}

// ownerOf is the user that owns a process's directory, its effective user. The files in it
// belong to root if the process is not dumpable (proc(5)), and any user can make its own
// processes so. The call is raw, see reader.inspect.
func ownerOf(at int, p path) uint32 {
	var st unix.Statx_t
	if _, _, e := unix.RawSyscall6(unix.SYS_STATX, uintptr(at), uintptr(unsafe.Pointer(&p)),
		0, unix.STATX_UID, uintptr(unsafe.Pointer(&st)), 0); e != 0 {
		return 0
	}
	return st.Uid
}

// Tick is the present in clock ticks since boot, as in field 22 of proc_pid_stat(5). The
// kernel rounds both down in the same way (USER_HZ is 100).
func (k *Kernel) Tick() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return uint64(ts.Sec)*userHZ + uint64(ts.Nsec)/(1e9/userHZ)
}

const userHZ = 100

// sameNamespace reports whether the process is in our PID namespace: then NSpid (Linux 4.1)
// has one entry. A process that cannot be read counts as foreign.
func (k *Kernel) sameNamespace(at int, p path) bool {
	s, err := k.readStatus(at, p)
	return err == nil && s.Spaces == 1
}

// Children lists the children of all threads of the process.
func (k *Kernel) Children(pid int, out []int) ([]int, error) {
	if !k.children {
		return k.childrenByTable(pid, out)
	}
	var failed error
	of := func(tid int) {
		b, err := k.readFile(unix.AT_FDCWD, childrenPath(pid, tid))
		if err == nil {
			out = ParsePIDs(b, out)
		} else if goneError(err) != proc.ErrGone { // otherwise the thread has ended
			failed = err
		}
	}
	if k.sentinels[pid] { // saves 18 of 37 system calls from the parent's exit to the stop signal
		of(pid)
		return out, unlisted(failed)
	}
	err := k.eachNumber(pathIn(pid, "task"), of)
	return out, unlisted(cmp.Or(err, failed))
}

// unlisted is why children could not be listed; nil if their parent is gone.
func unlisted(err error) error {
	if err == nil || goneError(err) == proc.ErrGone {
		return nil
	}
	return err
}

func childrenPath(pid, tid int) (p path) {
	b := strconv.AppendInt(append(p[:0], "/proc/"...), int64(pid), 10)
	b = strconv.AppendInt(append(b, "/task/"...), int64(tid), 10)
	_ = append(b, "/children"...)
	return p
}

func (k *Kernel) childrenByTable(parent int, out []int) ([]int, error) {
	var failed error
	err := k.eachNumber(pathOf("/proc"), func(pid int) {
		b, err := k.readRecord(unix.AT_FDCWD, pathIn(pid, "stat"))
		if err != nil {
			if Scarce(err) { // some children may be missing
				failed = err
			}
			return
		}
		if info, err := ParseStat(b); err == nil && info.PPID == parent {
			out = append(out, pid)
		}
	})
	return out, cmp.Or(err, failed)
}

// here identifies this boot (random(4)) and our PID namespace (pid_namespaces(7)).
func (k *Kernel) here() (boot string, ns uint64, err error) {
	if k.ns != 0 {
		return k.boot, k.ns, nil
	}
	b, err := k.readFile(unix.AT_FDCWD, pathOf("/proc/sys/kernel/random/boot_id"))
	if Scarce(err) {
		return "", 0, fmt.Errorf("/proc/sys/kernel/random/boot_id: %w", err)
	}
	if err != nil {
		return "", 0, fmt.Errorf("/proc/sys/kernel/random/boot_id: %w: mount /proc without subset=pid, for this boot cannot be told from another", err)
	}
	boot = string(bytes.TrimSpace(b))
	ns, err = namespaceOf("self")
	k.boot, k.ns = boot, ns
	return boot, ns, err
}

// Highest is the highest PID that the system assigns; 0 if unknown.
func (k *Kernel) Highest() int {
	b, err := k.readFile(unix.AT_FDCWD, pathOf("/proc/sys/kernel/pid_max"))
	if err != nil {
		return 0
	}
	n, _ := number(bytes.TrimSpace(b))
	return int(n) - 1
}
