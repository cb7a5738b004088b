package darwin

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"leash/internal/proc"
	"leash/internal/runid"
	"leash/internal/stop"
	"leash/watch"
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
	if h.lookAtWorker(); !h.exited {
		a.RunID, a.WorkerID = h.Labels()
	}
	hd.Notify()
	h.tree.Survey(false)
	h.tree.Search = h.strays
	return a, nil
}

// AdoptGone takes a worker of which only its labels are left.
func (h *Host) AdoptGone(pid int) bool {
	h.worker = &handle{k: h.Kernel, pid: pid, closed: true, worker: true}
	h.tree.AdoptGone(h.worker, pid, uint32(os.Geteuid()))
	h.tree.Search = h.strays
	h.exited = true
	return true
}

// Labels are what the worker's arguments and environment say now; empty if they
// say nothing or cannot be read.
func (h *Host) Labels() (run, worker string) {
	p, ok := h.worker.args()
	if !ok {
		return "", ""
	}
	run, worker = runid.FromEnviron(p.Env)
	if id := runid.FromArgs(p.Args); id != "" {
		run = id
	}
	return run, worker
}

// Label sets the labels by which the worker's strays are known.
func (h *Host) Label(run, worker string) { h.tree.RunID, h.tree.WorkerID = run, worker }

// Containment says what holds the tree together. Nothing here holds it for
// certain (see the package comment), and only a sentinel ends it when we are
// killed.
func (h *Host) Containment() string {
	parts := []string{"process"}
	if h.tree.Leads() {
		parts[0] = "group"
	}
	if root := h.tree.Worker(); root.SID == root.PID {
		parts = append(parts, "session")
	}
	parts = append(parts, "descendants")
	if h.sentry != nil {
		parts = append(parts, "sentinel")
	}
	if h.tree.RunID != "" && h.tree.WorkerID != "" && h.tree.Search != nil {
		parts = append(parts, "environment")
	}
	return strings.Join(parts, ",")
}

// Leads reports whether the worker leads its process group.
func (h *Host) Leads() bool { return h.tree.Leads() }

// Start starts the worker in a session of its own: the first, or one after the
// last was ended.
func (h *Host) Start(path string, args, env []string, keep []int) (proc.Info, error) {
	if h.worker != nil {
		h.forgetWorker()
	}
	hd, err := h.fork(start{Path: path, Args: args, Env: env, Files: filesOf(keep), Session: true})
	if err != nil {
		return proc.Info{}, err
	}
	h.exited, h.told, h.reaped, h.exit = false, false, false, proc.Exit{}
	h.child = true
	hd.worker = true
	h.worker, h.tree.Root = hd, hd
	h.tree.Search = h.strays
	info, err := h.tree.Adopt()
	if err == nil {
		hd.Notify() // if it has ended by now, the first Wait tells
	}
	return info, err
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

// opened is the handle on a child that we have just started: until we reap it,
// it keeps its number.
func (h *Host) opened(pid int) (*handle, error) {
	hd, err := h.Kernel.open(pid)
	if err != nil {
		h.Kernel.sys.Kill(pid, proc.KILL.Num)
		h.launcher.Reap(pid, true)
	}
	return hd, err
}

// forgetWorker lets go of the worker before this one.
func (h *Host) forgetWorker() {
	h.tree.Close()
	h.reapWorker()
	h.worker.Close()
	h.worker = nil
	h.tree = stop.Tree{Kernel: h.tree.Kernel, Never: h.tree.Never, Employers: h.tree.Employers,
		RunID: h.tree.RunID, WorkerID: h.tree.WorkerID}
	h.exited, h.told, h.ending = true, true, false // until there is another
}

// RunHook starts the command that asks a hung worker for his last words, in a
// process group of its own. It reads nothing, and writes to our standard error.
func (h *Host) RunHook(path string, args, env []string) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	pid, err := h.launcher.Start(start{Path: path, Args: args, Env: env, Files: []uintptr{null.Fd(), 2, 2}})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	hd, err := h.opened(pid)
	if err != nil {
		return err
	}
	h.hook = hd
	hd.Notify()
	return nil
}

// EndHook ends it, with its group. Its end is told as ever.
func (h *Host) EndHook() {
	if h.hook != nil {
		h.hook.SignalGroup(proc.KILL)
	}
}

// reapHook collects it if it has ended. Nobody of its group outlives it: while
// it is a zombie it still holds the group's number.
func (h *Host) reapHook(certain bool) {
	hook := h.hook
	if hook == nil || !certain && !gone(hook.Look()) {
		return
	}
	h.EndHook()
	exit := h.reap(hook)
	hook.Close()
	h.hook = nil
	var err error
	if status := exit.Status(); status != 0 {
		err = fmt.Errorf("the command ended with status %d", status)
	}
	h.events = append(h.events, watch.HookEnded{Err: err})
}

// errBeats: on macOS nobody knows who sent a datagram (see the package comment).
var errBeats = errors.New("heartbeats are not supported on macOS, which does not say who sent one: leave --heartbeat off, " +
	"and have the worker end itself when it hangs (Python: faulthandler.dump_traceback_later(SECONDS, exit=True))")

// ListenForBeats fails.
func (h *Host) ListenForBeats(string, bool) (string, error) { return "", errBeats }
