//go:build linux

package linux

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
)

// CheckPID says what is wrong with a PID that somebody gave us, if anything. A
// process that does not exist (any more) is no mistake.
func CheckPID(pid int) error {
	k := Kernel{buf: make([]byte, 4096)}
	if pid < 1 {
		return errors.New("a PID is a number above 0")
	}
	b, err := k.readFile(unix.AT_FDCWD, pathIn(pid, "status"))
	if err == nil {
		_, tgid, _ := bytes.Cut(b, []byte("\nTgid:"))
		tgid, _, _ = bytes.Cut(tgid, []byte("\n"))
		if n, ok := number(bytes.TrimSpace(tgid)); ok && int(n) != pid {
			return fmt.Errorf("%d is a thread of process %d: give the process", pid, n)
		}
		return nil
	}
	if top := k.Highest(); top > 0 && pid > top && unix.Kill(pid, 0) == unix.ESRCH {
		return fmt.Errorf("no process can have the PID %d here: the highest is %d (/proc/sys/kernel/pid_max)", pid, top)
	}
	return nil
}

// CheckWorker says why a process must not be guarded: it would be signalled.
func (k *Kernel) CheckWorker(pid int) error {
	if pid == 1 {
		return errors.New("PID 1 is never signalled")
	}
	for i, a := range k.ancestors() {
		switch {
		case a.PID != pid:
		case i == 0:
			return fmt.Errorf("%d is the watchdog itself", pid)
		default:
			return fmt.Errorf("%d is an ancestor of the watchdog, and those are never signalled: let its parent start the watchdog", pid)
		}
	}
	return nil
}

// CheckFD says what is wrong with a descriptor that somebody gave us.
func CheckFD(fd int, write bool) error {
	if fd < 0 {
		return errors.New("a descriptor is a number from 0 on")
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("descriptor %d is not open", fd)
	}
	switch mode := flags & unix.O_ACCMODE; {
	case flags&unix.O_PATH != 0, write && mode == unix.O_RDONLY:
		return fmt.Errorf("descriptor %d is not open for writing", fd)
	case !write && mode == unix.O_WRONLY:
		return fmt.Errorf("descriptor %d is not open for reading", fd)
	}
	return nil
}

// CloseOthers marks every descriptor above 2 close-on-exec but those kept, so
// that neither we nor the worker hold what was left open to us by accident.
func CloseOthers(keep []int) {
	if unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) != nil {
		k := Kernel{buf: make([]byte, 4096)}
		k.eachNumber(pathOf("/proc/self/fd"), func(fd int) {
			if fd > 2 {
				unix.CloseOnExec(fd)
			}
		})
	}
	for _, fd := range keep {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
}

// Replace executes this very program anew in place, with the same PID and
// arguments and with no signal blocked. Those that would end the new life before
// it listens are ignored until then, but for the deadly ones: who says that we
// are to end means it. It returns only if it could not.
func Replace(env []string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil); err != nil {
		return err
	}
	for s := syscall.Signal(1); s <= 64; s++ {
		if heard(s) && !deadly(s) && s != unix.SIGCHLD {
			ignore(s)
		}
	}
	return unix.Exec(ownPath(), os.Args, env)
}

// ownPath is the path of this program, because the kernel names a process after it, or
// the kernel's own link if another file has that path by now.
func ownPath() string {
	const link = "/proc/self/exe"
	path, _ := os.Readlink(link)
	var here, there unix.Stat_t
	if unix.Stat(link, &here) != nil || unix.Stat(path, &there) != nil || here.Dev != there.Dev || here.Ino != there.Ino {
		return link
	}
	return path
}

// Random is the kernel's source of random bytes (getrandom(2)).
type Random struct{}

func (Random) Read(b []byte) (int, error) { return unix.Getrandom(b, 0) }

// Created is when a process began, to the clock tick.
func (h *Host) Created(id proc.ID) time.Time {
	age := int64(h.Kernel.Tick()) - int64(id.Start)
	return time.Now().Add(-time.Duration(age) * (time.Second / userHZ)).Truncate(time.Second / userHZ)
}

// CheckKeptFD says what is wrong with a descriptor that the worker is to keep.
func CheckKeptFD(fd int) error {
	if fd < 3 {
		return fmt.Errorf("%d is not above 2", fd)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return fmt.Errorf("descriptor %d is not open", fd)
	}
	return nil
}
