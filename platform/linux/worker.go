//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/runid"
	"leash/internal/stop"
)

// Adopt takes a running worker, or one that has ended and was not reaped: it holds
// the numbers of its group and session still. proc.ErrGone if there is none.
func (h *Host) Adopt(pid int) (proc.Adopted, error) {
	var a proc.Adopted
	hd, err := h.Kernel.open(pid)
	if err != nil {
		return a, err
	}
	hd.worker = true
	h.worker, h.tree.Root = hd, hd
	if a.Info, err = h.tree.Adopt(); err != nil {
		return a, err
	}
	if err := hd.Signal(proc.Signal{}); errors.Is(err, proc.ErrDenied) {
		return a, fmt.Errorf("process %d belongs to another user (%w): run the watchdog as that user or as root", pid, err)
	}
	if h.exited = a.Info.Dead(); !h.exited {
		hd.settled()
		a.RunID, a.WorkerID = h.Labels()
	}
	hd.Notify()
	h.tree.Survey(false)
	h.tree.Search = h.searchAll
	return a, nil
}

// AdoptGone takes a worker of which only its labels are left.
func (h *Host) AdoptGone(pid int) bool {
	h.worker = &handle{k: h.Kernel, pid: pid, fd: -1, worker: true}
	h.tree.AdoptGone(h.worker, pid, uint32(os.Geteuid()))
	h.tree.Search = h.searchAll
	h.exited = true
	return true
}

// Labels are what the worker's arguments and environment say now; empty if they
// say nothing or cannot be read.
func (h *Host) Labels() (run, worker string) {
	run, worker = h.worker.Labels()
	if id := runid.FromArgs(h.worker.args()); id != "" {
		run = id
	}
	return run, worker
}

// Label sets the labels by which the worker's strays are known.
func (h *Host) Label(run, worker string) { h.tree.RunID, h.tree.WorkerID = run, worker }

// Containment says what holds the tree together, strongest first.
func (h *Host) Containment() string {
	var parts []string
	if h.cgroup != nil {
		parts = append(parts, "cgroup")
	}
	if h.tree.Parent != 0 {
		parts = append(parts, "subreaper")
	}
	if h.sentinel != nil {
		parts = append(parts, "sentinel")
	}
	if h.tree.Leads() {
		parts = append(parts, "group")
	} else {
		parts = append(parts, "process")
	}
	parts = append(parts, "descendants")
	if h.tree.RunID != "" && h.tree.WorkerID != "" && h.tree.Search != nil {
		parts = append(parts, "environment")
	}
	return strings.Join(parts, ",")
}

// Leads reports whether the worker leads its process group.
func (h *Host) Leads() bool { return h.tree.Leads() }

// Command is a worker to start.
type Command struct {
	Path      string
	Args, Env []string
	Keep      []int // descriptors above 2 that it inherits
	// Sentinel: a second process of ours is to be the worker's parent.
	Sentinel bool
	// Last: no other worker will be started.
	Last bool
}

// Start starts the worker in a session of its own. Its death is bound to the
// thread that forks it (PR_SET_PDEATHSIG, prctl(2)). The Go runtime ends a
// thread only when a goroutine ends that was locked to it, and there is none.
func (h *Host) Start(c Command) (proc.Info, error) {
	h.childID = 0
	if h.worker != nil { // and what was of its tree is ended
		h.forgetWorker()
	} else {
		// Children that we had before (a shell that started some and became us)
		// are bystanders, and their orphans could not be told from the worker's.
		h.sole = !h.hasOtherChildren() && unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil
	}
	h.needSentinel(&c)
	if h.cgroup == nil {
		h.cgroup = h.Kernel.newCgroup()
	}
	hd, err := h.startWorker(&c)
	for tries := 0; err == errUnstarted; tries++ { // it was killed between two workers
		if tries == 0 {
			h.needSentinel(&c)
		}
		hd, err = h.startWorker(&c)
	}
	if err != nil && err != ErrSentinel && h.cgroup != nil {
		// A cgroup may refuse us in many ways, and the command may not exist:
		// without the cgroup we learn which it was.
		h.cgroup.remove()
		h.cgroup = nil
		hd, err = h.startWorker(&c)
	}
	if err != nil {
		return proc.Info{}, err
	}
	h.worker = hd
	h.childID, h.exited, h.told = hd.pid, false, false
	h.child = true
	info, err := h.hold()
	h.goOn()
	if err != nil { // or it would live on, beside the next one
		h.worker.SignalGroup(proc.KILL)
		h.worker.Signal(proc.KILL)
		if h.cgroup != nil {
			h.cgroup.kill()
		}
	}
	return info, err
}

// needSentinel starts one if there is to be one. Without one the watch goes on.
func (h *Host) needSentinel(c *Command) {
	if c.Sentinel && h.sentinel == nil {
		if conn, pid, err := StartSentinel(c.Keep); err == nil {
			h.UseSentinel(conn, pid)
		}
	}
}

// hasOtherChildren reports whether we have children besides the sentinel, or may have.
func (h *Host) hasOtherChildren() bool {
	all, err := h.Kernel.Children(os.Getpid(), nil)
	return err != nil || slices.ContainsFunc(all, func(pid int) bool {
		return h.sentinel == nil || pid != h.sentinel.pid
	})
}

// startWorker has the sentinel start it, if there is one.
func (h *Host) startWorker(c *Command) (*handle, error) {
	o := order{Path: c.Path, Args: c.Args, Last: c.Last}
	o.Env, o.Listens = cutListenPID(c.Env)
	if h.sentinel != nil {
		if h.cgroup != nil {
			o.Cgroup = h.cgroup.path
		}
		return h.startBySentinel(&o)
	}
	unignore()
	defer h.defy()
	var pid, fd int
	var err error
	inherited(c.Keep, func() { pid, fd, err = h.Kernel.forkWorker(&o, h.cgroup) })
	if err != nil {
		return nil, err
	}
	return h.Kernel.childHandle(pid, fd)
}

// forkWorker starts a worker as a child of this thread. fd is its pidfd, or -1.
func (k *Kernel) forkWorker(o *order, c *cgroup) (pid, fd int, err error) {
	fd = -1
	sys := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if k.PIDFDs {
		sys.PidFD = &fd
	}
	if c != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, c.fd
	}
	attr := &syscall.ProcAttr{Env: o.Env, Files: []uintptr{0, 1, 2}, Sys: sys}
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

// hold has us know the tree of the worker that was just started.
func (h *Host) hold() (proc.Info, error) {
	h.worker.worker = true
	h.tree.Root = h.worker
	h.contain()
	if err := h.waitForChildren(); err != nil {
		return proc.Info{}, err
	}
	if h.sentinel != nil { // which may be stopped, and tell nothing
		h.worker.Notify()
	}
	return h.tree.Adopt()
}

// contain says by what the tree is held: by the sentinel; if there is none, by
// this process as its subreaper; or else by what can be found.
func (h *Host) contain() {
	t := &h.tree
	t.Parent, t.Beside, t.Empty, t.Search, t.Inside, t.Vacant, t.KillAll = 0, 0, nil, nil, nil, nil, nil
	switch {
	case h.sentinel != nil:
		t.Parent, t.Empty = h.sentinel.pid, h.reap
		if h.heir && h.sole { // a watchdog below it may have stayed
			t.Beside = os.Getpid()
		}
	case h.sole:
		t.Parent, t.Empty = os.Getpid(), h.reap
	default:
		t.Search = h.searchAll
		if h.cgroup != nil {
			t.Inside, t.Vacant = h.cgroup.pids, h.cgroup.vacant
		}
	}
	if h.cgroup != nil {
		t.KillAll = h.cgroup.kill
	}
}

// forgetWorker lets go of the worker before this one.
func (h *Host) forgetWorker() {
	h.tree.Close()
	h.worker.Close()
	h.tree = stop.Tree{Kernel: h.tree.Kernel, Never: h.tree.Never, Employers: h.tree.Employers,
		RunID: h.tree.RunID, WorkerID: h.tree.WorkerID}
	// A cgroup that was killed once kills whoever is started into it later
	// (seen on Linux 6.18).
	if h.cgroup != nil {
		h.cgroup.remove()
		h.cgroup = nil
	}
	h.exited, h.told, h.ending = true, true, false // until there is another
	h.dropBeats()
}

// forkExec gives a child a clean start: nothing ignored, and nothing blocked. fd is
// its pidfd, or -1.
func (h *Host) forkExec(path string, args []string, attr *syscall.ProcAttr) (pid, fd int, err error) {
	fd = -1
	if h.Kernel.PIDFDs {
		attr.Sys.PidFD = &fd
	}
	unignore()
	h.defy() // it writes where we do, from a group of its own
	pid, err = forkUnmasked(path, args, attr)
	return pid, fd, err
}

// childHandle is the handle on a child that was just started.
func (k *Kernel) childHandle(pid, fd int) (*handle, error) {
	if k.PIDFDs && fd >= 0 {
		return k.wrap(pid, fd), nil
	}
	hd, err := k.open(pid)
	if err != nil {
		unix.Kill(pid, unix.SIGKILL) // our own child, not reaped yet
	}
	return hd, err
}

// reap collects every child that has ended: ours, and those that came to us as their
// subreaper or as PID 1. It reports whether nothing is left of the worker's tree: no
// child of the sentinel, or of ours where there is none. Whatever lost its parent would
// be one.
func (h *Host) reap() (none bool) {
	none = h.reapOwn()
	if h.sentinel == nil {
		return none
	}
	none, err := h.sentinel.none()
	if err != nil {
		h.sentinelDied()
		return h.reapOwn() && h.sole
	}
	return none && (h.tree.Beside == 0 || !h.hasOtherChildren())
}

// reapOwn reports whether we have no child at all.
func (h *Host) reapOwn() (none bool) {
	for {
		// Once it was reaped, an older kernel does not find its group any more.
		if h.hook.pid != 0 && !h.Kernel.groupFlag {
			if info, err := h.hook.handle.Look(); gone(info, err) {
				h.EndHook()
			}
		}
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return err == unix.ECHILD
		}
		switch {
		case h.sentinel != nil && pid == h.sentinel.pid:
			h.sentinelDied()
		case pid == h.childID && !h.exited:
			h.sentinelDied() // or the worker would not be ours
			h.exited, h.exit = true, exitOf(ws)
		case pid == h.hook.pid:
			h.hookEnded(exitOf(ws))
		}
	}
}

func exitOf(ws unix.WaitStatus) proc.Exit {
	if ws.Signaled() {
		return proc.Exit{Known: true, Signal: signalOf(int(ws.Signal()))}
	}
	return proc.Exit{Known: true, Code: ws.ExitStatus()}
}

// exitInfo asks how a process ended that is no child of ours (Linux 6.15, and
// only once its parent has reaped it).
func (h *handle) exitInfo() proc.Exit {
	if h.dir {
		return proc.Exit{}
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if unix.IoctlPidfdInfo(h.fd, &info) != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return proc.Exit{}
	}
	return exitOf(unix.WaitStatus(info.Exit_code))
}

var _ stop.Kernel = (*Kernel)(nil)
