//go:build windows

package windows

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// containment holds one worker's process tree by a job object, and knows the
// descendants of the worker beside it.
type containment struct {
	s *System
	companions
	shared bool // the pool's: in the job of all its workers too

	worker *handle
	child  bool       // we started it
	thread win.Handle // of a worker that is suspended; 0: it runs
	job    *job       // nil: the system allowed none
	tree   *descendants
}

var _ stop.Kernel = (*containment)(nil)

// Open takes a handle on the process that has the number now, as one of this tree.
func (c *containment) Open(pid int) (stop.Handle, error) {
	h, err := c.s.openProgram(pid)
	if err != nil {
		return nil, err
	}
	h.hold = c
	return h, nil
}

// Children lists the children of a process of this tree.
func (c *containment) Children(pid int, buf []int) ([]int, error) {
	if c.tree == nil {
		return c.s.Children(pid, buf)
	}
	return c.s.children(pid, buf, c.tree.stranger)
}

// Tick is the present in the unit of creation times.
func (c *containment) Tick() uint64 { return c.s.Tick() }

// Start starts the worker: it is created suspended, in a job object that ends with us,
// and let go by Started, so that it has no child outside.
func (c *containment) Start(cmd system.Command) (system.Handle, error) {
	j, err := newJob(true)
	if err != nil {
		return nil, notStarted(err)
	}
	pi, err := create(c.jobs(j), cmd)
	if err != nil {
		j.close(false)
		return nil, err
	}
	h, err := c.s.created(j, pi)
	if err != nil {
		win.CloseHandle(pi.Thread)
		j.close(false)
		return nil, notStarted(err)
	}
	c.thread, c.job, c.child = pi.Thread, j, true
	c.follow(h)
	return h, nil
}

// created is the handle on a process that does not run yet.
func (k *Kernel) created(j *job, pi win.ProcessInformation) (*handle, error) {
	if !j.has(pi.Process) { // then it is not ended with it
		win.TerminateProcess(pi.Process, killCode)
		win.CloseHandle(pi.Process)
		return nil, errors.New("the system created it outside")
	}
	h, err := k.wrap(int(pi.ProcessId), pi.Process, win.PROCESS_ALL_ACCESS|win.SYNCHRONIZE)
	if err != nil {
		return nil, err
	}
	if hasConsole() {
		h.group = h.pid // created so, see create
	}
	return h, nil
}

// want marks what is no fault of the command: want of means, or of rights.
type want struct{ error }

func (want) Is(target error) bool { return target == syscall.EAGAIN }

func notStarted(err error) error {
	return want{fmt.Errorf("the worker cannot be put into a job object: %w", err)}
}

// Started lets the worker run.
func (c *containment) Started() error {
	if c.thread == 0 {
		return nil
	}
	_, err := win.ResumeThread(c.thread)
	c.letGo()
	if err != nil {
		return notStarted(err)
	}
	return nil
}

func (c *containment) letGo() {
	if c.thread != 0 {
		win.CloseHandle(c.thread)
		c.thread = 0
	}
}

// Kill kills a worker that could not be made known.
func (c *containment) Kill() { c.endJob() }

// Adopt takes a running worker.
func (c *containment) Adopt(h system.Handle) error {
	c.follow(h.(*handle))
	// What is created from now on is in the job, and need not be searched for.
	var err error
	if c.job, err = newJob(false); err == nil && c.job.add(c.worker.h) != nil {
		c.job.close(true)
		c.job = nil
	}
	if c.job != nil {
		c.tree.enlist = func(h *handle) {
			if !c.s.isLeash(h.exe) && !c.job.has(h.h) {
				c.job.add(h.h) // one that is in another job may not be
			}
		}
	}
	return nil
}

func refused(pid int, err error) error {
	if errors.Is(err, proc.ErrDenied) {
		return fmt.Errorf("process %d belongs to another user, or to an elevated one (%w): run the watchdog as that user or as administrator", pid, proc.ErrDenied)
	}
	return err
}

// AdoptGone is not done here: what descends from a worker is known only if it was
// followed while the worker lived.
func (c *containment) AdoptGone(int) (system.Handle, bool) { return nil, false }

// follow begins to note what descends from the worker.
func (c *containment) follow(h *handle) {
	h.worker, h.hold = true, c
	c.worker, c.tree = h, newDescendants(c.s.Kernel, h)
}

// Hold says by what the tree is held. A job that was made for a running worker proves
// nothing: children from before are outside.
func (c *containment) Hold() (h stop.Hold) {
	if c.worker == nil {
		return h
	}
	h = stop.Hold{Inside: c.inside, Means: "job", BeforeSignals: func() { c.reached = reached{} }}
	if c.job != nil {
		h.KillAll = c.endJob
	}
	if c.child {
		h.Empty = c.empty
	}
	return h
}

// inside lists what is in the job, and what descends from the worker.
func (c *containment) inside() []int {
	pids := slices.Clone(c.tree.living())
	if c.job != nil {
		for _, pid := range c.job.pids() {
			if pid != c.worker.pid && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// has reports whether a process is known to be of the tree.
func (c *containment) has(pid int) bool {
	return c.tree != nil && c.tree.has(pid) || c.job != nil && slices.Contains(c.job.pids(), pid)
}

// endJob notes before that the worker's end is our doing.
func (c *containment) endJob() bool {
	if c.job == nil {
		return false
	}
	c.worker.forced = true
	return c.job.end() == nil
}

// empty proves that nothing is left in the job but the hosts of consoles, which
// end by themselves then.
func (c *containment) empty() bool {
	// What ends leaves the job a moment before it lets go of ports and files.
	if !c.worker.ended() || c.tree.left() {
		return false
	}
	return c.s.emptyJob(c.job)
}

func (k *Kernel) emptyJob(j *job) bool {
	if j.empty() {
		return true
	}
	pids := j.pids()
	for _, pid := range pids {
		h, err := k.open(pid)
		if err != nil {
			return false
		}
		host := isConsoleHost(h.exe)
		if h.Close(); !host {
			return false
		}
	}
	return len(pids) > 0 // else the list could not be had
}

// Search is for a worker that was running before; a job that it was started in is
// complete.
func (c *containment) Search() func(*stop.Tree) ([]int, error) {
	if c.child || c.worker == nil {
		return nil
	}
	return c.search
}

// search lists processes of the whole table that may belong by their environment or
// their console's process group, and that are no older than the worker.
func (c *containment) search(tree *stop.Tree) (pids []int, err error) {
	table, err := c.s.table()
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Clone(table) {
		if !follows(e.start, c.worker.start, c.s.latest()) || e.pid == c.worker.pid || c.tree.has(e.pid) {
			continue
		}
		h, err := c.s.openWith(e.pid, wanted[:1]) // others could not be read
		if err != nil {
			continue
		}
		if info, err := h.Info(); err == nil {
			run, worker := "", ""
			if tree.RunID != "" && tree.WorkerID != "" {
				run, worker = h.Labels()
			}
			if tree.Claims(info, run, worker) {
				pids = append(pids, e.pid)
			}
		}
		h.Close()
	}
	return pids, nil
}

// Names are the means.
func (c *containment) Names() []string {
	if c.job == nil {
		return nil
	}
	return []string{"job"}
}

// Cgroup is empty: there are none.
func (c *containment) Cgroup() string { return "" }

// Holds reports whether a process is in the job or descends from the worker. What is
// not in the job of a worker that was started in it does not belong.
func (c *containment) Holds(sh stop.Handle, _ []stop.Handle) bool {
	h := sh.(*handle)
	if c.worker == nil || h.closed() {
		return false
	}
	if c.job != nil && c.job.has(h.h) {
		return true
	}
	return !c.child && c.tree.hasNow(h.pid)
}

// LostSentinel is never so: the job object ends with the watchdog.
func (c *containment) LostSentinel() bool { return false }

// HookStarted has nothing to do: nothing gets another parent.
func (c *containment) HookStarted() {}

// Forget lets go of the worker before the next one.
func (c *containment) Forget() {
	c.release()
	c.worker, c.child = nil, false
}

// Close lets go of everything. A watchdog that works in the worker's tree, and what it
// guards, live on.
func (c *containment) Close(int) { c.release() }

func (c *containment) release() {
	c.letGo()
	spare := false
	if c.tree != nil {
		spare = c.leashWithin()
		c.tree.close()
		c.tree = nil
	}
	if c.job != nil {
		c.job.close(spare)
		c.job = nil
	}
}

func (c *containment) leashWithin() bool {
	for _, h := range c.tree.held {
		if !h.ended() && c.s.isLeash(h.exe) {
			return true
		}
	}
	return false
}
