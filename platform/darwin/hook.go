package darwin

import (
	"os"

	"leash/internal/system"
)

// StartHook starts a command in a process group of its own. What it prints goes to our
// standard error.
func (s *System) StartHook(c system.Command) (system.Handle, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	h, err := s.startChild(start{Path: c.Path, Args: c.Args, Env: c.Env, Files: []uintptr{null.Fd(), 2, 2}})
	if err != nil {
		return nil, err
	}
	return h, nil
}
