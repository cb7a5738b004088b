//go:build linux

package linux

import (
	"encoding/binary"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// path is a file name ended by NUL. It stays on the stack, because files are read again and
// again for as long as a worker lives and must leave no garbage.
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

// openRetry opens a file for reading, close-on-exec, again after EINTR. It is no raw system
// call, because it may block: environ and cmdline wait for the target's locks
// (exec_update_lock, mmap_lock), and an executable may be on a file system that does not
// respond.
func openRetry(at int, p *path, flags int) (int, error) {
	for {
		fd, _, e := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(p)),
			uintptr(unix.O_RDONLY|unix.O_CLOEXEC|flags), 0, 0, 0)
		if e == 0 {
			return int(fd), nil
		}
		if e != unix.EINTR {
			return -1, e
		}
	}
}

// readRetry reads, again after EINTR.
func readRetry(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// maxFile bounds how many bytes are read of one file, because other users' environments may be
// hostile. The kernel's own bound for arguments and environment together is 6 MiB by default
// (execve(2)).
const maxFile = 8 << 20

// readFile reads a whole file of /proc into the kernel's buffer: the result is valid until the
// next read.
func (k *Kernel) readFile(at int, p path) ([]byte, error) { return k.read(at, p, false) }

// readRecord reads a file that is one record, such as stat, status and limits: if a read
// returns less than was requested, that is all (seq_read_iter in fs/seq_file.c). That saves
// one of four system calls.
func (k *Kernel) readRecord(at int, p path) ([]byte, error) { return k.read(at, p, true) }

func (k *Kernel) read(at int, p path, record bool) ([]byte, error) {
	fd, err := openRetry(at, &p, 0)
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
		m, err := readRetry(fd, k.buf[n:])
		if err != nil {
			return nil, err
		}
		if n += m; m == 0 || record && n < len(k.buf) {
			return k.buf[:n], nil
		}
	}
}

// readStatus reads a status file.
func (k *Kernel) readStatus(at int, p path) (status, error) {
	b, err := k.readRecord(at, p)
	if err != nil {
		return status{}, err
	}
	return ParseStatus(b)
}

// eachNumber calls f for every entry of a directory whose name is a number. f must not call it
// again: there is only one buffer.
func (k *Kernel) eachNumber(dir path, f func(int)) error {
	fd, err := openRetry(unix.AT_FDCWD, &dir, unix.O_DIRECTORY)
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
