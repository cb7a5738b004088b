//go:build linux

package linux

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// CheckView returns an error if /proc must not be relied on. If it belongs to another PID
// namespace, its PIDs are not those that kill(2) and pidfd_open(2) take.
func CheckView() error {
	k := Kernel{buf: make([]byte, 4096)}
	return k.checkView()
}

var (
	errNoProc = errors.New("/proc cannot be read; mount it: without it no process can be told from another")
	errView   = errors.New("/proc is not that of this PID namespace; mount it (unshare --mount-proc): without it no process can be told from another")
)

func (k *Kernel) checkView() error {
	if err := checkMeans(); err != nil {
		return err
	}
	s, err := k.readStatus(unix.AT_FDCWD, pathOf("/proc/self/status"))
	link, linkErr := os.Readlink("/proc/self")
	var fs unix.Statfs_t
	switch mounted := unix.Statfs("/proc", &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC; {
	case Scarce(err):
		return fmt.Errorf("/proc/self/status: %w", err)
	case !mounted:
		return errNoProc
	case linkErr != nil: // that namespace has no PID for us (ENOENT, proc(5))
		return errView
	case err != nil:
		return fmt.Errorf("/proc/self/status: %w", err)
	case !ownView(link, s, os.Getpid()):
		return errView
	}
	return nil
}

// ownView reports whether /proc/self shows our own PID. An ancestor namespace may by chance
// have given us the same PID; NSpid has two entries there (Linux 4.1).
func ownView(link string, s status, self int) bool {
	return link == itoa(self) && s.Spaces <= 1
}

// kernelThread is PF_KTHREAD (include/linux/sched.h), in field 9 of
// proc_pid_stat(5).
const kernelThread = 0x00200000

// CheckProgram returns an error if a process is a kernel thread, which neither ends nor takes
// signals.
func CheckProgram(pid int) error {
	k := Kernel{buf: make([]byte, 4096)}
	b, err := k.readRecord(unix.AT_FDCWD, pathIn(pid, "stat"))
	if err != nil || !isKernelThread(b) {
		return nil
	}
	return fmt.Errorf("%d is a thread of the kernel (%s): give a program", pid, statName(b))
}

func isKernelThread(stat []byte) bool {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 {
		return false
	}
	flags, ok := number(fields[6])
	return ok && flags&kernelThread != 0
}
