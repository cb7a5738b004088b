package watchsim

import (
	"leash/internal/limit"
	"leash/internal/proc"
	"leash/internal/stop"
)

// Applied: the system enforces no limits, and none are asked for.
func (c *containment) Applied() limit.Applied { return limit.Applied{} }

// Usage is not counted here.
func (c *containment) Usage() proc.Usage { return proc.Usage{} }

// Memory is the same for each process.
func (s *System) Memory(hs []stop.Handle, _ uint64) uint64 { return uint64(len(hs)) << 20 }
