//go:build linux

package linux

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loop waits for descriptors in one epoll instance. That instance is itself
// registered with the Go runtime's poller, so one goroutine waits for all of
// it without holding a thread, and a read deadline serves as the timer.
type loop struct {
	fd     int
	file   *os.File
	conn   syscall.RawConn
	ready  [16]unix.EpollEvent
	n      int
	poll   func(uintptr) bool
	tokens int
	dlSet  bool
}

func newLoop() (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime polls it
		return nil, err
	}
	l := &loop{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if l.conn, err = l.file.SyscallConn(); err != nil {
		return nil, err
	}
	l.poll = l.pollOnce
	return l, nil
}

// token names a descriptor in what wait returns.
func (l *loop) token() int { l.tokens++; return l.tokens }

func (l *loop) add(fd, token int) error { return l.addEvents(fd, token, unix.EPOLLIN) }

// addEvents waits for these events, and for hang-up and error in any case.
func (l *loop) addEvents(fd, token int, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(token)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &e))
}

func (l *loop) remove(fd int) { unix.EpollCtl(l.fd, unix.EPOLL_CTL_DEL, fd, nil) }

func (l *loop) pollOnce(fd uintptr) bool {
	n, err := unix.EpollWait(int(fd), l.ready[:], 0)
	if err == unix.EINTR {
		n = 0
	}
	l.n = n
	return n != 0
}

// wait blocks until something is ready or, if timed, for d. It calls on with
// each token.
func (l *loop) wait(d time.Duration, timed bool, on func(token int)) error {
	if timed {
		l.file.SetReadDeadline(time.Now().Add(d))
	} else if l.dlSet {
		l.file.SetReadDeadline(time.Time{})
	}
	l.dlSet = timed
	l.n = 0
	if err := l.conn.Read(l.poll); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	for _, e := range l.ready[:max(l.n, 0)] {
		on(int(e.Fd))
	}
	return nil
}
