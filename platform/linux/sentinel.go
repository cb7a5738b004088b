//go:build linux

package linux

import (
	"encoding/binary"
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
	"leash/watch"
)

// A watchdog that is killed can end nothing any more, so run has a second process of
// the same program, the sentinel. It is a child of the watchdog, in a session of its
// own, and the parent and subreaper of the worker (PR_SET_CHILD_SUBREAPER): whatever
// the worker's tree does, it stays below the sentinel.
//
//	watchdog (subreaper) ── sentinel (subreaper) ── worker ── ...
//
// If the watchdog is killed, the sentinel kills all that is below it, until wait4(2)
// says that it has no children. If the sentinel is killed, the worker dies by its
// PR_SET_PDEATHSIG, and all else becomes children of the watchdog, which does the same.

// The watchdog and its sentinel speak over a stream socket. The watchdog sends a
// kind, the length of what follows, and that; the sentinel sends a kind and a number.
const (
	orderStart = 's' // start a worker: order
	orderGo    = 'g' // the worker is known here: its end may be taken notice of
	orderCount = 'c' // are there children left? A number that the answer repeats

	toldStarted = 'p' // the worker's PID
	toldFailed  = 'f' // the error number of fork(2) or execve(2)
	toldExit    = 'x' // the worker's wait status
	toldSome    = 'm' // children are left
	toldNone    = 'n' // none is
)

const (
	orderHead = 5 // kind, length
	toldSize  = 5 // kind, number
	// maxOrder is above what execve(2) takes: 3/4 of the largest _STK_LIM, 6 MiB
	// (fs/exec.c, bprm_stack_limits).
	maxOrder = 16 << 20
)

func tell(kind byte, n int32) []byte {
	return binary.NativeEndian.AppendUint32([]byte{kind}, uint32(n))
}

// roleArgs are the arguments of a sentinel. Its command line says what it is, and
// nothing of the worker's, so that no pkill(1) for the worker finds it.
func roleArgs(role string, conn int) []string {
	return []string{"watchdog", role, "--of", strconv.Itoa(os.Getpid()), "--fd", strconv.Itoa(conn)}
}

const (
	roleSentinel = "sentinel"
	roleGate     = "gate"
)

// roleEnv is the environment of a process of ours beside the watchdog: one thread of
// Go code at a time, and a heap that is first collected at 1 MB.
var roleEnv = []string{"GOMAXPROCS=1", "GOGC=25"}

// StartSentinel starts one, which waits for the order to start a worker. It inherits
// descriptors 0 to 2 and those that are meant for that worker. conn is not inherited by
// anything.
func StartSentinel(keep []int) (conn, pid int, err error) {
	inherited(keep, func() {
		conn, pid, err = startRole(roleSentinel, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
	})
	return conn, pid, err
}

func startRole(role string, attr *syscall.ProcAttr) (conn, pid int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1])
	attr.Env, attr.Files = roleEnv, []uintptr{0, 1, 2}
	unix.FcntlInt(uintptr(pair[1]), unix.F_SETFD, 0)
	if pid, err = forkUnmasked(ownPath(), roleArgs(role, pair[1]), attr); err != nil {
		unix.Close(pair[0])
		return -1, 0, fmt.Errorf("cannot start the %s: %w", role, err)
	}
	return pair[0], pid, nil
}

// forkUnmasked starts a process with no signal blocked: the runtime gives a child the
// mask of the thread that forks it.
func forkUnmasked(path string, args []string, attr *syscall.ProcAttr) (pid int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var was unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, &was); err != nil {
		return 0, err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil)
	return syscall.ForkExec(path, args, attr)
}

// sentinelConn is the watchdog's side.
type sentinelConn struct {
	pid, fd int
	h       *handle
	token   int
	asked   int32
	exit    func(unix.WaitStatus)
	part    [toldSize]byte
	n       int // bytes of part
}

// UseSentinel takes a sentinel that StartSentinel has started.
func (h *Host) UseSentinel(conn, pid int) error {
	hd, err := h.Kernel.open(pid) // a child that nobody else reaps
	if err != nil {
		return err
	}
	unix.CloseOnExec(conn)
	s := &sentinelConn{pid: pid, fd: conn, h: hd, token: h.loop.token()}
	s.exit = func(ws unix.WaitStatus) {
		if !h.exited {
			h.exited, h.exit = true, exitOf(ws)
		}
	}
	err = unix.SetNonblock(conn, true)
	if err == nil {
		err = h.loop.add(conn, s.token)
	}
	if err != nil {
		s.close(h)
		return err
	}
	h.sentinel = s
	return nil
}

func (s *sentinelConn) close(h *Host) {
	h.loop.remove(s.fd)
	unix.Close(s.fd)
	s.h.Close()
}

var (
	// ErrSentinel says that the sentinel has ended.
	ErrSentinel = errors.New("the sentinel of this watchdog was killed")
	// errUnstarted says so, and that it has started nothing.
	errUnstarted = errors.New("the sentinel of this watchdog could not begin")
)

// impatience is after how long a sentinel that does not answer is continued: somebody
// may have stopped it.
const impatience = time.Second

// ready waits until the sentinel can be read from or written to.
func (s *sentinelConn) ready(events int16) {
	p := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
	if n, _ := unix.Poll(p, int(impatience.Milliseconds())); n == 0 {
		s.h.Signal(stop.CONT)
	}
}

// order sends one, and takes as long as the sentinel lives.
func (s *sentinelConn) order(kind byte, b []byte) error {
	head := binary.NativeEndian.AppendUint32([]byte{kind}, uint32(len(b)))
	for b = append(head, b...); len(b) > 0; {
		n, err := unix.SendmsgN(s.fd, b, nil, nil, unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			b = b[n:]
		case unix.EAGAIN:
			s.ready(unix.POLLOUT)
		case unix.EINTR:
		default:
			return ErrSentinel
		}
	}
	return nil
}

// next takes the next word of the sentinel, if one has come, and notes the worker's
// exit status by itself.
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
		if s.n += got; s.n < toldSize {
			continue
		}
		s.n = 0
		kind, n = s.part[0], int32(binary.NativeEndian.Uint32(s.part[1:]))
		if kind != toldExit {
			return kind, n, nil
		}
		s.exit(unix.WaitStatus(n))
	}
}

// start has the worker started.
func (h *Host) startBySentinel(o *order) (*handle, error) {
	s := h.sentinel
	if s.order(orderStart, o.encode()) != nil {
		h.sentinelDied() // before it had all of the order
		return nil, errUnstarted
	}
	for {
		kind, n, err := s.next()
		switch {
		case err != nil && h.sentinelDied() == exitFailed: // it never came to reading orders
			return nil, errUnstarted
		case err != nil:
			return nil, h.endStray()
		case kind == 0:
			s.ready(unix.POLLIN)
		case kind == toldFailed:
			return nil, syscall.Errno(n)
		case kind == toldStarted:
			return h.Kernel.open(int(n)) // not reaped before goOn
		}
	}
}

// goOn lets the sentinel reap the worker once it has ended. Until then its PID is not
// another's, and it can be looked at.
func (h *Host) goOn() {
	if h.sentinel != nil {
		h.sentinel.order(orderGo, nil) // its end is noticed in any case
	}
}

// answerWithin bounds the time in which the sentinel is to say that it has no child
// left; otherwise nothing is proven, and it is asked again.
const answerWithin = 2 * time.Second

// none reports whether the sentinel has reaped all its children and none is left:
// then nothing of the worker's tree lives, for all that lost its parent became its
// child, and it starts nothing by itself.
func (s *sentinelConn) none() (none bool, err error) {
	s.asked++
	if err := s.order(orderCount, binary.NativeEndian.AppendUint32(nil, uint32(s.asked))); err != nil {
		return false, err
	}
	for until := time.Now().Add(answerWithin); time.Now().Before(until); {
		kind, n, err := s.next()
		switch {
		case err != nil:
			return false, err
		case kind == 0:
			s.ready(unix.POLLIN)
		case n == s.asked && (kind == toldNone || kind == toldSome):
			return kind == toldNone, nil
		}
	}
	return false, nil
}

// sentinelSpoke reads what came without having been asked for.
func (h *Host) sentinelSpoke() {
	for {
		kind, _, err := h.sentinel.next()
		if err != nil {
			h.sentinelDied()
			break
		}
		if kind == 0 {
			break
		}
	}
	if h.exited && !h.told {
		h.tellExit()
	}
}

// sentinelDied is called when its end was noticed in any way. It waits until the
// sentinel is a zombie: what was below it has become ours then (exit_notify in
// kernel/exit.c). It returns the sentinel's exit status, -1 if a signal ended it.
func (h *Host) sentinelDied() (status int) {
	s := h.sentinel
	if s == nil {
		return -1
	}
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(s.pid, &ws, 0, nil); err != unix.EINTR {
			break // also ECHILD: it was reaped already
		}
	}
	for kind := byte(1); kind != 0; { // what it said last
		kind, _, _ = s.next()
	}
	s.close(h)
	h.sentinel, h.heir = nil, true
	if h.worker != nil && h.childID != 0 {
		h.lostSentinel = true
		h.contain()
	}
	return ws.ExitStatus()
}

// endStray is called when the sentinel died while it started a worker. What that has
// started meanwhile is below us.
func (h *Host) endStray() error {
	for range 64 {
		all, _ := h.Kernel.Children(os.Getpid(), nil) // what is missed is found in the next round
		for _, pid := range all {
			if h.sole {
				unix.Kill(pid, unix.SIGKILL) // a child of ours, not reaped yet
			}
		}
		if !h.sole || h.reapOwn() {
			break
		}
		pause(10 * time.Millisecond)
	}
	return ErrSentinel
}

// dismissSentinel lets it end. While anything of the tree is left, it goes on to
// kill that when it sees that this process has ended.
func (h *Host) dismissSentinel() {
	s := h.sentinel
	if s == nil {
		return
	}
	if h.childID == 0 || h.exited && h.left == 0 {
		s.h.Signal(proc.KILL) // our own child, not reaped yet
		h.sentinelDied()
		return
	}
	h.sentinel = nil
	s.close(h)
}

// tellLostSentinel tells of the sentinel's death before all that came of it.
func (h *Host) tellLostSentinel() {
	if h.lostSentinel {
		h.lostSentinel = false
		h.events = append(h.events, watch.SentinelDied{})
	}
}

// readFull reads from a blocking descriptor.
func readFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		default:
			b = b[n:]
		}
	}
	return nil
}
