//go:build linux

package linux

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// leastFree descriptors are taken by every watchdog and reaper at once: handles,
// the wait loop, and the poller of Go's runtime, which ends the program with its
// stacks where it gets none.
const leastFree = 10

// checkMeans says that there are too few descriptors to begin with, if so.
func checkMeans() error {
	first, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	fds := make([]int, 0, leastFree)
	for fd := first; err == nil; {
		if fds = append(fds, fd); len(fds) == leastFree {
			break
		}
		fd, err = unix.FcntlInt(uintptr(first), unix.F_DUPFD_CLOEXEC, 0)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	if Scarce(err) {
		return fmt.Errorf("%w: %d more descriptors are needed to begin with, and %d can be had: raise the limit (ulimit -n)", err, leastFree, len(fds))
	}
	return nil // what else is wrong is told where it is needed
}
