//go:build linux

package linux

import (
	"errors"
	"os"
	"sync"
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

	wake    int // eventfd: signals are pending
	mu      sync.Mutex
	signals []os.Signal
}

const wakeToken = 1

func newLoop() (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime polls it
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &loop{fd: fd, wake: wake, tokens: wakeToken, file: os.NewFile(uintptr(fd), "epoll")}
	if l.conn, err = l.file.SyscallConn(); err != nil {
		return nil, err
	}
	l.poll = l.pollOnce
	return l, l.add(wake, wakeToken)
}

// token names a descriptor in what wait returns.
func (l *loop) token() int { l.tokens++; return l.tokens }

func (l *loop) add(fd, token int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(token)}
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

// post hands a signal to the waiting goroutine.
func (l *loop) post(s os.Signal) {
	l.mu.Lock()
	l.signals = append(l.signals, s)
	l.mu.Unlock()
	unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// posted takes the signals that have come.
func (l *loop) posted(buf []os.Signal) []os.Signal {
	var b [8]byte
	unix.Read(l.wake, b[:])
	l.mu.Lock()
	defer l.mu.Unlock()
	buf = append(buf[:0], l.signals...)
	l.signals = l.signals[:0]
	return buf
}
