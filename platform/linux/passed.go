//go:build linux

package linux

import (
	"slices"

	"golang.org/x/sys/unix"
)

// GivenFDs lists the descriptors above 2 that execve(2) leaves open, without own. At
// the start of a program these are all that it was given.
func GivenFDs(own ...int) (fds []int) {
	k := Kernel{buf: make([]byte, 4096)}
	k.eachNumber(pathOf("/proc/self/fd"), func(fd int) {
		if fd <= 2 || slices.Contains(own, fd) {
			return
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	})
	return fds
}

// CloseFDs closes descriptors that were meant for the worker alone: while we hold the
// end of a pipe, nobody at the other end is told that the worker has closed its own.
func CloseFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// filesOf are 0 to 2 and others, each to keep its number in a child
// (syscall.ProcAttr).
func filesOf(keep ...int) []uintptr {
	files := []uintptr{0, 1, 2}
	for _, fd := range keep {
		for len(files) <= fd {
			files = append(files, ^uintptr(0))
		}
		files[fd] = uintptr(fd)
	}
	return files
}
