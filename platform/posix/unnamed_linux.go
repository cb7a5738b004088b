package posix

import (
	"os"

	"golang.org/x/sys/unix"
)

// createUnnamed creates a file in memory (memfd_create(2), Linux 3.17).
func createUnnamed() (fd int, err error) {
	fd, err = unix.MemfdCreate("leash-settings", unix.MFD_CLOEXEC)
	return fd, os.NewSyscallError("memfd_create", err)
}
