//go:build linux

package linux

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/internal/wire"
	"leash/platform/posix"
)

// containment holds one worker's process tree by a subreaper (this process, and its sentinel)
// and, where one can be created, by a cgroup.
type containment struct {
	s       *System
	owner   any
	changed func()

	worker *handle
	child  bool // we started it
	cgroup *cgroup
	// sentinel is our connection to it; nil if there is none. lost: it was killed, and the
	// machine is to be told.
	sentinel *sentinelConn
	lost     bool
	heir     bool // we have descendants that are not below a sentinel
}

// Contain prepares to hold one worker's process tree.
func (s *System) Contain(o system.Options) system.Containment {
	c := &containment{s: s, owner: o.Owner, changed: o.Changed}
	if o.Shared {
		return s.share(c)
	}
	if o.SentinelPID != 0 {
		c.useSentinel(o.SentinelFD, o.SentinelPID) // otherwise Start starts another
	}
	return c
}

// Start starts the worker in a session of its own. The worker is killed when the thread that
// forked it ends (PR_SET_PDEATHSIG, prctl(2)). The Go runtime ends a thread only when a
// goroutine that is locked to it returns, and there is none.
func (c *containment) Start(cmd system.Command) (system.Handle, error) {
	if !c.s.drawn {
		// Children that we had before (of a shell that executed us) are bystanders, and their
		// orphans could not be told from the worker's.
		c.s.drawn = true
		c.s.sole = !c.s.hasOtherChildren(c.sentinelPID()) && unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil
	}
	c.needSentinel(&cmd)
	if c.cgroup == nil {
		c.cgroup = c.s.newCgroup()
	}
	h, err := c.start(&cmd)
	for tries := 0; err == errUnstarted; tries++ { // it was killed while no worker ran
		if tries == 0 {
			c.needSentinel(&cmd)
		}
		h, err = c.start(&cmd)
	}
	if err != nil && err != ErrSentinel && c.cgroup != nil {
		// Starting a process in a cgroup may fail in many ways, and the command may not exist:
		// without the cgroup we learn which it was.
		c.cgroup.remove()
		c.cgroup = nil
		h, err = c.start(&cmd)
	}
	if err != nil {
		return nil, err
	}
	h.worker, c.worker, c.child = true, h, true
	c.s.child(h, c.owner)
	h.onReaped = func() {
		c.sentinelDied() // only then is the worker our child
		c.tell()
	}
	h.collect = func() { c.reap() }
	if err := c.s.waitForChildren(); err != nil {
		c.Kill()
		return nil, err
	}
	return h, nil
}

// tell reports that the worker's exit status, or the sentinel's death, has become known.
func (c *containment) tell() {
	c.s.wake(system.Wake{Kind: system.Changed, Owner: c.owner})
}

// needSentinel starts a sentinel if one is wanted. Without one the watch goes on.
func (c *containment) needSentinel(cmd *system.Command) {
	if cmd.Sentinel && c.sentinel == nil {
		if conn, pid, err := StartSentinel(cmd.Keep); err == nil {
			c.useSentinel(conn, pid)
		}
	}
}

func (c *containment) sentinelPID() int {
	if c.sentinel == nil {
		return 0
	}
	return c.sentinel.pid
}

// start has the sentinel, if there is one, start the worker.
func (c *containment) start(cmd *system.Command) (*handle, error) {
	o := wire.Order{Path: cmd.Path, Args: cmd.Args, Last: cmd.Last}
	o.Env, o.Listens = cutListenPID(cmd.Env)
	if c.sentinel != nil {
		if c.cgroup != nil {
			o.Cgroup = c.cgroup.path
		}
		return c.startBySentinel(&o)
	}
	unignore()
	defer c.s.defy()
	var pid, fd int
	var err error
	inherited(cmd.Keep, func() { pid, fd, err = c.s.forkWorker(&o, c.cgroup) })
	if err != nil {
		return nil, err
	}
	return c.s.childHandle(pid, fd)
}

// forkWorker starts a worker as a child of this thread. fd is its pidfd, or -1.
func (k *Kernel) forkWorker(o *wire.Order, c *cgroup) (pid, fd int, err error) {
	fd = -1
	sys := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if k.PIDFDs {
		sys.PidFD = &fd
	}
	if c != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, c.fd
	}
	attr := &syscall.ProcAttr{Env: o.Env, Dir: o.Dir, Files: []uintptr{0, 1, 2}, Sys: sys}
	if o.Stdio {
		attr.Files = o.Files
	}
	if o.Listens {
		pid, err = forkGate(o, attr)
	} else {
		pid, err = forkUnmasked(o.Path, o.Args, attr)
	}
	if err != nil && fd >= 0 {
		unix.Close(fd)
		fd = -1
	}
	return pid, fd, err
}

// childHandle is the handle on a child that was just started.
func (k *Kernel) childHandle(pid, fd int) (*handle, error) {
	if k.PIDFDs && fd >= 0 {
		return k.wrap(pid, fd), nil
	}
	h, err := k.open(pid)
	if err != nil {
		unix.Kill(pid, unix.SIGKILL) // our own child, not reaped yet
	}
	return h, err
}

// Started lets the sentinel reap the worker once it has ended. Until then its PID cannot
// become another process's, so it can be inspected.
func (c *containment) Started() error {
	if c.sentinel != nil {
		c.sentinel.order(wire.Go, nil) // the sentinel's exit is noticed anyway
	}
	return nil
}

// Kill kills a worker of which nothing else is known.
func (c *containment) Kill() {
	c.worker.SignalGroup(proc.KILL)
	c.worker.Signal(proc.KILL)
	if c.cgroup != nil {
		c.cgroup.kill()
	}
}

// Adopt takes a worker that runs already.
func (c *containment) Adopt(h system.Handle) error {
	c.worker = h.(*handle)
	return nil
}

// AdoptGone takes a worker that has already been reaped.
func (c *containment) AdoptGone(pid int) (system.Handle, bool) {
	c.worker = &handle{k: c.s.Kernel, pid: pid, fd: -1, worker: true}
	return c.worker, true
}

// Hold is what holds the tree: the sentinel; without one, this process as its subreaper;
// otherwise the cgroup. It is empty for a worker that we did not start.
func (c *containment) Hold() (h stop.Hold) {
	if !c.child {
		return h
	}
	switch {
	case c.sentinel != nil:
		h.Parent, h.Empty = c.sentinel.pid, c.reap
		if c.heir && c.s.sole { // processes of the tree may be our children
			h.Beside = os.Getpid()
		}
	case c.s.sole:
		h.Parent, h.Empty = os.Getpid(), c.reap
	case c.cgroup != nil:
		h.Inside, h.Vacant = c.cgroup.pids, c.cgroup.vacant
	}
	if c.cgroup != nil {
		h.KillAll, h.Means = c.cgroup.kill, "cgroup"
	}
	return h
}

// Search returns a function that finds processes which are not descendants; nil below a
// subreaper, where all are.
func (c *containment) Search() func(*stop.Tree) ([]int, error) {
	if c.child && (c.sentinel != nil || c.s.sole) {
		return nil
	}
	return c.s.search
}

// Names are the mechanisms that hold the tree, strongest first.
func (c *containment) Names() (names []string) {
	if c.cgroup != nil {
		names = append(names, "cgroup")
	}
	if c.Hold().Parent != 0 {
		names = append(names, "subreaper")
	}
	if c.sentinel != nil {
		names = append(names, "sentinel")
	}
	return names
}

// Cgroup is the folder of the tree's cgroup.
func (c *containment) Cgroup() string {
	if c.cgroup == nil {
		return ""
	}
	return c.cgroup.path
}

// Forget drops the worker before the next one starts.
func (c *containment) Forget() {
	// A cgroup that was killed once kills whatever is started in it later (seen on Linux
	// 6.18).
	if c.cgroup != nil {
		c.cgroup.remove()
		c.cgroup = nil
	}
	c.worker, c.child = nil, false
}

// Close releases everything, and removes the cgroup if it is empty.
func (c *containment) Close(living int) {
	c.dismissSentinel(living)
	if c.cgroup != nil {
		c.cgroup.remove()
		c.cgroup = nil
	}
}

// HookStarted notes that orphans of a hook become our children, not the sentinel's.
func (c *containment) HookStarted() {
	c.heir = true
	c.changed()
}

// LostSentinel reports, once, that the sentinel was killed.
func (c *containment) LostSentinel() bool {
	lost := c.lost
	c.lost = false
	return lost
}

// reap collects every child that has ended: ours, and orphans that we adopted as their
// subreaper or as PID 1. It reports whether nothing is left of the worker's tree: the sentinel
// has no child, or without a sentinel we have none. Orphans of the tree would be such
// children.
func (c *containment) reap() (none bool) {
	none = c.s.reap()
	if c.sentinel == nil {
		return none
	}
	none, err := c.sentinel.none()
	if err != nil {
		c.sentinelDied()
		return c.s.reap() && c.s.sole
	}
	beside := c.heir && c.s.sole
	return none && (!beside || !c.s.hasOtherChildren(c.sentinelPID()))
}

// Holds reports whether a process is, or was when it was reaped, in a cgroup that only the
// worker's tree uses: the one that we made for it, or the worker's own if neither we nor one
// of the others are in it. For a process that was reaped this needs Linux 6.15.
func (c *containment) Holds(sh stop.Handle, others []stop.Handle) bool {
	h := sh.(*handle)
	id := cgroupID(h)
	if id == 0 || c.worker == nil {
		return false
	}
	if c.cgroup != nil {
		var st unix.Stat_t
		return unix.Fstat(c.cgroup.fd, &st) == nil && st.Ino == id
	}
	if cgroupID(c.worker) != id {
		return false
	}
	for _, other := range others {
		if o := cgroupID(other.(*handle)); o == 0 || o == id {
			return false
		}
	}
	own, err := c.s.open(os.Getpid())
	if err != nil {
		return false
	}
	defer own.Close()
	return cgroupID(own) != id
}

// cgroupID is the inode of a process's directory in the v2 hierarchy; 0 if the kernel does not
// report it (PIDFD_GET_INFO, Linux 6.13).
func cgroupID(h *handle) uint64 {
	if h.dir {
		return 0
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_CGROUPID | unix.PIDFD_INFO_EXIT}
	if unix.IoctlPidfdInfo(h.fd, &info) != nil || info.Mask&unix.PIDFD_INFO_CGROUPID == 0 {
		return 0
	}
	return info.Cgroupid
}

// Exit returns how a process ended, and whether it has.
func (h *handle) Exit() (exit proc.Exit, ended bool) {
	if h.child {
		if !h.reaped {
			h.collect()
		}
		return h.exit, h.reaped
	}
	if h.fd < 0 {
		return proc.Exit{}, true
	}
	if h.ended { // reported by the pidfd
		return h.exitInfo(), true
	}
	info, err := h.Info()
	if !errors.Is(err, proc.ErrGone) && (err != nil || !info.Dead()) {
		return proc.Exit{}, false
	}
	return h.exitInfo(), true
}

// exitInfo returns how a process ended that is no child of ours (Linux 6.15, and only after
// its parent has reaped it).
func (h *handle) exitInfo() proc.Exit {
	if h.dir {
		return proc.Exit{}
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if unix.IoctlPidfdInfo(h.fd, &info) != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return proc.Exit{}
	}
	return posix.ExitOf(unix.WaitStatus(info.Exit_code))
}
