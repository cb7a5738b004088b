//go:build linux

package linux

import (
	"errors"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// pollSet replaces epoll where that is refused (a seccomp filter): poll(2), which blocks a
// thread. Go's runtime crashes without epoll at the first timer, the first file that it would
// poll and the first garbage collection that returns memory, so this mode uses none of these.
type pollSet struct {
	fds    []unix.PollFd
	tokens []int
}

// HasEpoll tries every epoll call that the loop and the runtime use. Lack of descriptors does
// not count as refusal.
func HasEpoll() bool {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return Scarce(err)
	}
	defer unix.Close(fd)
	wakeUp, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return true // reported where a descriptor is needed
	}
	defer unix.Close(wakeUp)
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, wakeUp, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		return Scarce(err)
	}
	var ready [1]unix.EpollEvent
	_, err = unix.EpollWait(fd, ready[:], 0) // epoll_pwait(2), on arm64 the only one
	return err == nil || err == unix.EINTR
}

// ErrEpoll says why the backend event is not available.
var ErrEpoll = errors.New("the system refuses epoll (a seccomp filter)")

func newPollSet() *pollSet {
	debug.SetGCPercent(-1)
	return &pollSet{}
}

func (s *pollSet) add(fd, token int, events uint32) error {
	if alwaysReady(fd) {
		return unix.EPERM // as epoll_ctl(2) says
	}
	s.fds = append(s.fds, unix.PollFd{Fd: int32(fd), Events: int16(events)})
	s.tokens = append(s.tokens, token)
	return nil
}

func (s *pollSet) remove(fd int) {
	for i := range s.fds {
		if s.fds[i].Fd == int32(fd) {
			s.fds = append(s.fds[:i], s.fds[i+1:]...)
			s.tokens = append(s.tokens[:i], s.tokens[i+1:]...)
			return
		}
	}
}

// wait is the loop's. on may add and remove descriptors: the ready ones are collected first.
func (s *pollSet) wait(d time.Duration, timed bool, on func(token int)) error {
	var timeout *unix.Timespec
	if timed {
		t := unix.NsecToTimespec(int64(max(d, 0)))
		timeout = &t
	}
	n, err := unix.Ppoll(s.fds, timeout, nil)
	if n <= 0 || err != nil {
		if err == unix.EINTR {
			err = nil
		}
		return err
	}
	var ready []int
	for i := range s.fds {
		if s.fds[i].Revents != 0 {
			ready = append(ready, s.tokens[i])
		}
	}
	for _, token := range ready {
		on(token)
	}
	return nil
}

// alwaysReady reports whether poll(2) does not support this file: it can be read and written
// at any time.
func alwaysReady(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFBLK:
		return true
	case unix.S_IFCHR:
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
		n, err := unix.Poll(p, 0)
		return err == nil && n == 1 && p[0].Revents == unix.POLLIN|unix.POLLOUT
	}
	return false
}

// pause waits without a timer of Go's runtime.
func pause(d time.Duration) {
	for t := unix.NsecToTimespec(int64(d)); unix.Nanosleep(&t, &t) == unix.EINTR; {
	}
}
