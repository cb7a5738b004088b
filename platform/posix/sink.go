//go:build unix

// Package posix holds the code that the Unix systems share.
package posix

import (
	"errors"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrFull says that a record was dropped because its reader does not read fast enough.
var ErrFull = errors.New("the reader does not keep up")

// Sink returns a writer to a descriptor that does not block for long: a stopped reader must
// not stop this process. What does not fit is dropped. The mode of the descriptor is not
// changed, because it is shared with other processes.
func Sink(fd int) (io.Writer, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil, unix.EBADF
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return &sink{fd: fd, write: sendNow}, nil
	case unix.S_IFIFO, unix.S_IFCHR:
		// Opened again, it can be non-blocking without a change to the shared one.
		own, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err == nil {
			return &sink{fd: own, write: unix.Write}, nil
		}
		return &sink{fd: fd, write: writeIfReady}, nil
	}
	return &sink{fd: fd, write: unix.Write}, nil
}

type sink struct {
	fd    int
	write func(int, []byte) (int, error)
	// torn: the last record was written only in part, and its line is not ended yet.
	torn bool
}

func (s *sink) Write(b []byte) (int, error) {
	if s.torn {
		if _, err := s.write(s.fd, []byte("\n")); err != nil {
			return 0, ErrFull
		}
		s.torn = false
	}
	n, err := s.writeAll(b)
	s.torn = err != nil && n > 0
	return n, err
}

func (s *sink) writeAll(b []byte) (int, error) {
	for done := 0; ; {
		n, err := s.write(s.fd, b[done:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return done, ErrFull
		case err != nil:
			return done, err
		default:
			if done += n; done >= len(b) {
				return done, nil
			}
		}
	}
}

// writeIfReady may still block if other processes fill the pipe in between; it is used only
// where there is nothing better.
func writeIfReady(fd int, b []byte) (int, error) {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(p, 0); err != nil || n == 0 {
		return 0, unix.EAGAIN
	}
	return unix.Write(fd, b)
}
