//go:build linux

package linux

import (
	"bytes"
	"os"
	"os/signal"
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
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(rumour), 0, 0, 0)
}

// Listen has the signals to the watchdog come in by Wait. With forward they
// are meant for the worker, all but those that the system itself sends.
func (h *Host) Listen(forward bool) {
	c := make(chan os.Signal, 64)
	if !forward {
		signal.Notify(c, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGPIPE)
		if h.backend == "poll" {
			signal.Notify(c, rumour)
		}
	} else {
		signal.Notify(c) // all that can be caught
	}
	go func() {
		for s := range c {
			if s != unix.SIGPIPE && s != unix.SIGURG {
				h.loop.post(s)
			}
		}
	}()
}

func (h *Host) signalled(s os.Signal) {
	sig, ok := s.(syscall.Signal)
	if !ok {
		return
	}
	if sig == rumour {
		h.lookAtParents(h.how())
	}
	if sig == unix.SIGCHLD {
		h.workerEnded()
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
	if h.child {
		return watch.Forwarded
	}
	return watch.Ignored
}

// Suspend stops the worker, then ourselves until somebody continues us. The
// worker's group is an orphaned one, in which SIGTSTP stops nobody by default
// (setpgid(2)): so it gets SIGSTOP unless it handles the signal itself.
func (h *Host) Suspend(s proc.Signal) []stop.Sent {
	if !h.catches(s) {
		s = signalOf(int(unix.SIGSTOP))
	}
	sent := h.tree.Forward(s)
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

// unblockSignals clears the calling thread's mask. A new program inherits it,
// and so would the worker: whoever started us may have had signals blocked.
// (Ignored ones need no such care: Listen installs a handler for every signal,
// and what is handled is reset in a child.)
func unblockSignals() {
	var none uint64
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
}
