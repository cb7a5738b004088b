//go:build linux

package linux

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// hook is the command that asks a hung worker for his last words.
type hook struct {
	pid    int // 0: none runs
	handle *handle
}

// Hook starts it in a process group of its own. What it prints goes to our
// standard error.
func (h *Host) Hook(path string, args, env []string) error {
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	pid, fd, err := h.forkExec(path, args, &syscall.ProcAttr{Env: env, Files: []uintptr{uintptr(null), 2, 2},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	hd, err := h.Kernel.childHandle(pid, fd)
	if err != nil {
		return err
	}
	h.hook = hook{pid, hd}
	if h.heir = true; h.sentinel != nil && h.sole { // what the command leaves comes to us
		h.tree.Beside = os.Getpid()
	}
	if err := h.waitForChildren(); err != nil { // nobody would notice its end
		h.EndHook()
		return err
	}
	return nil
}

// EndHook ends it, with its group. Its end is told as ever.
func (h *Host) EndHook() {
	if h.hook.pid != 0 {
		h.hook.handle.SignalGroup(proc.KILL)
	}
}

// hookEnded: it was reaped. Nobody of its group outlives it.
func (h *Host) hookEnded(exit proc.Exit) {
	h.EndHook()
	h.hook.handle.Close()
	h.hook = hook{}
	var err error
	if status := exit.Status(); status != 0 {
		err = fmt.Errorf("the command ended with status %d", status)
	}
	h.events = append(h.events, watch.HookEnded{Err: err})
}

// Shock is watch.Host's.
func (h *Host) Shock(s proc.Signal) []stop.Sent { return h.tree.Shock(s) }
