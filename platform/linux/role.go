//go:build linux

package linux

import (
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
	"leash/internal/wire"
	"leash/platform/posix"
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
	worker *handle // the one that was started last
	tree   *stop.Tree
	cgroup *cgroup
	// marks are those of the workers by PID, until they are reaped; 0 without marks.
	// leaves are the cgroups of workers with a mark, until nothing is left of them.
	marks  map[int]uint64
	leaves map[uint64]string
	alone  bool // no worker is left: kill all children
}

func beSentinel(conn, above int) (status int) {
	name := [16]byte{}
	copy(name[:], "leash-sentinel")
	unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name)), 0, 0, 0)
	k, err := NewKernel()
	if err != nil {
		return exitFailed
	}
	k.sentinels[os.Getpid()] = true // this is its first thread
	if !HasEpoll() {                // see pollSet
		debug.SetGCPercent(-1)
	}
	s := &sentinel{k: k, conn: conn, passed: posix.GivenFDs(), marks: make(map[int]uint64), leaves: make(map[uint64]string)}
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
	catchAll(false, 0)
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
	kind, b, files, err := s.order()
	defer posix.CloseFDs(files)
	if err != nil {
		return err
	}
	switch kind {
	case wire.Start:
		o, err := wire.DecodeOrder(b)
		if err != nil || o.Stdio != (len(files) == 3) {
			return errors.Join(err, wire.ErrOrder)
		}
		for _, fd := range files {
			o.Files = append(o.Files, uintptr(fd))
		}
		return s.start(&o)
	case wire.List:
		return s.list(b)
	case wire.Done:
		return s.done(b)
	case wire.Rest:
		s.alone = true
		s.killChildren()
		return nil
	case wire.Count:
		n, err := wire.DecodeNumber(b)
		if err != nil {
			return err
		}
		if s.reap() {
			return s.tell(wire.None, n, 0)
		}
		return s.tell(wire.Some, n, 0)
	}
	return wire.ErrOrder
}

func (s *sentinel) order() (kind byte, b []byte, files []int, err error) {
	var head [wire.HeadSize]byte
	if files, err = readHead(s.conn, head[:]); err != nil {
		return 0, nil, files, err
	}
	kind, b, err = wire.ReadBody(head, blocking(s.conn))
	return kind, b, files, err
}

func (s *sentinel) tell(kind byte, n, more int32) error {
	return send(s.conn, wire.Answer{Kind: kind, N: n, More: more}.Encode(), nil, nil)
}

// start starts a worker, which is killed when this thread ends (PR_SET_PDEATHSIG).
func (s *sentinel) start(o *wire.Order) error {
	s.forget()
	s.alone = false
	if o.Cgroup != "" {
		s.cgroup = openCgroup(o.Cgroup)
	}
	if o.Mark != 0 {
		setMark(o.Mark)
	}
	for _, n := range uncatchable { // the worker must not inherit what we ignore
		setHandler(n, byDefault)
	}
	pid, fd, err := s.k.forkWorker(o, s.cgroup)
	ignore(uncatchable...)
	if err != nil {
		s.forget()
		var n syscall.Errno
		errors.As(err, &n)
		return s.tell(wire.Failed, int32(n), 0)
	}
	s.marks[pid] = o.Mark
	if o.Mark != 0 && o.Cgroup != "" {
		s.leaves[o.Mark] = o.Cgroup
	}
	if s.worker, err = s.k.childHandle(pid, fd); err != nil { // the worker was killed
		delete(s.marks, pid)
		s.forget()
		return s.tell(wire.Failed, int32(unix.EMFILE), 0)
	}
	s.worker.worker = true
	s.tree = &stop.Tree{Kernel: s.k, Root: s.worker, Protected: s.k.ancestors(),
		Hold: stop.Hold{Parent: os.Getpid(), Empty: s.reap}}
	if s.cgroup != nil {
		s.tree.KillAll, s.tree.Means = s.cgroup.kill, "cgroup"
	}
	if o.Mark != 0 {
		s.tree.KillAll, s.tree.Means = s.killLeaves, "cgroup"
	}
	if _, err := s.tree.Adopt(); err != nil {
		return err // the worker cannot be read: it is killed
	}
	if err := s.tell(wire.Started, int32(pid), 0); err != nil {
		return err
	}
	// Until the watchdog holds a handle on the worker, its PID must not be reused.
	if kind, _, _, err := s.order(); err != nil || kind != wire.Go {
		return errors.Join(err, wire.ErrOrder)
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
	posix.CloseFDs(s.passed)
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
	s.tree, s.worker, s.cgroup = nil, nil, nil
}

// reap collects every child that has ended, and reports the worker's exit status to the
// watchdog. It returns whether no child is left.
func (s *sentinel) reap() (none bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil || pid <= 0:
			if s.alone && err == nil {
				s.killChildren()
			}
			return err == unix.ECHILD
		default:
			if _, ours := s.marks[pid]; ours {
				delete(s.marks, pid)
				s.tell(wire.Exited, int32(pid), int32(ws)) // the watchdog may have ended
			}
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
		s.killChildren()
		if s.pause(100 * time.Millisecond); s.reap() {
			return
		}
	}
}

func (s *sentinel) killChildren() {
	all, _ := s.k.Children(os.Getpid(), nil) // those missed are found in the next round
	for _, pid := range all {
		unix.Kill(pid, unix.SIGKILL) // a child of ours, not reaped yet
	}
}
