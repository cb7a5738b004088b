//go:build linux

package linux

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loop waits for descriptors in one epoll instance, which is itself registered with the Go
// runtime's poller: one goroutine waits for all of it without blocking a thread. A timerfd is
// among the descriptors, because a runtime timer that is postponed still wakes the program
// once at the old time.
type loop struct {
	fd     int
	timer  int
	armed  bool
	file   *os.File
	conn   syscall.RawConn
	ready  [16]unix.EpollEvent
	n      int
	poll   func(uintptr) bool
	tokens int
	set    *pollSet // nil: by epoll
}

// endingPoll is the interval between two scans of a tree that is being ended, where nothing
// reports exits.
const endingPoll = 20 * time.Millisecond

// timerToken is used by no other descriptor.
const timerToken = -1

func newLoop() (*loop, error) {
	if !HasEpoll() {
		return &loop{set: newPollSet()}, nil
	}
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
	// Like Now it stands still while the machine sleeps.
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return l, l.add(l.timer, timerToken)
}

// token returns a new number, by which wait names a descriptor.
func (l *loop) token() int { l.tokens++; return l.tokens }

func (l *loop) add(fd, token int) error { return l.addEvents(fd, token, unix.EPOLLIN) }

// addEvents waits for these events, and always for hang-up and error.
func (l *loop) addEvents(fd, token int, events uint32) error {
	if l.set != nil {
		return l.set.add(fd, token, events)
	}
	e := unix.EpollEvent{Events: events, Fd: int32(token)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &e))
}

func (l *loop) remove(fd int) {
	if l.set != nil {
		l.set.remove(fd)
		return
	}
	unix.EpollCtl(l.fd, unix.EPOLL_CTL_DEL, fd, nil)
}

// pollOnce does not block, so its call is raw, as are the others that a beat needs (arm,
// receive, inodeOf): any other call wakes the runtime's monitor, which takes the P while the
// goroutine works. Ten beats woke threads 30 times, not 18, and 8 of those to write the ledger.
func (l *loop) pollOnce(fd uintptr) bool {
	n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&l.ready)), uintptr(len(l.ready)), 0, 0, 0)
	l.n = int(n)
	if err == unix.EINTR {
		l.n = 0
	}
	return l.n != 0
}

// wait blocks until something is ready or, if timed, for d. It calls on with
// each token.
func (l *loop) wait(d time.Duration, timed bool, on func(token int)) error {
	if l.set != nil {
		return l.set.wait(d, timed, on)
	}
	if timed {
		l.arm(max(d, 1)) // 0 would disarm it
	} else if l.armed {
		l.arm(0)
	}
	l.n = 0
	if err := l.conn.Read(l.poll); err != nil {
		return err
	}
	for _, e := range l.ready[:max(l.n, 0)] {
		if e.Fd != timerToken { // the next timerfd_settime(2) clears its readiness
			on(int(e.Fd))
		}
	}
	return nil
}

func (l *loop) arm(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(l.timer), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	l.armed = d > 0
}
