//go:build linux

package linux

import (
	"encoding/binary"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// path is a file name ended by NUL. It lives on the stack: what is read again
// and again for as long as a worker lives must leave no garbage behind.
type path [80]byte

func pathOf(s string) (p path) {
	copy(p[:len(p)-1], s)
	return p
}

// pathIn is /proc/PID/NAME.
func pathIn(pid int, name string) (p path) {
	b := strconv.AppendInt(append(p[:0], "/proc/"...), int64(pid), 10)
	if name != "" {
		b = append(append(b, '/'), name...)
	}
	_ = b // it is p: no name here comes near its length
	return p
}

// openRetry opens for reading, close-on-exec, again after EINTR. Files of /proc
// answer at once, so that the scheduler need not know of the call.
func openRetry(at int, p *path, flags int) (int, error) {
	for {
		fd, _, e := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(p)),
			uintptr(unix.O_RDONLY|unix.O_CLOEXEC|flags), 0, 0, 0)
		if e == 0 {
			return int(fd), nil
		}
		if e != unix.EINTR {
			return -1, e
		}
	}
}

func readRaw(fd int, b []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func closeRaw(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// maxFile bounds what is read of one file: environments of other users are
// hostile input. The kernel's own bound for arguments and environment together
// is 6 MiB by default (execve(2)).
const maxFile = 8 << 20

// readFile reads a whole file of /proc into the kernel's buffer: the result is
// valid until the next read.
func (k *Kernel) readFile(at int, p path) ([]byte, error) {
	fd, err := openRetry(at, &p, 0)
	if err != nil {
		return nil, err
	}
	defer closeRaw(fd)
	n := 0
	for {
		if n == len(k.buf) {
			if n >= maxFile {
				return nil, unix.EFBIG
			}
			k.buf = append(k.buf, make([]byte, len(k.buf))...)
		}
		m, err := readRaw(fd, k.buf[n:])
		switch {
		case err != nil:
			return nil, err
		case m == 0:
			return k.buf[:n], nil
		default:
			n += m
		}
	}
}

// eachNumber calls f for every entry of a directory whose name is a number. f must
// not come here again: there is one buffer.
func (k *Kernel) eachNumber(dir path, f func(int)) error {
	fd, err := openRetry(unix.AT_FDCWD, &dir, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer closeRaw(fd)
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
		eachEntry(k.dents[:n], f)
	}
}

// eachEntry calls f for every number in what getdents64(2) gave.
func eachEntry(b []byte, f func(int)) {
	for len(b) > 19 {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size < 19 || size > len(b) {
			return
		}
		if pid, ok := number(cstring(b[19:size])); ok {
			f(int(pid))
		}
		b = b[size:]
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
