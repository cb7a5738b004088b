//go:build linux

package linux

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/wire"
	"leash/platform/posix"
)

// A watchdog that is killed cannot end its worker's tree, so run has a second process of
// the same program, the sentinel. It is a child of the watchdog, in a session of its
// own, and the parent and subreaper of the worker (PR_SET_CHILD_SUBREAPER): no
// process of the worker's tree can leave the sentinel's descendants.
//
//	watchdog (subreaper) ── sentinel (subreaper) ── worker ── ...
//
// If the watchdog is killed, the sentinel kills all its descendants, until wait4(2)
// says that it has no children. If the sentinel is killed, its death kills the worker
// (PR_SET_PDEATHSIG), and its other descendants become children of the watchdog, which
// kills them.

// The watchdog and its sentinel communicate over a stream socket (see package wire).

// roleArgs are the arguments of a sentinel. They say what it is but contain nothing of the
// worker's, so that no pkill(1) for the worker matches it.
func roleArgs(role string, conn int) []string {
	return []string{"watchdog", role, "--of", strconv.Itoa(os.Getpid()), "--fd", strconv.Itoa(conn)}
}

const (
	roleSentinel = "sentinel"
	roleGate     = "gate"
)

// roleEnv is the environment of a sentinel or a gate: one thread of Go code at a time, and a
// heap that is first collected at 1 MB.
var roleEnv = []string{"GOMAXPROCS=1", "GOGC=25"}

// StartSentinel starts a sentinel, which waits for the order to start a worker. It inherits
// descriptors 0 to 2 and keep, those meant for the worker. conn is the watchdog's end of their
// socket; no process inherits it.
func StartSentinel(keep []int) (conn, pid int, err error) {
	inherited(keep, func() {
		conn, pid, err = startRole(roleSentinel, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}})
	})
	return conn, pid, err
}

func startRole(role string, attr *syscall.ProcAttr) (conn, pid int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1])
	attr.Env = roleEnv
	unix.FcntlInt(uintptr(pair[1]), unix.F_SETFD, 0)
	if pid, err = forkUnmasked(ownPath(), roleArgs(role, pair[1]), attr); err != nil {
		unix.Close(pair[0])
		return -1, 0, fmt.Errorf("cannot start the %s: %w", role, err)
	}
	return pair[0], pid, nil
}

// forkUnmasked starts a process with no signal blocked: otherwise the runtime gives a child
// the signal mask of the thread that forks it.
func forkUnmasked(path string, args []string, attr *syscall.ProcAttr) (pid int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	was, err := setMask(new(signalSet))
	if err != nil {
		return 0, err
	}
	defer setMask(&was)
	return syscall.ForkExec(path, args, attr)
}

// sentinelConn is the watchdog's end of the connection.
type sentinelConn struct {
	pid, fd int
	h       *handle
	token   int
	asked   int32
	exit    func(pid int, ws unix.WaitStatus)
	died    func() // its exit was noticed
	part    [wire.AnswerSize]byte
	n       int // bytes of part
}

// useSentinel takes over a sentinel that StartSentinel has started.
func (c *containment) useSentinel(conn, pid int) (err error) {
	unix.CloseOnExec(conn)
	c.sentinel, err = c.s.connect(conn, pid, func(_ int, ws unix.WaitStatus) {
		if w := c.worker; w != nil && w.child && !w.reaped {
			delete(c.s.children, w.pid)
			w.reaped, w.exit = true, posix.ExitOf(ws)
			c.tell()
		}
	}, func() { c.sentinelDied() })
	return err
}

// connect takes over a sentinel: its wait statuses go to exit, and its own exit to died.
func (sys *System) connect(conn, pid int, exit func(int, unix.WaitStatus), died func()) (*sentinelConn, error) {
	h, err := sys.open(pid) // our child, which only we reap
	if err != nil {
		unix.Close(conn)
		return nil, err
	}
	s := &sentinelConn{pid: pid, fd: conn, h: h, token: sys.loop.token(), exit: exit, died: died}
	if err = unix.SetNonblock(conn, true); err == nil {
		err = sys.loop.add(conn, s.token)
	}
	if err != nil {
		sys.closeSentinel(s)
		return nil, err
	}
	sys.ready[s.token], sys.sentinels[pid] = s.listen, true
	sys.child(h, nil)
	h.onReaped = died
	return s, nil
}

func (sys *System) closeSentinel(s *sentinelConn) {
	delete(sys.ready, s.token)
	delete(sys.children, s.pid)
	delete(sys.sentinels, s.pid)
	sys.loop.remove(s.fd)
	unix.Close(s.fd)
	s.h.Close()
}

var (
	// ErrSentinel says that the sentinel was killed.
	ErrSentinel = errors.New("the sentinel of this watchdog was killed")
	// errUnstarted says that it was killed before it started anything.
	errUnstarted = errors.New("the sentinel of this watchdog could not begin")
)

// impatience is how long a sentinel may take to answer before it is continued: it may have
// been stopped.
const impatience = time.Second

// ready waits until the sentinel's socket can be read or written.
func (s *sentinelConn) ready(events int16) {
	p := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
	if n, _ := unix.Poll(p, int(impatience.Milliseconds())); n == 0 {
		s.h.Signal(stop.CONT)
	}
}

// order sends an order, with copies of these descriptors. It blocks for as long as the
// sentinel lives and does not read.
func (s *sentinelConn) order(kind byte, b []byte, files ...int) error {
	var rights []byte
	if len(files) > 0 {
		rights = unix.UnixRights(files...)
	}
	if send(s.fd, wire.Bytes(kind, b), rights, func() { s.ready(unix.POLLOUT) }) != nil {
		return ErrSentinel
	}
	return nil
}

// send sends all, with these rights. full is called while the socket is full; nil for a blocking
// one.
func send(fd int, b, rights []byte, full func()) error {
	for len(b) > 0 {
		n, err := unix.SendmsgN(fd, b, rights, nil, unix.MSG_NOSIGNAL)
		switch {
		case err == nil:
			b, rights = b[n:], nil
		case err == unix.EAGAIN && full != nil:
			full()
		case err != unix.EINTR:
			return err
		}
	}
	return nil
}

// next reads the sentinel's next message, if one has come. It records the worker's exit status
// itself.
func (s *sentinelConn) next() (kind byte, n int32, err error) {
	for {
		got, err := unix.Read(s.fd, s.part[s.n:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, 0, nil
		case err != nil || got == 0:
			return 0, 0, ErrSentinel
		}
		if s.n += got; s.n < len(s.part) {
			continue
		}
		s.n = 0
		a := wire.DecodeAnswer(s.part[:])
		if a.Kind != wire.Exited {
			return a.Kind, a.N, nil
		}
		s.exit(int(a.N), unix.WaitStatus(a.More))
	}
}

// startBySentinel has the sentinel start the worker.
func (c *containment) startBySentinel(o *wire.Order) (*handle, error) {
	s := c.sentinel
	if s.order(wire.Start, o.Encode()) != nil {
		c.sentinelDied() // it ended before it had the whole order
		return nil, errUnstarted
	}
	for {
		kind, n, err := s.next()
		switch {
		case err != nil && c.sentinelDied() == exitFailed: // it failed before it read orders
			return nil, errUnstarted
		case err != nil:
			return nil, c.endStray()
		case kind == 0:
			s.ready(unix.POLLIN)
		case kind == wire.Failed:
			return nil, syscall.Errno(n)
		case kind == wire.Started:
			return c.s.open(int(n)) // not reaped before Started
		}
	}
}

// answerWithin is how long the sentinel may take to answer whether it has children left.
// Without an answer nothing is proven, and the question is sent again later.
const answerWithin = 2 * time.Second

// none reports whether the sentinel has reaped all its children and has none left. Then
// nothing of the worker's tree is alive: orphans of the tree become the sentinel's children,
// and it starts no process on its own.
func (s *sentinelConn) none() (none bool, err error) {
	s.asked++
	if err := s.order(wire.Count, wire.Number(s.asked)); err != nil {
		return false, err
	}
	for until := time.Now().Add(answerWithin); time.Now().Before(until); {
		kind, n, err := s.next()
		switch {
		case err != nil:
			return false, err
		case kind == 0:
			s.ready(unix.POLLIN)
		case n == s.asked && (kind == wire.None || kind == wire.Some):
			return kind == wire.None, nil
		}
	}
	return false, nil
}

// listen reads the messages that are no answers.
func (s *sentinelConn) listen() {
	for {
		switch kind, _, err := s.next(); {
		case err != nil:
			s.died()
			return
		case kind == 0:
			return
		}
	}
}

// sentinelDied is called when the sentinel's exit was noticed in any way. It returns the exit
// status, -1 if a signal killed the sentinel.
func (c *containment) sentinelDied() (status int) {
	s := c.sentinel
	if s == nil {
		return -1
	}
	status = c.s.collect(s)
	c.sentinel, c.heir = nil, true
	if c.child {
		c.lost = true
		c.tell()
		c.changed()
	}
	return status
}

// collect waits until a sentinel that ends is a zombie: its children have become ours then
// (exit_notify in kernel/exit.c). It takes the last messages and returns the exit status, -1
// if a signal killed the sentinel.
func (sys *System) collect(s *sentinelConn) (status int) {
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(s.pid, &ws, 0, nil); err != unix.EINTR {
			break // ECHILD: it has already been reaped
		}
	}
	for kind := byte(1); kind != 0; { // its last messages
		kind, _, _ = s.next()
	}
	sys.closeSentinel(s)
	return ws.ExitStatus()
}

// endStray is called when the sentinel died while it started a worker. What it has started is
// below us by now.
func (c *containment) endStray() error {
	for range 64 {
		all, _ := c.s.Children(os.Getpid(), nil) // those missed are found in the next round
		for _, pid := range all {
			if c.s.sole {
				unix.Kill(pid, unix.SIGKILL) // a child of ours, not reaped yet
			}
		}
		if !c.s.sole || c.s.reap() {
			break
		}
		pause(10 * time.Millisecond)
	}
	return ErrSentinel
}

// dismissSentinel ends the sentinel. While processes of the tree are left, the sentinel is
// kept, and kills them when it sees that this process has ended.
func (c *containment) dismissSentinel(living int) {
	s := c.sentinel
	if s == nil {
		return
	}
	if !c.child || living == 0 {
		c.child = false       // its exit is expected
		s.h.Signal(proc.KILL) // our own child, not reaped yet
		c.sentinelDied()
		return
	}
	c.sentinel = nil
	c.s.closeSentinel(s)
}

// blocking is a descriptor that is read until something comes.
type blocking int

func (fd blocking) Read(b []byte) (int, error) {
	for {
		switch n, err := unix.Read(int(fd), b); {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}
