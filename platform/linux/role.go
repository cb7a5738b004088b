//go:build linux

package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/snapshot"
	"leash/internal/stop"
)

// TakeRole does not return if this process was started as a sentinel or a gate. It must be
// called on the startup thread, because the worker is killed when the thread that forked it
// ends.
func TakeRole() {
	if len(os.Args) != 6 || os.Args[2] != "--of" || os.Args[4] != "--fd" {
		return
	}
	role := os.Args[1]
	if role != roleSentinel && role != roleGate {
		return
	}
	conn, above, err := roleConn(os.Args[3], os.Args[5])
	if err != nil {
		fmt.Fprintf(os.Stderr, "watchdog: %s: only a watchdog can start it: %v\n", role, err)
		os.Exit(exitFailed)
	}
	if role == roleGate {
		os.Exit(passGate(conn))
	}
	os.Exit(beSentinel(conn, above))
}

// Starter is the PID of the process that started this one; for a child of a sentinel, of the
// sentinel's watchdog.
func Starter() int {
	parent := os.Getppid()
	k := Kernel{buf: make([]byte, 4096)}
	b, err := k.readFile(unix.AT_FDCWD, pathIn(parent, "cmdline"))
	if err != nil {
		return parent
	}
	if args := snapshot.SplitArgs(b); len(args) == 6 && args[1] == roleSentinel && args[2] == "--of" {
		if pid, err := strconv.Atoi(args[3]); err == nil {
			return pid
		}
	}
	return parent
}

const exitFailed = 125

// roleConn checks that the descriptor is connected to the process that started this one, even
// if that has been killed since.
func roleConn(of, fd string) (conn, pid int, err error) {
	if pid, err = strconv.Atoi(of); err != nil {
		return -1, 0, err
	}
	if conn, err = strconv.Atoi(fd); err != nil {
		return -1, 0, err
	}
	peer, err := unix.GetsockoptUcred(conn, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1, 0, os.NewSyscallError("SO_PEERCRED", err)
	}
	if int(peer.Pid) != pid || int(peer.Uid) != os.Geteuid() {
		return -1, 0, errors.New("that socket is not its parent's")
	}
	unix.CloseOnExec(conn)
	return conn, pid, nil
}

// sentinel is the second process of run (see StartSentinel).
type sentinel struct {
	k      *Kernel
	conn   int
	above  *handle // the watchdog
	passed []int   // descriptors meant for the worker
	worker *handle
	pid    int // of the worker; 0 before the first
	tree   *stop.Tree
	cgroup *cgroup
}

func beSentinel(conn, above int) (status int) {
	name := [16]byte{}
	copy(name[:], "leash-sentinel")
	unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name)), 0, 0, 0)
	k, err := NewKernel()
	if err != nil {
		return exitFailed
	}
	if !HasEpoll() { // see pollSet
		debug.SetGCPercent(-1)
	}
	s := &sentinel{k: k, conn: conn, passed: GivenFDs()}
	// The kernel sends SIGCONT when the watchdog ends, which continues a sentinel that is
	// stopped. The signal proves nothing: it also comes when the thread ends that started this
	// process.
	unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
	s.above, err = k.open(above)
	if os.Getppid() != above {
		return 0 // it was killed
	}
	if err != nil {
		return exitFailed
	}
	// Every signal that can be caught is caught, so that none ends the sentinel. The worker
	// inherits no handler: execve(2) resets them.
	if err := openWakeUp(); err != nil {
		return exitFailed
	}
	unignore()
	catchAll(false)
	ignore(uncatchable...)
	if unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != nil {
		return exitFailed
	}
	s.serve()
	if s.end() != nil {
		return 1
	}
	return 0
}

// serve returns when the watchdog has ended.
func (s *sentinel) serve() {
	p := []unix.PollFd{{Fd: int32(s.conn), Events: unix.POLLIN}, {Fd: int32(wakeUp), Events: unix.POLLIN},
		{Fd: -1, Events: unix.POLLIN}}
	if !s.above.dir { // poll(2) ignores a negative descriptor
		p[2].Fd = int32(s.above.fd)
	}
	for {
		if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR {
			return
		}
		if p[2].Revents != 0 {
			return
		}
		if p[1].Revents != 0 {
			takeCaught()
			s.reap()
		}
		if p[0].Revents != 0 && s.obey() != nil {
			return
		}
	}
}

// obey carries out one order. An error says that the watchdog has ended.
func (s *sentinel) obey() error {
	kind, b, err := s.order()
	if err != nil {
		return err
	}
	switch kind {
	case orderStart:
		o, err := decodeOrder(b)
		if err != nil {
			return err
		}
		return s.start(&o)
	case orderCount:
		if len(b) != 4 {
			return errOrder
		}
		kind := byte(toldSome)
		if s.reap() {
			kind = toldNone
		}
		return s.tell(kind, int32(binary.NativeEndian.Uint32(b)))
	}
	return errOrder
}

func (s *sentinel) order() (kind byte, b []byte, err error) {
	var head [orderHead]byte
	if err := readFull(s.conn, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.NativeEndian.Uint32(head[1:])
	if n > maxOrder {
		return 0, nil, errOrder
	}
	b = make([]byte, n)
	return head[0], b, readFull(s.conn, b)
}

func (s *sentinel) tell(kind byte, n int32) error {
	for b := tell(kind, n); len(b) > 0; {
		sent, err := unix.SendmsgN(s.conn, b, nil, nil, unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			b = b[sent:]
		case unix.EINTR:
		default:
			return err
		}
	}
	return nil
}

// start starts a worker, which is killed when this thread ends (PR_SET_PDEATHSIG).
func (s *sentinel) start(o *order) error {
	s.forget()
	if o.Cgroup != "" {
		if s.cgroup = openCgroup(o.Cgroup); s.cgroup != nil {
			s.cgroup.limited = o.Limited
		} else if o.Limited { // it was removed: not without limits
			return s.tell(toldFailed, int32(unix.EAGAIN))
		}
	}
	unignore() // the worker must not inherit what we ignore
	pid, fd, err := s.k.forkWorker(o, s.cgroup)
	ignore(uncatchable...)
	if err != nil {
		s.forget()
		var n syscall.Errno
		errors.As(err, &n)
		return s.tell(toldFailed, int32(n))
	}
	s.pid = pid
	if s.worker, err = s.k.childHandle(pid, fd); err != nil { // the worker was killed
		s.forget()
		return s.tell(toldFailed, int32(unix.EMFILE))
	}
	s.worker.worker = true
	s.tree = &stop.Tree{Kernel: s.k, Root: s.worker, Protected: s.k.ancestors(),
		Hold: stop.Hold{Parent: os.Getpid(), Empty: s.reap}}
	if s.cgroup != nil {
		s.tree.KillAll, s.tree.Means = s.cgroup.kill, "cgroup"
	}
	if _, err := s.tree.Adopt(); err != nil {
		return err // the worker cannot be read: it is killed
	}
	if err := s.tell(toldStarted, int32(pid)); err != nil {
		return err
	}
	// Until the watchdog holds a handle on the worker, its PID must not be reused.
	if kind, _, err := s.order(); err != nil || kind != orderGo {
		return errors.Join(err, errOrder)
	}
	note(unix.SIGCHLD) // it may have ended already
	if o.Last {
		s.letGo()
	}
	return nil
}

// letGo closes the descriptors meant for the worker alone, and replaces standard input, output
// and error by the null device.
func (s *sentinel) letGo() {
	CloseFDs(s.passed)
	s.passed = nil
	if null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		for fd := range 3 {
			unix.Dup3(null, fd, 0)
		}
		unix.Close(null)
	}
}

// forget drops the worker before the next one starts.
func (s *sentinel) forget() {
	if s.tree != nil {
		s.tree.Close()
	}
	if s.worker != nil {
		s.worker.Close()
	}
	if s.cgroup != nil {
		unix.Close(s.cgroup.fd)
	}
	s.tree, s.worker, s.cgroup, s.pid = nil, nil, nil, 0
}

// reap collects every child that has ended, and reports the worker's exit status to the
// watchdog. It returns whether no child is left.
func (s *sentinel) reap() (none bool) {
	for {
		var ws unix.WaitStatus
		var used unix.Rusage
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, &used)
		switch {
		case err == unix.EINTR:
		case err != nil || pid <= 0:
			return err == unix.ECHILD
		case pid == s.pid:
			s.tellUsage(&used)
			s.tell(toldExit, int32(ws)) // the watchdog may have ended
		}
	}
}

// end kills all descendants of this process. It runs when the watchdog has ended without
// ending the worker's tree.
func (s *sentinel) end() error {
	if s.reap() {
		return nil
	}
	if s.tree == nil {
		s.endChildren()
		return nil
	}
	err := stop.EndNow(s.tree, s.pause)
	if s.cgroup != nil {
		s.cgroup.remove()
	}
	return err
}

// pause waits for that long, or until a child has ended.
func (s *sentinel) pause(d time.Duration) {
	p := []unix.PollFd{{Fd: int32(wakeUp), Events: unix.POLLIN}}
	if n, _ := unix.Poll(p, max(1, int(d.Milliseconds()))); n > 0 {
		takeCaught()
	}
}

// endChildren kills all children where no worker is known: starting it failed.
func (s *sentinel) endChildren() {
	for range 64 {
		all, _ := s.k.Children(os.Getpid(), nil) // those missed are found in the next round
		for _, pid := range all {
			unix.Kill(pid, unix.SIGKILL) // a child of ours, not reaped yet
		}
		if s.pause(100 * time.Millisecond); s.reap() {
			return
		}
	}
}
