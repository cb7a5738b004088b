package darwin

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/platform/posix"
)

// processes is launcher.
type processes struct{}

// Start gives the child a clean start. The runtime resets in it what Listen has
// it handle, which is all that may have been ignored, and gives it the mask of
// the thread that forks.
func (processes) Start(s start) (int, error) {
	attr := &syscall.ProcAttr{Dir: s.Dir, Env: s.Env, Files: s.Files,
		Sys: &syscall.SysProcAttr{Setsid: s.Session, Setpgid: !s.Session}}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer setMask(setMask(0))
	if hasTerminal() {
		// The runtime resets in a child what it handles, and Reset leaves these ignored.
		signal.Notify(make(chan os.Signal, 1), terminals...)
		defer signal.Ignore(terminals...)
	}
	return syscall.ForkExec(s.Path, s.Args, attr)
}

func (processes) Reap(pid int, wait bool) (proc.Exit, bool) {
	options := unix.WNOHANG
	if wait {
		options = 0
	}
	for {
		var ws unix.WaitStatus
		switch got, err := unix.Wait4(pid, &ws, options, nil); {
		case err == unix.EINTR:
		case err != nil: // ECHILD: it was reaped
			return proc.Exit{}, true
		case got == pid:
			return posix.ExitOf(ws), true
		default:
			return proc.Exit{}, false
		}
	}
}
