package darwin

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"
)

// SetParentDeathSignal sets none: macOS has no parent death signal. But
// until Listen, HUP and PIPE would end us. Ignoring lasts through execve(2).
func SetParentDeathSignal() error {
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	return nil
}

// CheckPID says what is wrong with a PID that a user gave, if anything. A
// process that does not exist (any more) is no mistake.
func CheckPID(pid int) error { return checkPID(pid) }

// CheckFD says what is wrong with a descriptor that a user gave.
func CheckFD(fd int, write bool) error {
	if fd < 0 {
		return errors.New("a descriptor is a number from 0 on")
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("descriptor %d is not open", fd)
	}
	switch mode := flags & unix.O_ACCMODE; {
	case write && mode == unix.O_RDONLY:
		return fmt.Errorf("descriptor %d is not open for writing", fd)
	case !write && mode == unix.O_WRONLY:
		return fmt.Errorf("descriptor %d is not open for reading", fd)
	}
	return nil
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

// openFDs lists the descriptors above 2.
func openFDs() (fds []int) {
	dir, err := os.Open("/dev/fd")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd > 2 && fd != int(dir.Fd()) {
			fds = append(fds, fd)
		}
	}
	return fds
}

// GivenFDs lists the descriptors above 2 that execve(2) leaves open. At the start of a
// program these are all that it was given.
func GivenFDs() (fds []int) {
	for _, fd := range openFDs() {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds
}

// CloseFDs closes descriptors that were meant for the worker alone: while we hold the
// end of a pipe, the process at the other end does not see that the worker has closed its own.
func CloseFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// CloseOthers marks every descriptor above 2 close-on-exec but those kept, so that no
// child of ours gets another.
func CloseOthers(keep []int) {
	for _, fd := range openFDs() {
		unix.CloseOnExec(fd)
	}
	for _, fd := range keep {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
}

// Replace executes this very program anew in place, with the same PID and
// arguments. It returns only if it could not.
func Replace(env []string) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(path, os.Args, env)
}
