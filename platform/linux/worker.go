//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
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

// Start starts the worker in a session of its own. Its death is bound to the
// thread that forks it (PR_SET_PDEATHSIG, prctl(2)). The Go runtime ends a
// thread only when a goroutine ends that was locked to it, and there is none.
func (h *Host) Start(path string, args, env []string, keep []int) (proc.Info, error) {
	if h.worker != nil { // and what was of its tree is ended
		h.forgetWorker()
	} else {
		// Children that we had before (a shell that started some and became us)
		// are bystanders, and their orphans could not be told from the worker's.
		before, err := h.Kernel.Children(os.Getpid(), nil)
		h.sole = err == nil && len(before) == 0 &&
			unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil
	}
	if h.cgroup == nil {
		h.cgroup = h.Kernel.newCgroup()
	}
	pid, fd, err := h.fork(path, args, env, keep)
	if err != nil && h.cgroup != nil {
		// A cgroup may refuse us in many ways, and the command may not exist:
		// without the cgroup we learn which it was.
		h.cgroup.remove()
		h.cgroup = nil
		pid, fd, err = h.fork(path, args, env, keep)
	}
	if err != nil {
		return proc.Info{}, err
	}
	h.child, h.childID = true, pid
	h.exited, h.told = false, false
	if h.worker, err = h.opened(pid, fd); err != nil {
		return proc.Info{}, err
	}
	info, err := h.hold()
	if err != nil { // or it would live on, beside the next one
		unix.Kill(-pid, unix.SIGKILL) // our own child, not reaped yet: it leads this group
		if h.cgroup != nil {
			h.cgroup.kill()
		}
	}
	return info, err
}

// hold has us know the tree of the worker that we have just started.
func (h *Host) hold() (proc.Info, error) {
	h.worker.worker = true
	h.tree.Root = h.worker
	if h.sole {
		h.tree.Parent, h.tree.Empty = os.Getpid(), h.noChildren
	} else {
		h.tree.Search = h.searchAll
		if h.cgroup != nil {
			h.tree.Inside = h.cgroup.pids
		}
	}
	if h.cgroup != nil {
		h.tree.KillAll = h.cgroup.kill
	}
	if err := h.waitForChildren(); err != nil {
		return proc.Info{}, err
	}
	return h.tree.Adopt()
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

func (h *Host) fork(path string, args, env []string, keep []int) (pid, fd int, err error) {
	files := []uintptr{0, 1, 2}
	for _, k := range keep {
		for len(files) <= k {
			files = append(files, ^uintptr(0))
		}
		files[k] = uintptr(k)
	}
	sys := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if h.cgroup != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, h.cgroup.fd
	}
	return h.forkExec(path, args, &syscall.ProcAttr{Env: env, Files: files, Sys: sys})
}

// forkExec gives the child a clean start: nothing ignored, and nothing blocked,
// because Replace had this life begin so. fd is its pidfd, or -1.
func (h *Host) forkExec(path string, args []string, attr *syscall.ProcAttr) (pid, fd int, err error) {
	fd = -1
	if h.Kernel.PIDFDs {
		attr.Sys.PidFD = &fd
	}
	unignore()
	if !attr.Sys.Setsid { // a hook: it writes where we do, from a group of its own
		h.defy()
	}
	defer h.defy()
	pid, err = syscall.ForkExec(path, args, attr)
	return pid, fd, err
}

// opened is the handle on a child that we have just started.
func (h *Host) opened(pid, fd int) (*handle, error) {
	if h.Kernel.PIDFDs && fd >= 0 {
		return h.Kernel.wrap(pid, fd), nil
	}
	hd, err := h.Kernel.open(pid)
	if err != nil {
		unix.Kill(pid, unix.SIGKILL) // our own child, not reaped yet
	}
	return hd, err
}

// reap collects every child that has ended, ours and those that came to us as
// their subreaper, or as PID 1. It reports whether none is left at all.
func (h *Host) reap() (none bool) {
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
		case pid == h.childID && !h.exited:
			h.exited, h.exit = true, exitOf(ws)
		case pid == h.hook.pid:
			h.hookEnded(exitOf(ws))
		}
	}
}

// noChildren proves that nothing is left of the tree: whoever lost his parent
// would be our child.
func (h *Host) noChildren() bool { return h.reap() }

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
