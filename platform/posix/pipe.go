//go:build unix

package posix

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pipe is the reading end of a pipe. Its reads never block, and Wait uses the runtime's
// poller, so that no thread is held.
type Pipe struct {
	f   *os.File
	raw syscall.RawConn
}

// NewPipe makes a pipe. The writing end blocks, as programs expect of their standard output.
func NewPipe() (r *Pipe, w *os.File, err error) {
	var fds [2]int
	if err := openPipe(&fds); err != nil {
		return nil, nil, os.NewSyscallError("pipe", err)
	}
	w = os.NewFile(uintptr(fds[1]), "pipe")
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that the runtime polls it
		unix.Close(fds[0])
		w.Close()
		return nil, nil, err
	}
	r = &Pipe{f: os.NewFile(uintptr(fds[0]), "pipe")}
	if r.raw, err = r.f.SyscallConn(); err != nil {
		r.f.Close()
		w.Close()
		return nil, nil, err
	}
	return r, w, nil
}

// Wait blocks until something can be read, or the end has come. It returns false once the
// pipe was closed.
func (p *Pipe) Wait() bool {
	return p.raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return n > 0 || err != nil && err != unix.EINTR
	}) == nil
}

// Available is how many bytes can be read at once.
func (p *Pipe) Available() (n int) {
	p.raw.Control(func(fd uintptr) {
		n, _ = unix.IoctlGetInt(int(fd), unixFIONREAD)
	})
	return n
}

// Read reads what is there: 0 bytes without an error where there is nothing, io.EOF at the
// end.
func (p *Pipe) Read(b []byte) (n int, err error) {
	closed := p.raw.Control(func(fd uintptr) {
		for {
			if n, err = unix.Read(int(fd), b); err != unix.EINTR {
				return
			}
		}
	})
	switch {
	case closed != nil:
		return 0, io.EOF
	case err == unix.EAGAIN:
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Close closes the pipe, and ends Wait.
func (p *Pipe) Close() { p.f.Close() }

// OpenOutput opens a file to which a worker appends its output. It does not wait for the
// reader of a FIFO.
func OpenOutput(path string) (*os.File, error) {
	for {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o666)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		if err := unix.SetNonblock(fd, false); err != nil {
			unix.Close(fd)
			return nil, err
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// HungUp reports whether the writers of a descriptor have gone, whatever is still in it.
func HungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: hangUp}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(hangUp|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}
