//go:build linux

package linux

import (
	"os"
	"os/signal"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/system"
	"leash/platform/posix"
)

// parentHint is the signal that the kernel sends when the thread that started us ends. It
// proves nothing. SIGCONT does not disturb a process that runs, and it continues a watchdog
// that is stopped just when its parent may have exited.
const parentHint = unix.SIGCONT

// SetParentDeathSignal sets PR_SET_PDEATHSIG on the calling thread, which must be one
// that lives as long as the process (the main thread).
func SetParentDeathSignal() error {
	ignore(unix.SIGHUP, unix.SIGPIPE) // until Listen is called
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(parentHint), 0, 0, 0)
}

// heard reports whether we catch a signal: all but those that a program's own faults raise,
// those of the Go runtime (URG, PROF, 33), and those that package os/signal does not handle.
func heard(s syscall.Signal) bool {
	switch s {
	case unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSTKFLT,
		unix.SIGKILL, unix.SIGSTOP, unix.SIGURG, unix.SIGPROF, 32, 33, 34:
		return false
	}
	return s >= 1 && s <= 64
}

// catchAll catches all signals that heard names but those held back; without forward only those that the runtime
// would not just drop (its sighandler), because each caught signal costs signal.Notify two
// switches of threads.
func catchAll(forward bool, held signalSet) {
	var all []syscall.Signal
	for s := syscall.Signal(1); s <= 64; s++ {
		if heard(s) && !held.has(s) && (forward || deadly(s) || telling(s)) {
			all = append(all, s)
		}
	}
	catch(all...)
}

// telling names the signals that report something, or stop a program unless it catches them.
func telling(s syscall.Signal) bool {
	switch s {
	case unix.SIGCHLD, unix.SIGCONT, unix.SIGPIPE, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return true
	}
	return false
}

// uncatchable are signals that C libraries use and the Go runtime does not touch
// (sigtab_linux_generic.go). Nothing here raises them, and they would end this process.
var uncatchable = []syscall.Signal{32, 34}

// deadly names the signals that end a program unless it catches them.
func deadly(s syscall.Signal) bool {
	switch s {
	case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGABRT, unix.SIGSYS:
		return true
	}
	return false
}

// signalled reports a signal, unless the system may have sent it because of our own actions.
func (s *System) signalled(sig syscall.Signal) {
	if !ownDoing(sig) {
		s.wake(system.Wake{Kind: system.Signalled, Signal: posix.SignalOf(int(sig))})
	}
}

// ownDoing reports whether the kernel may have sent a signal because of our own actions: a
// write to a log without a reader, or beyond a resource limit of ours (getrlimit(2)). Such a
// signal cannot be told from one that another process sent.
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

// Suspend stops this process until it is continued. It does not stop if it was continued
// meanwhile, or if unless returns true: nothing would continue it.
func (s *System) Suspend(unless func() bool) {
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, unix.SIGCONT)
	pause(settle)
	spoken := unless()
	if !continued(resumed) && !spoken {
		unix.Kill(os.Getpid(), unix.SIGSTOP)
	}
}

// settle is how long Suspend waits for a SIGCONT that comes with the stop signal, or because a
// parent exits with it: SIGSTOP discards a pending SIGCONT (signal(7)).
const settle = 5 * time.Millisecond

// continued reports whether SIGCONT has come: it is pending, on its way to the channel, for
// which signal.Stop waits, or came before the channel existed.
func continued(resumed chan os.Signal) bool {
	set := uint64(1) << (unix.SIGCONT - 1)
	var now unix.Timespec
	n, _, _ := unix.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
	if n == uintptr(unix.SIGCONT) {
		note(unix.SIGCONT)
	}
	signal.Stop(resumed)
	return len(resumed) > 0 || len(channels[unix.SIGCONT]) > 0 || caught.Load()&bit(unix.SIGCONT) != 0
}

// Catches reports whether the process has a handler for a signal.
func (h *handle) Catches(s proc.Signal) bool {
	st, err := h.k.readStatus(h.at(), h.path("status"))
	return err == nil && st.Caught&(1<<(s.Num-1)) != 0
}

// sigaction is the kernel's (rt_sigaction(2)).
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// unignore resets every signal that is ignored because we were started so: in a child the
// runtime resets only what it handles itself.
func unignore() {
	for n := unix.Signal(1); n <= 64; n++ {
		var sa sigaction
		_, _, e := unix.Syscall6(unix.SYS_RT_SIGACTION, uintptr(n), 0, uintptr(unsafe.Pointer(&sa)), 8, 0, 0)
		if e == 0 && sa.handler == ignored {
			setHandler(n, byDefault)
		}
	}
}

// ignore ignores signals, which lasts through execve(2). It uses signal.Ignore, or a later
// Notify would leave the signal ignored; signals that the runtime does not touch are set by
// rt_sigaction(2).
func ignore(signals ...syscall.Signal) {
	for _, s := range signals {
		signal.Ignore(s)
		setHandler(s, ignored)
	}
}

const (
	byDefault = 0 // SIG_DFL
	ignored   = 1 // SIG_IGN
)

func setHandler(n unix.Signal, handler uintptr) {
	sa := sigaction{handler: handler}
	unix.Syscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&sa)), 0, 8, 0, 0)
}
