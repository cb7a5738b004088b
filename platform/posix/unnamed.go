//go:build unix

package posix

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxUnnamed bounds the bytes that are read; programs write far less.
const maxUnnamed = 1 << 20

// ErrNotUnnamed says that a descriptor is not a file made by WriteUnnamed.
var ErrNotUnnamed = errors.New("not a file of ours without a name")

// WriteUnnamed writes text to a new file without a name, and returns its descriptor, which
// children do not inherit.
func WriteUnnamed(text []byte) (fd int, err error) {
	if fd, err = createUnnamed(); err != nil {
		return -1, err
	}
	f := os.NewFile(uintptr(fd), "settings")
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return -1, err
	}
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
}

// ReadUnnamed returns the content of such a file. A descriptor of any other file is left
// unchanged and not read.
func ReadUnnamed(fd int) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 0 || int(st.Uid) != os.Geteuid() || st.Size > maxUnnamed {
		return nil, ErrNotUnnamed
	}
	b := make([]byte, st.Size)
	for n := 0; n < len(b); {
		m, err := unix.Pread(fd, b[n:], int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, os.NewSyscallError("pread", err)
		case m == 0:
			return nil, io.ErrUnexpectedEOF
		default:
			n += m
		}
	}
	return b, nil
}
