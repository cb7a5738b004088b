//go:build linux

package linux

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// leastFree is the number of descriptors that every watchdog and reaper needs at once:
// handles, the wait loop, and the poller of Go's runtime, which crashes the program if it gets
// none.
const leastFree = 10

// checkMeans returns an error if there are too few descriptors to start with.
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
	return nil // other errors are reported where a descriptor is needed
}
