package darwin

import (
	"leash/internal/limit"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// limit refuses limits: macOS enforces none on a process tree (setrlimit(2) is for each
// process alone).
func (c *containment) limit(l limit.Limits) error {
	names := l.Names()
	if len(names) > 0 && !l.BestEffort {
		return &limit.Refused{Names: names, Why: "macOS enforces no limits on a process tree"}
	}
	c.applied = limit.Applied{Missing: names}
	return nil
}

// Applied says which limits of the worker are enforced.
func (c *containment) Applied() limit.Applied { return c.applied }

// Usage is what the worker used. It is not reaped for that: while it is a zombie its number is
// that of its group, which may have other processes.
func (c *containment) Usage() proc.Usage {
	if c.worker == nil {
		return proc.Usage{}
	}
	used := c.s.sys.Usage(c.worker.pid)
	if _, err := c.worker.entry(); err != nil {
		return proc.Usage{} // it may be another process's
	}
	return used
}

var _ system.Containment = (*containment)(nil)

// Memory adds up the resident sets.
func (s *System) Memory(hs []stop.Handle, _ uint64) (sum uint64) {
	for _, sh := range hs {
		h := sh.(*handle)
		n := s.sys.Resident(h.pid)
		if _, err := h.entry(); err == nil { // else it may be another process's
			sum += n
		}
	}
	return sum
}
