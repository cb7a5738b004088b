//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// handle is a process held by a pidfd: it never means another process that
// got the same number later.
type handle struct {
	pid int
	fd  int
}

func openHandle(pid int) (*handle, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open %d: %w", pid, err)
	}
	return &handle{pid: pid, fd: fd}, nil
}

func (h *handle) signal(sig unix.Signal) error {
	return unix.PidfdSendSignal(h.fd, sig, nil, 0)
}

// dead tells whether the process has ended, without waiting for it.
func (h *handle) dead() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// reap takes the zombie away if it is our child and dead, and does nothing
// otherwise.
func (h *handle) reap() {
	unix.Waitid(unix.P_PIDFD, h.fd, nil, unix.WEXITED|unix.WNOHANG, nil)
}

func (h *handle) close() {
	unix.Close(h.fd)
}

// end kills the process, waits for its death and reaps it.
func (h *handle) end() error {
	if err := h.signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %d: %w", h.pid, err)
	}
	_, err := awaitDeaths([]*handle{h}, 30*time.Second)
	return err
}

// awaitDeaths waits until all processes are dead and reaps those that are our
// children at once, as a good init does. It tells when each was found dead.
func awaitDeaths(handles []*handle, limit time.Duration) ([]time.Time, error) {
	died := make([]time.Time, len(handles))
	epoll, err := watchHandles(handles)
	if err != nil {
		return died, err
	}
	defer unix.Close(epoll)
	deadline := time.Now().Add(limit)
	events := make([]unix.EpollEvent, 64)
	for left := len(handles); left > 0; {
		wait := time.Until(deadline)
		if wait <= 0 {
			return died, fmt.Errorf("%d of %d processes are still alive after %v", left, len(handles), limit)
		}
		n, err := unix.EpollWait(epoll, events, int(wait.Milliseconds())+1)
		now := time.Now()
		if err != nil && !errors.Is(err, unix.EINTR) {
			return died, fmt.Errorf("epoll_wait: %w", err)
		}
		for _, event := range events[:max(n, 0)] {
			i := event.Fd
			died[i] = now
			handles[i].reap()
			unix.EpollCtl(epoll, unix.EPOLL_CTL_DEL, handles[i].fd, nil)
			left--
		}
	}
	return died, nil
}

// watchHandles returns an epoll descriptor; its events carry the index of the handle in
// their Fd field.
func watchHandles(handles []*handle) (int, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("epoll_create1: %w", err)
	}
	for i, h := range handles {
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, h.fd, &event); err != nil {
			unix.Close(epoll)
			return -1, fmt.Errorf("epoll_ctl on process %d: %w", h.pid, err)
		}
	}
	return epoll, nil
}

// adoptOrphans makes every process that the bench starts, directly or not,
// come back to it as a child when its own parent dies. So the bench can end
// and reap all of them, and no number is used again behind its back.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_CHILD_SUBREAPER): %w", err)
	}
	return nil
}

// reapOrphans takes away the zombies of adopted processes. No other wait may
// be under way.
func reapOrphans() {
	var status unix.WaitStatus
	for {
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}

// spawning is held while a process is started, and for good once the bench
// is being cleaned up: then nothing new can start.
var spawning sync.Mutex

// endEverything kills what the bench has started, generation by generation:
// the children of a killed process become children of the bench.
func endEverything(limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; {
		reapOrphans()
		children := childrenOf(os.Getpid())
		if len(children) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("these processes could not be ended: %v", children)
		}
		for _, pid := range children {
			killChild(pid)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// killChild kills a process only if it is our child still, checked after
// the handle is open.
func killChild(pid int) {
	h, err := openHandle(pid)
	if err != nil {
		return
	}
	defer h.close()
	if isChild(pid) {
		h.signal(unix.SIGKILL)
	}
}

// isChild reads the parent from /proc/PID/stat; the name before it may hold
// anything, even brackets.
func isChild(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := statFields(string(stat))
	return len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid())
}

// statFields gives the fields of /proc/PID/stat from the state on.
func statFields(stat string) []string {
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
}

func childrenOf(pid int) []int {
	var children []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}
