//go:build linux

package linux

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
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
	ignore(unix.SIGHUP, unix.SIGPIPE) // until Listen
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(rumour), 0, 0, 0)
}

// heard reports whether we hear of a signal: of all but those that a program's own
// faults raise, and those of the Go runtime (URG, PROF and 33).
func heard(s syscall.Signal) bool {
	switch s {
	case unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSTKFLT,
		unix.SIGKILL, unix.SIGSTOP, unix.SIGURG, unix.SIGPROF, 33:
		return false
	case 32, 34: // of C libraries: there is none here, but package os/signal leaves them alone
		return handlerIsOurs
	}
	return s >= 1 && s <= 64
}

// deadly are those that end a program unless it hears of them.
func deadly(s syscall.Signal) bool {
	switch s {
	case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGABRT, unix.SIGSYS:
		return true
	}
	return false
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
	if h.child && !ownDoing(sig) {
		return watch.Forwarded
	}
	return watch.Ignored
}

// ownDoing reports whether the system may have sent a signal for what we
// ourselves did: written to a log that nobody reads, or beyond a limit of ours
// (getrlimit(2)). Nothing tells such a signal from somebody else's.
func ownDoing(sig syscall.Signal) bool {
	limited := func(what int) bool {
		var l unix.Rlimit
		return unix.Getrlimit(what, &l) != nil || l.Cur != unix.RLIM_INFINITY
	}
	switch sig {
	case unix.SIGPIPE:
		return true
	case unix.SIGXFSZ:
		return limited(unix.RLIMIT_FSIZE)
	case unix.SIGXCPU:
		return limited(unix.RLIMIT_CPU)
	}
	return false
}

// Suspend stops the worker, then ourselves until somebody continues us. The
// worker's group is an orphaned one, in which SIGTSTP stops nobody by default
// (setpgid(2)): so it gets SIGSTOP unless it handles the signal itself. Who was
// continued meanwhile, or has lost a parent, does not stop: nobody would wake him.
func (h *Host) Suspend(s proc.Signal) []stop.Sent {
	var sent []stop.Sent
	if !h.exited {
		if !h.catches(s) {
			s = signalOf(int(unix.SIGSTOP))
		}
		sent = h.tree.Forward(s)
	}
	pause(settle)
	if !h.bereft() && !continued() {
		unix.Kill(os.Getpid(), unix.SIGSTOP)
	}
	// SIGCONT, which ended that or prevented it, comes in as a signal and is forwarded.
	return sent
}

// settle is what a SIGCONT that comes with the stop signal, or with a parent's
// death that does, has time for: SIGSTOP discards it while it is pending (signal(7)).
const settle = 5 * time.Millisecond

// continued reports whether SIGCONT has come, delivered or pending.
func continued() bool {
	set := uint64(1) << (unix.SIGCONT - 1)
	var now unix.Timespec
	n, _, _ := unix.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
	if n == uintptr(unix.SIGCONT) {
		note(unix.SIGCONT)
	}
	return caught.Load()&bit(unix.SIGCONT) != 0
}

// bereft reports whether a parent has died, or the lifeline has ended. That is told
// by Wait as ever.
func (h *Host) bereft() bool {
	if h.lifelineToken != 0 {
		p := []unix.PollFd{{Fd: int32(h.lifeline), Events: unix.POLLRDHUP}}
		if n, _ := unix.Poll(p, 0); n > 0 && p[0].Revents != 0 {
			return true
		}
	}
	return slices.ContainsFunc(h.parents, func(p *parent) bool {
		info, err := p.h.Look()
		return p.dead || gone(info, err)
	})
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

// ignore lasts through execve(2).
func ignore(signals ...unix.Signal) {
	for _, s := range signals {
		setHandler(s, ignored)
	}
}

const (
	byDefault = 0 // SIG_DFL
	ignored   = 1 // SIG_IGN
)

func setHandler(n unix.Signal, handler uintptr) { setAction(n, sigaction{handler: handler}) }

func setAction(n unix.Signal, sa sigaction) {
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&sa)), 0, 8, 0, 0)
}
