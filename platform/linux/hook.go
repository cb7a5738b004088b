//go:build linux

package linux

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/system"
)

// StartHook starts a command in a process group of its own. Its output goes to our standard
// error.
func (s *System) StartHook(c system.Command) (system.Handle, error) {
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(null)
	pid, fd, err := s.forkExec(c.Path, c.Args, &syscall.ProcAttr{Env: c.Env, Files: []uintptr{uintptr(null), 2, 2},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return nil, err
	}
	h, err := s.childHandle(pid, fd)
	if err != nil {
		return nil, err
	}
	s.child(h, nil)
	h.collect = func() { s.reap() }
	s.hooks = append(s.hooks, h)
	if err := s.waitForChildren(); err != nil { // its exit would not be noticed
		h.SignalGroup(proc.KILL)
		return nil, err
	}
	return h, nil
}

// endHooks kills the groups of hooks that are about to be reaped: older kernels cannot find
// the group of a process that was reaped (see handle.SignalGroup).
func (s *System) endHooks() {
	if s.groupFlag {
		return
	}
	for i := 0; i < len(s.hooks); i++ {
		h := s.hooks[i]
		if info, err := h.Info(); !errors.Is(err, proc.ErrGone) && (err != nil || !info.Dead()) {
			continue
		}
		h.SignalGroup(proc.KILL)
		s.hooks = append(s.hooks[:i], s.hooks[i+1:]...)
		i--
	}
}
