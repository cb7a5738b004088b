//go:build unix

package posix

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// CheckFD returns an error if a descriptor from the command line is not open for reading or
// writing.
func CheckFD(fd int, write bool) error {
	if fd < 0 {
		return errors.New("a descriptor is a number from 0 on")
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("descriptor %d is not open", fd)
	}
	switch mode := flags & unix.O_ACCMODE; {
	case flags&pathOnly != 0, write && mode == unix.O_RDONLY:
		return fmt.Errorf("descriptor %d is not open for writing", fd)
	case !write && mode == unix.O_WRONLY:
		return fmt.Errorf("descriptor %d is not open for reading", fd)
	}
	return nil
}

// CheckKeptFD returns an error if a descriptor that the worker is to inherit is not open or
// not above 2.
func CheckKeptFD(fd int) error {
	if fd < 3 {
		return fmt.Errorf("%d is not above 2", fd)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return fmt.Errorf("descriptor %d is not open", fd)
	}
	return nil
}

// GivenFDs lists the descriptors above 2 that execve(2) leaves open. At the start of a program
// these are all that it inherited.
func GivenFDs() (given []int) {
	for _, fd := range openFDs() {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			given = append(given, fd)
		}
	}
	return given
}

// CloseFDs closes descriptors meant for the worker alone. While we hold an end of a pipe, the
// process at the other end does not notice that the worker has closed its own.
func CloseFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// CloseOthers marks every descriptor above 2 close-on-exec but those kept, so that no child
// inherits another that was left open by accident.
func CloseOthers(keep []int) {
	if closeRange() != nil {
		for _, fd := range openFDs() {
			unix.CloseOnExec(fd)
		}
	}
	for _, fd := range keep {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
}

// openFDs lists the descriptors above 2. It does not use package os, whose files would be
// watched by the runtime's poller, which needs descriptors of its own.
func openFDs() (fds []int) {
	dir, err := unix.Open(fdDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	var b [4096]byte
	for {
		n, err := unix.ReadDirent(dir, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return fds
		}
		_, _, names := unix.ParseDirent(b[:n], -1, nil)
		for _, name := range names {
			if fd, err := strconv.Atoi(name); err == nil && fd > 2 && fd != dir {
				fds = append(fds, fd)
			}
		}
	}
}
