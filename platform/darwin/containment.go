package darwin

import (
	"strings"

	"leash/internal/proc"
	"leash/internal/runid"
	"leash/internal/stop"
	"leash/internal/system"
)

// containment holds one worker's process tree. Nothing here holds it for certain (see
// the package comment), and only a sentinel ends it if this process is killed.
type containment struct {
	s     *System
	owner any

	worker          *handle
	runID, workerID string // labels of a worker that was started

	wanted    bool          // a sentinel is
	sentinel  *sentinelConn // nil: there is none
	sentinels int           // started so far
}

// Contain prepares to hold one worker's process tree. A sentinel is started with the
// worker, never before.
func (s *System) Contain(o system.Options) system.Containment {
	return &containment{s: s, owner: o.Owner}
}

// Start starts the worker in a session of its own, behind a gate where a sentinel can
// take it first.
func (c *containment) Start(cmd system.Command) (system.Handle, error) {
	c.wanted = cmd.Sentinel
	c.runID, c.workerID = runid.FromEnviron([]byte(strings.Join(cmd.Env, "\x00")))
	what := start{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, Files: filesOf(cmd.Keep), Session: true}
	if cmd.Stdio != nil {
		what.Files = cmd.Stdio
	}
	h, err := (*handle)(nil), errNoGate
	if c.needSentinel() == nil {
		if h, err = c.startGated(what); err == errNoGate {
			c.dismissSentinel(true)
		}
	}
	if err == errNoGate {
		h, err = c.s.startChild(what)
	}
	if err != nil {
		return nil, err
	}
	h.worker, c.worker = true, h
	return h, nil
}

// filesOf are standard input, output and error, and what is kept.
func filesOf(keep []int) []uintptr {
	files := []uintptr{0, 1, 2}
	for _, k := range keep {
		for len(files) <= k {
			files = append(files, ^uintptr(0))
		}
		files[k] = uintptr(k)
	}
	return files
}

// Started has nothing to do: the worker has begun.
func (c *containment) Started() error { return nil }

// Kill kills a worker of which nothing is known.
func (c *containment) Kill() {
	c.worker.SignalGroup(proc.KILL)
	c.worker.Signal(proc.KILL)
}

// Adopt takes a worker that is running already.
func (c *containment) Adopt(h system.Handle) error {
	c.worker = h.(*handle)
	return nil
}

// AdoptGone takes a worker that was reaped.
func (c *containment) AdoptGone(pid int) (system.Handle, bool) {
	c.worker = &handle{k: c.s.Kernel, pid: pid, closed: true, worker: true}
	return c.worker, true
}

// Hold is empty: the tree is only what is found.
func (c *containment) Hold() stop.Hold { return stop.Hold{} }

// Search finds what no walk reaches.
func (c *containment) Search() func(*stop.Tree) ([]int, error) {
	return func(t *stop.Tree) ([]int, error) {
		return c.s.search(t, func(_, _ *entry) bool { return true })
	}
}

// Names are the means, strongest first.
func (c *containment) Names() (names []string) {
	if c.sentinel != nil {
		names = append(names, "sentinel")
	}
	if c.worker != nil && c.worker.session == c.worker.pid {
		names = append(names, "session")
	}
	return names
}

// Cgroup is empty: there are none.
func (c *containment) Cgroup() string { return "" }

// Holds is always false: nothing certainly belongs to a tree.
func (c *containment) Holds(stop.Handle, []stop.Handle) bool { return false }

// LostSentinel is always false: another takes the place of one that was killed.
func (c *containment) LostSentinel() bool { return false }

// HookStarted has nothing to do: what the hook leaves becomes launchd's child.
func (c *containment) HookStarted() {}

// Forget lets go of the worker before the next one.
func (c *containment) Forget() {
	if c.worker != nil {
		c.worker.Close()
	}
	c.worker = nil
}

// Close lets go of everything. While anything of the tree is left, the sentinel goes on
// to kill that.
func (c *containment) Close(living int) {
	c.dismissSentinel(living == 0)
	c.Forget()
}
