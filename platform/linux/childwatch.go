//go:build linux

package linux

import (
	"os"

	"golang.org/x/sys/unix"
)

// childWatch tells of children that have ended: the worker, and those that came to
// us as their subreaper or as PID 1. One goroutine blocks in waitid(2) for it.
// With SIGCHLD each end would pass through package os/signal and two threads.
type childWatch struct {
	fd    int // eventfd
	token int
	again chan struct{}
}

// waitForChildren is called when there is a new one.
func (h *Host) waitForChildren() error {
	if h.ends != nil {
		h.ends.goOn()
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	o := &childWatch{fd: fd, token: h.loop.token(), again: make(chan struct{}, 1)}
	if err := h.loop.add(fd, o.token); err != nil {
		unix.Close(fd)
		return err
	}
	h.ends = o
	go o.wait()
	return nil
}

// wait leaves the dead where they are: the main goroutine reaps, so that no
// PID changes hands while it looks.
func (o *childWatch) wait() {
	for {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err == nil { // else ECHILD: nobody is there who could end
			unix.Write(o.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
		<-o.again
	}
}

func (o *childWatch) goOn() {
	select {
	case o.again <- struct{}{}:
	default: // it goes on anyway
	}
}

func (o *childWatch) seen() {
	var b [8]byte
	unix.Read(o.fd, b[:])
}
