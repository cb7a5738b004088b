//go:build linux

package linux

import (
	"slices"

	"golang.org/x/sys/unix"
)

// GivenFDs lists the descriptors above 2 that execve(2) leaves open, without own. At the start
// of a program these are all that it inherited.
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

// CloseFDs closes descriptors meant for the worker alone. While we hold an end of a pipe, the
// process at the other end does not notice that the worker has closed its own.
func CloseFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// inherited calls f while children inherit these descriptors. They are not listed in
// syscall.ProcAttr, because ForkExec fails for one above the limit of descriptors
// (setrlimit(2)).
func inherited(fds []int, f func()) {
	for _, fd := range fds {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
	f()
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
}
