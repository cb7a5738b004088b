//go:build linux

package linux

import (
	"bytes"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Rumour is the signal that the kernel sends when the thread that started us
// ends. It proves nothing. SIGCONT disturbs nobody who runs, and it wakes a
// watchdog that somebody stopped just when the parent may have died.
const rumour = unix.SIGCONT

// HearRumours sets PR_SET_PDEATHSIG on the calling thread, which must be one
// that lives as long as the process (the main thread).
func HearRumours() error {
	// Until Listen these would be deadly. Ignoring lasts through execve(2).
	for _, s := range []unix.Signal{unix.SIGHUP, unix.SIGPIPE} {
		setHandler(s, ignored)
	}
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(rumour), 0, 0, 0)
}

// deadly are the signals that the Go runtime lets nobody block, because they
// kill or crash a program. They come in through package os/signal.
var deadly = []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGABRT, unix.SIGSYS}

// blocked are the signals that come in through a signalfd: all others but those
// that a program's own faults raise, those of the Go runtime (URG, PROF) and of
// C libraries (32 to 34), and SIGCHLD, which the runtime unblocks. Package os/signal would do for these
// too, but it takes two changes of thread to enable each.
func blocked() (set unix.Sigset_t) {
	for n := 1; n <= 64; n++ {
		switch s := syscall.Signal(n); s {
		case unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSTKFLT,
			unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGURG, unix.SIGPROF, 32, 33, 34:
		default:
			if !slices.Contains(deadly, os.Signal(s)) {
				addSignal(&set, n)
			}
		}
	}
	return set
}

func addSignal(set *unix.Sigset_t, n int) {
	const bits = 8 * unsafe.Sizeof(set.Val[0])
	set.Val[uintptr(n-1)/bits] |= 1 << (uintptr(n-1) % bits)
}

// Listen has the signals to the watchdog come in by Wait. Those of blocked are
// blocked in every thread: Replace did it before this life began, because the
// runtime gives its threads the mask that it found at start. With forward they
// are meant for the worker.
func (h *Host) Listen(forward bool) error {
	if err := h.listenDeadly(); err != nil {
		return err
	}
	set := blocked()
	if !forward {
		set = unix.Sigset_t{}
		addSignal(&set, int(rumour))
	}
	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("signalfd", err)
	}
	h.signals, h.sigToken = fd, h.loop.token()
	return h.loop.add(fd, h.sigToken)
}

// listenDeadly passes them on, a byte each, through a pipe.
func (h *Host) listenDeadly() error {
	if err := unix.Pipe2(h.deadly[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	h.deadlyToken = h.loop.token()
	c := make(chan os.Signal, 8)
	signal.Notify(c, deadly...)
	go func() {
		for s := range c {
			unix.Write(h.deadly[1], []byte{byte(s.(syscall.Signal))})
		}
	}()
	return h.loop.add(h.deadly[0], h.deadlyToken)
}

func (h *Host) readDeadly() {
	var b [8]byte
	n, _ := unix.Read(h.deadly[0], b[:])
	for _, s := range b[:max(n, 0)] {
		h.signalled(syscall.Signal(s))
	}
}

func (h *Host) readSignals() {
	var info unix.SignalfdSiginfo
	b := (*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))[:]
	for {
		if n, err := unix.Read(h.signals, b); err != nil || n != len(b) {
			return
		}
		h.signalled(syscall.Signal(info.Signo))
	}
}

func (h *Host) signalled(sig syscall.Signal) {
	if sig == unix.SIGCONT && h.notifier != nil { // told first: what comes with it waited for us
		h.events = slices.Insert(h.events, 0, watch.Event(watch.Resumed{}))
	}
	// The ending sends SIGCONT itself: what only tells of it is not passed on.
	if sig == rumour && h.lookAtParents(h.how()) {
		return
	}
	if role := h.role(sig); role != watch.Ignored {
		h.events = append(h.events, watch.Signalled{Signal: signalOf(int(sig)), Role: role})
	}
}

// how names our way of knowing that a parent has died.
func (h *Host) how() string {
	if h.backend == "poll" {
		return "poll"
	}
	return "pidfd"
}

func (h *Host) role(sig syscall.Signal) watch.Role {
	switch sig {
	case unix.SIGTERM, unix.SIGINT:
		return watch.Ends
	case unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		if h.child {
			return watch.Suspends
		}
	case unix.SIGQUIT:
		if !h.child {
			return watch.Ends
		}
	}
	if h.child && sig != unix.SIGPIPE { // which our own log may have raised
		return watch.Forwarded
	}
	return watch.Ignored
}

// Suspend stops the worker, then ourselves until somebody continues us. The
// worker's group is an orphaned one, in which SIGTSTP stops nobody by default
// (setpgid(2)): so it gets SIGSTOP unless it handles the signal itself.
func (h *Host) Suspend(s proc.Signal) []stop.Sent {
	var sent []stop.Sent
	if !h.exited {
		if !h.catches(s) {
			s = signalOf(int(unix.SIGSTOP))
		}
		sent = h.tree.Forward(s)
	}
	unix.Kill(os.Getpid(), unix.SIGSTOP)
	// SIGCONT, which ended that, comes in as a signal and is forwarded.
	return sent
}

// catches reads the mask of caught signals (SigCgt, proc_pid_status(5)).
func (h *Host) catches(s proc.Signal) bool {
	b, err := h.Kernel.readFile(h.worker.at(), h.worker.path("status"))
	if err != nil {
		return false
	}
	_, line, _ := bytes.Cut(b, []byte("\nSigCgt:"))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	mask, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	return err == nil && mask&(1<<(s.Num-1)) != 0
}

// signalOf names a signal.
func signalOf(n int) proc.Signal {
	name := unix.SignalName(syscall.Signal(n))
	if name == "" {
		name = "SIG" + itoa(n)
	}
	return proc.Signal{Num: n, Name: name}
}

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return signalOf(n), n >= 1 && n <= 64
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	n := unix.SignalNum(name)
	return proc.Signal{Num: int(n), Name: name}, n != 0
}

// setMask sets the calling thread's mask, and returns what it was.
func setMask(set unix.Sigset_t) (old unix.Sigset_t) {
	unix.PthreadSigmask(unix.SIG_SETMASK, &set, &old)
	return old
}

// sigaction is the kernel's (rt_sigaction(2)).
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// unignore resets every signal that is ignored, because we were started so:
// the runtime resets in a child only what it handles itself.
func unignore() {
	for n := unix.Signal(1); n <= 64; n++ {
		var sa sigaction
		_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), 0, uintptr(unsafe.Pointer(&sa)), 8, 0, 0)
		if e == 0 && sa.handler == ignored {
			setHandler(n, byDefault)
		}
	}
}

const (
	byDefault = 0 // SIG_DFL
	ignored   = 1 // SIG_IGN
)

func setHandler(n unix.Signal, handler uintptr) {
	sa := sigaction{handler: handler}
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&sa)), 0, 8, 0, 0)
}
