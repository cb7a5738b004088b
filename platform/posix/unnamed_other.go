//go:build unix && !linux

package posix

import (
	"os"

	"golang.org/x/sys/unix"
)

// createUnnamed creates a temporary file and removes its name.
func createUnnamed() (fd int, err error) {
	f, err := os.CreateTemp("", "leash")
	if err != nil {
		return -1, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return -1, err
	}
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
}
