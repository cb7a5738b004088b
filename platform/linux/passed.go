//go:build linux

package linux

import "golang.org/x/sys/unix"

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
