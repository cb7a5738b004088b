//go:build linux

package linux

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"
)

// openRetry opens for reading, close-on-exec, again after EINTR.
func openRetry(at int, path string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// maxFile bounds what is read of one file: environments of other users are
// hostile input. The kernel's own bound for arguments and environment together
// is 6 MiB by default (execve(2)).
const maxFile = 8 << 20

// readFile reads a whole file of /proc into the kernel's buffer: the result is
// valid until the next read.
func (k *Kernel) readFile(at int, path string) ([]byte, error) {
	fd, err := openRetry(at, path, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n := 0
	for {
		if n == len(k.buf) {
			if n >= maxFile {
				return nil, unix.EFBIG
			}
			k.buf = append(k.buf, make([]byte, len(k.buf))...)
		}
		m, err := unix.Read(fd, k.buf[n:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case m == 0:
			return k.buf[:n], nil
		default:
			n += m
		}
	}
}

// eachNumber calls f for every entry of a directory whose name is a number.
func (k *Kernel) eachNumber(dir string, f func(int)) error {
	fd, err := openRetry(unix.AT_FDCWD, dir, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if k.dents == nil {
		k.dents = make([]byte, 4096)
	}
	for {
		n, err := unix.Getdents(fd, k.dents)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		for b := k.dents[:n]; len(b) > 19; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size < 19 || size > len(b) {
				break
			}
			if pid, ok := number(cstring(b[19:size])); ok {
				f(int(pid))
			}
			b = b[size:]
		}
	}
}

func cstring(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

func itoa(n int) string { return strconv.Itoa(n) }
