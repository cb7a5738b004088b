//go:build windows

package windows

import (
	"os"
	"slices"
	"strings"
	"syscall"

	win "golang.org/x/sys/windows"

	"leash/internal/system"
)

// StartHook starts a command in a job object of its own, which ends with its handle,
// and with us. Its arguments are joined as they are: cmd.exe does not read its command
// line as other programs do.
func (s *System) StartHook(c system.Command) (system.Handle, error) {
	j, err := newJob(true)
	if err != nil {
		return nil, err
	}
	h, err := s.startHook(j, c.Path, strings.Join(c.Args, " "), c.Env)
	if err != nil {
		j.close(false)
		return nil, err
	}
	h.job = j
	s.hooks = append(s.hooks, h)
	return h, nil
}

func (s *System) startHook(j *job, path, line string, env []string) (*handle, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	in, err := inheritable(syscall.Handle(null.Fd()), syscall.Stderr, syscall.Stderr)
	defer in.close()
	if err != nil {
		return nil, err
	}
	pi, err := createIn([]win.Handle{j.h}, path, line, "", env, in) // suspended
	if err != nil {
		return nil, err
	}
	defer win.CloseHandle(pi.Thread)
	h, err := s.created(j, pi)
	if err != nil {
		return nil, err // the job ends it
	}
	if _, err = win.ResumeThread(pi.Thread); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// dropHook ends what is left of a hook after its handle was closed.
func (s *System) dropHook(h *handle) {
	s.hooks = slices.DeleteFunc(s.hooks, func(other *handle) bool { return other == h })
	h.job.close(false)
	h.job = nil
}

// inHook reports whether a process is, or was, of a hook.
func (s *System) inHook(p win.Handle) bool {
	return slices.ContainsFunc(s.hooks, func(h *handle) bool { return h.job.has(p) })
}
