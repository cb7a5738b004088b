package darwin

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
)

// OpenStandIn returns the system over Linux, for a watchdog that is built with the tag
// standin: the mechanisms of this package run on it against real processes.
func OpenStandIn(backend string) (*System, error) {
	st, err := openStandIn()
	if err != nil {
		return nil, err
	}
	st.all = true
	answerWithin = time.Minute // no test is about its end, and the machine may be slow
	k, err := newKernel(st)
	if err != nil {
		return nil, err
	}
	s, err := newSystem(k, st, st, backend)
	if err != nil {
		return nil, err
	}
	s.program = thisProgram()
	return s, nil
}

// TakeStandInRole does not return if this process was started as a part of such a watchdog.
func TakeStandInRole() { takeRole(new(standIn)) }

// standIn is Linux, dressed up as what is needed of macOS: the code that is not
// for macOS alone runs on it against real processes.
type standIn struct {
	pidfds map[uint64]int // by number
	read   map[uint64]bool
	user   int // eventfd
	signal chan os.Signal
	all    bool // of all signals, not only of those of the tests
}

func openStandIn() (*standIn, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &standIn{pidfds: make(map[uint64]int), read: make(map[uint64]bool), user: fd}, err
}

const tickUsec = 10_000

// Process reads /proc/PID/stat: the fields behind the name, from the third on.
func (s *standIn) Process(pid int) (entry, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return entry{}, proc.ErrGone
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[end+1:]))
	field := func(n int) int { v, _ := strconv.Atoi(f[n-3]); return v }
	e := entry{PID: pid, PPID: field(4), PGID: field(5), Start: uint64(field(22)) * tickUsec,
		Stat: statRuns, Status: field(52), Name: string(b[open+1 : end])}
	switch f[0] {
	case "Z", "X":
		e.Stat = statZombie
	case "T", "t":
		e.Stat = statStopped
	}
	const exiting = 4 // PF_EXITING
	if field(9)&exiting != 0 {
		e.Flags |= flagExiting
	}
	if field(6) == pid {
		e.Session |= leadsSession
	}
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(pid), &st) == nil {
		e.UID, e.Real, e.Saved = st.Uid, st.Uid, st.Uid
	}
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if _, line, ok := strings.Cut(string(status), "\nSigCgt:"); ok {
		line, _, _ = strings.Cut(line, "\n")
		mask, _ := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
		e.Caught = uint32(mask)
	}
	return e, nil
}

func (s *standIn) Processes() ([]entry, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	var all []entry
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if e, err := s.Process(pid); err == nil {
				all = append(all, e)
			}
		}
	}
	return all, err
}

func (s *standIn) Session(pid int) (int, error) { return unix.Getsid(pid) }

// ProcArgs lays them out as XNU does.
func (s *standIn) ProcArgs(pid int) ([]byte, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	exe, err := os.Readlink(dir + "/exe")
	if err != nil {
		return nil, syscall.EINVAL
	}
	args, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return nil, syscall.EINVAL
	}
	env, err := os.ReadFile(dir + "/environ")
	if err != nil {
		return nil, syscall.EINVAL
	}
	return layOut(exe, args, env), nil
}

// layOut has what parseProcArgs2 reads; args and env are ended by NUL, as in /proc.
func layOut(exe string, args, env []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(bytes.Count(args, []byte{0})))
	b = append(append(b, exe...), 0)
	for (len(b)-4)%align != 0 {
		b = append(b, 0)
	}
	return append(append(b, args...), env...)
}

func (s *standIn) Kill(pid, sig int) error { return unix.Kill(pid, unix.Signal(sig)) }

// Clock is rounded as start times are.
func (s *standIn) Clock() uint64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano()) / 1e3 / tickUsec * tickUsec
}

func (s *standIn) Boot() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.ToUpper(strings.TrimSpace(string(b))), err
}

func (s *standIn) Self() int { return os.Getpid() }

func (s *standIn) Kevent(changes, events []kevent, timeout time.Duration) (int, error) {
	n := 0
	for _, c := range changes {
		if c.Filter == filterUser && c.Fflags&noteTrigger != 0 { // by any goroutine
			unix.Write(s.user, []byte{1, 0, 0, 0, 0, 0, 0, 0})
			continue
		}
		err := s.change(c)
		if c.Flags&evReceipt != 0 {
			c.Flags, c.Data = evError, int64(err)
			events[n] = c
			n++
		}
	}
	if len(changes) > 0 {
		return n, nil
	}
	return s.poll(events, timeout)
}

func (s *standIn) change(c kevent) syscall.Errno {
	switch add := c.Flags&evAdd != 0; {
	case c.Filter == filterRead:
		s.read[c.Ident] = add
	case c.Filter != filterProc:
	case !add:
		fd, ok := s.pidfds[c.Ident]
		if !ok {
			return syscall.ENOENT
		}
		unix.Close(fd)
		delete(s.pidfds, c.Ident)
	default:
		if _, ok := s.pidfds[c.Ident]; ok {
			return 0
		}
		fd, err := unix.PidfdOpen(int(c.Ident), 0)
		if err != nil {
			return err.(syscall.Errno)
		}
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(p, 0); n > 0 { // a zombie
			unix.Close(fd)
			return syscall.ESRCH
		}
		s.pidfds[c.Ident] = fd
	}
	return 0
}

func (s *standIn) poll(events []kevent, timeout time.Duration) (int, error) {
	fds := []unix.PollFd{{Fd: int32(s.user), Events: unix.POLLIN}}
	of := []kevent{{Filter: filterUser}}
	for pid, fd := range s.pidfds {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		of = append(of, kevent{Ident: pid, Filter: filterProc, Flags: evEOF, Fflags: noteExit})
	}
	for fd, on := range s.read {
		if on {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP})
			of = append(of, kevent{Ident: fd, Filter: filterRead, Flags: evEOF})
		}
	}
	wait := -1
	if timeout >= 0 {
		wait = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	if _, err := unix.Poll(fds, wait); err != nil {
		return 0, err
	}
	n := 0
	for i, fd := range fds {
		if fd.Revents == 0 || n == len(events) {
			continue
		}
		e := of[i]
		switch e.Filter {
		case filterUser:
			var b [8]byte
			unix.Read(s.user, b[:])
		case filterProc:
			unix.Close(int(fd.Fd))
			delete(s.pidfds, e.Ident)
		}
		events[n] = e
		n++
	}
	return n, nil
}

func (s *standIn) Close() {}

func (s *standIn) Start(w start) (int, error) {
	attr := &syscall.ProcAttr{Dir: w.Dir, Env: w.Env, Files: w.Files, Sys: &syscall.SysProcAttr{Setsid: w.Session, Setpgid: !w.Session}}
	return syscall.ForkExec(w.Path, w.Args, attr)
}

func (s *standIn) Reap(pid int, wait bool) (proc.Exit, bool) {
	options := unix.WNOHANG
	if wait {
		options = 0
	}
	for {
		var ws unix.WaitStatus
		switch got, err := unix.Wait4(pid, &ws, options, nil); {
		case err == unix.EINTR:
		case err != nil:
			return proc.Exit{}, true
		default:
			return s.WaitStatus(int(ws)), got == pid
		}
	}
}

func (s *standIn) WaitStatus(status int) proc.Exit {
	if ws := unix.WaitStatus(status); ws.Signaled() {
		return proc.Exit{Known: true, Signal: proc.Signal{Num: int(ws.Signal()), Name: unix.SignalName(ws.Signal())}}
	}
	return proc.Exit{Known: true, Code: unix.WaitStatus(status).ExitStatus()}
}

func (s *standIn) Listen(tell func(proc.Signal)) error {
	s.signal = make(chan os.Signal, 64)
	if signal.Notify(s.signal, unix.SIGUSR1, unix.SIGUSR2); s.all {
		signal.Notify(s.signal, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGCHLD, unix.SIGCONT)
	}
	go func() {
		for sig := range s.signal {
			n := sig.(syscall.Signal)
			tell(proc.Signal{Num: int(n), Name: unix.SignalName(n)})
		}
	}()
	return nil
}

func (s *standIn) StopSelf()                    {}
func (s *standIn) Input(int) (inputKind, error) { return waitable, nil }
func (s *standIn) Drain(int) bool               { return true }
