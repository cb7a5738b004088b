//go:build linux

package linux

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	folder "path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/dbus"
)

// Where no leaf can be made systemd is asked for a transient scope with Delegate=yes, as
// systemd-run --scope does, which this process and its sentinel move into
// (org.freedesktop.systemd1(5), StartTransientUnit). Then all is as in a service with
// Delegate=yes. The scope ends with them.

// scopeWithin is how long systemd may take.
const scopeWithin = 5 * time.Second

// manager is the private socket of the systemd manager to ask: the system's for root, else the
// user's.
func manager() string {
	if os.Geteuid() == 0 {
		return "/run/systemd/private"
	}
	dir := cmp.Or(os.Getenv("XDG_RUNTIME_DIR"), "/run/user/"+strconv.Itoa(os.Geteuid()))
	return dir + "/systemd/private"
}

var errNoManager = errors.New("no systemd manager")

// enterScope moves this process and its sentinel into a new scope, and returns its folder.
func (s *System) enterScope(sentinel int) (dir string, err error) {
	conn, err := dialManager(manager())
	if err != nil {
		return "", err
	}
	defer unix.Close(int(conn))
	if err := dbus.Authenticate(conn, os.Geteuid()); err != nil {
		return "", err
	}
	_, ns, err := s.here()
	if err != nil {
		return "", err
	}
	pids := []uint32{uint32(os.Getpid())}
	if sentinel != 0 {
		pids = append(pids, uint32(sentinel))
	}
	unit := leafName(ns, os.Getpid(), s.Tick()) + ".scope"
	if err := dbus.StartTransientUnit(conn, unit, []dbus.Property{
		{Name: "Description", Value: "Leash watchdog and its worker"},
		{Name: "CollectMode", Value: "inactive-or-failed"}, // nothing of it stays
		{Name: "Delegate", Value: true},
		{Name: "PIDs", Value: pids},
	}); err != nil {
		return "", err
	}
	for until := time.Now().Add(scopeWithin); time.Now().Before(until); pause(time.Millisecond) {
		if dir := s.cgroupDir(); folder.Base(dir) == unit && inside(dir, pids) {
			return dir, nil
		}
	}
	return "", errors.New("it did not move the watchdog")
}

// inside reports whether all these processes are in a cgroup.
func inside(dir string, pids []uint32) bool {
	in, err := procsIn(dir)
	return err == nil && !slices.ContainsFunc(pids, func(pid uint32) bool { return !slices.Contains(in, int(pid)) })
}

// privateConn is a connection whose reads and writes take a bounded time.
type privateConn int

func dialManager(path string) (privateConn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	limit := unix.NsecToTimeval(scopeWithin.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err == nil {
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &limit)
		}
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == unix.ENOENT || err == unix.ECONNREFUSED {
		err = errNoManager
	}
	if err == nil { // of another user it is no manager of ours
		var peer *unix.Ucred
		if peer, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil && int(peer.Uid) != os.Geteuid() && peer.Uid != 0 {
			err = fmt.Errorf("%s belongs to user %d", path, peer.Uid)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return privateConn(fd), nil
}

func (c privateConn) Read(b []byte) (int, error) {
	n, err := readRetry(int(c), b)
	if n <= 0 && err == nil && len(b) > 0 {
		return 0, io.EOF
	}
	return max(n, 0), err
}

func (c privateConn) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := unix.SendmsgN(int(c), b[done:], nil, nil, unix.MSG_NOSIGNAL)
		if err != nil && err != unix.EINTR {
			return done, err
		}
		if done += max(n, 0); done == len(b) {
			return done, nil
		}
	}
}
