package stop

import (
	"errors"
	"maps"
	"slices"

	"leash/internal/proc"
)

// Kernel is what ending needs of an operating system.
type Kernel interface {
	// Open takes a handle on the process that has the PID now, or returns
	// proc.ErrGone if none has. Only Info through the handle identifies it.
	Open(pid int) (Handle, error)
	// Children lists the children of a process, appended to buf. The list may
	// be stale the moment it is returned, and may miss a sibling of a child
	// that exits meanwhile (proc_pid_task(5), "children"). An error means that it
	// may have children that are not in the list; a process that has exited is no error.
	Children(pid int, buf []int) ([]int, error)
	// Tick is the present in the unit of proc.ID.Start.
	Tick() uint64
}

// Handle refers to one process, never to a later one with the same PID.
type Handle interface {
	// Info reads the identity and state of the process. It returns proc.ErrGone
	// once the process has been reaped.
	Info() (proc.Info, error)
	// Signal sends to this process only; signal 0 only checks permission.
	Signal(proc.Signal) error
	// SignalGroup sends to the process group that this process leads or led. It
	// returns errors.ErrUnsupported where it might reach a later group with the
	// same ID.
	SignalGroup(proc.Signal) error
	// Labels returns the run ID and worker ID in the environment; empty if they are
	// absent or unreadable, or the process is in another PID namespace.
	Labels() (run, worker string)
	Close()
}

// Sent is one signal sent, for the log.
type Sent struct {
	Signal proc.Signal
	Target string // group, process, cgroup, job
	PID    int
	Err    error
}

// Left is one process that could not be ended, and why.
type Left struct {
	proc.ID
	Reason string
}

type member struct {
	h     Handle
	info  proc.Info // as last seen
	asked bool
	// unlisted says why its children could not be listed at the last attempt.
	unlisted error
}

// counts reports whether it is part of the tree. Watchdogs and reapers are kept
// only to find their children: they are neither signalled nor counted.
func (m *member) counts() bool { return !m.info.Leash }

func (m *member) denied() bool { return denied(m.h) }

func denied(h Handle) bool { return errors.Is(h.Signal(probe), proc.ErrDenied) }

var probe proc.Signal

// Hold is how a system keeps a worker's process tree together, and what it can
// prove about it. With the zero value the tree is only what scans find.
type Hold struct {
	// Parent, if not 0, is the PID of the subreaper of the tree (this process, or its
	// sentinel): orphans of the tree become its children.
	Parent int
	// Beside, if not 0, is another process whose children belong to the tree too, and
	// which is given the orphans among their descendants.
	Beside int
	// KillAll kills the whole tree at once (cgroup.kill, a job object) and reports
	// whether it did; nil if the system cannot. Means is its name in Sent.Target.
	KillAll func() bool
	Means   string
	// Inside lists the PIDs in the tree's own cgroup or job; nil where following
	// parents and children finds all.
	Inside func() []int
	// Adopted: orphans of the tree are in Inside, although it has no subreaper alone.
	Adopted bool
	// Empty reports whether it is certain that no process is left (the subreaper has
	// no children); nil if the system cannot tell.
	Empty func() bool
	// Vacant reports, after a scan that found no process, whether the tree's own
	// cgroup is empty; nil if there is none.
	Vacant func() bool
	// BeforeSignals, if not nil, is called before a round of stop signals.
	BeforeSignals func()
}

// Tree finds and signals the process tree of one worker. Each process is opened,
// then verified, then signalled through its handle: to verify before opening would
// allow the PID to be reused in between.
type Tree struct {
	Kernel Kernel
	// Root is the worker.
	Root Handle
	// Hold is how the system keeps the tree together.
	Hold
	// Watch asks for an event when a process ends; nil if none is wanted.
	Watch func(Handle)
	// Protected are never signalled: this process and its ancestors.
	Protected []proc.Info
	// Run and Worker, if both are set, are the labels that make a process of
	// the same user part of this tree, whatever its group, session or parent.
	RunID, WorkerID string
	// Parents are the parents that are watched.
	Parents []proc.Info
	// Search lists candidates from the whole process table, each of which is
	// verified. An error means that some may be missing. nil where following the
	// tree finds all.
	Search   func() ([]int, error)
	root     proc.Info
	rootDead bool // at the last scan
	rootGone bool // reaped too: another process may have its number
	searched bool
	// awaitsWorker: the stop signal went to the worker alone; the rest of the tree
	// gets it when the worker has ended.
	awaitsWorker bool
	restless     bool            // a process was listed, but had ended before it was read
	rootTick     uint64          // when the root was last seen to exist
	members      map[int]*member // by PID
	list         []*member       // the same in the order found, so that simulations can be replayed
	// What could not be read, for lack of descriptors, for example. It counts as
	// living, since it may be.
	unopened     map[int]unopened // PIDs that could not be opened or read
	rootUnlisted error            // as member.unlisted, of the worker
	selfUnlisted error            // the same, of the subreaper
	unsearched   error            // the last search was incomplete
	lost         []Left           // ended before their children were known
	doubtful     []Left           // of the last search: see doubt
	buf          []int
	queue        []int
	sent         []Sent
}

// Adopt reads the worker's identity through Root. It must succeed before any signal
// is sent.
func (t *Tree) Adopt() (proc.Info, error) {
	t.members, t.unopened = make(map[int]*member), make(map[int]unopened)
	tick := t.Kernel.Tick()
	info, err := t.Root.Info()
	if err != nil {
		return info, err
	}
	t.root, t.rootTick = info, tick
	return info, nil
}

// Leads reports whether the worker's process group can be signalled: the worker
// leads it, and neither this process, nor an ancestor, nor a parent is in it.
func (t *Tree) Leads() bool {
	if t.root.PGID != t.root.PID || t.root.PGID <= 1 {
		return false
	}
	shared := func(p proc.Info) bool { return p.PGID == t.root.PGID }
	return !slices.ContainsFunc(t.Protected, shared) && !slices.ContainsFunc(t.Parents, shared)
}

// Worker is the worker as last seen.
func (t *Tree) Worker() proc.Info { return t.root }

// Scan follows the tree from all processes known so far. With freeze each process
// is stopped (SIGSTOP) before its children are listed, so that it cannot fork.
func (t *Tree) Scan(freeze bool) {
	t.retry()
	t.follow(freeze)
}

func (t *Tree) follow(freeze bool) {
	t.restless = false
	t.readRoot(freeze)
	t.queue = t.queue[:0]
	known := t.list
	t.list = t.list[:0]
	for _, m := range known {
		if !t.refresh(m) {
			t.lose(m.info.ID, m.unlisted, unlistedBefore)
			m.h.Close()
			delete(t.members, m.info.PID)
			continue
		}
		t.list = append(t.list, m)
		t.queue = append(t.queue, m.info.PID)
	}
	if !t.rootDead { // a dead process has no children
		t.rootUnlisted = t.relist(t.root.PID, t.Root, t.rootUnlisted)
	} else {
		t.lose(t.root.ID, t.rootUnlisted, unlistedBefore)
		t.rootUnlisted = nil
	}
	t.selfUnlisted = nil
	for _, pid := range [...]int{t.Parent, t.Beside} {
		if pid != 0 {
			t.selfUnlisted = errors.Join(t.selfUnlisted, t.walk(pid, nil))
		}
	}
	if t.Inside != nil {
		for _, pid := range t.Inside() {
			t.consider(pid, 0, func(Handle, proc.Info) bool { return slices.Contains(t.Inside(), pid) })
		}
	}
	for i := 0; i < len(t.queue); i++ { // grows while it is read
		m := t.members[t.queue[i]]
		if freeze && m.counts() {
			m.h.Signal(STOP)
		}
		m.unlisted = t.relist(t.queue[i], m.h, m.unlisted)
	}
}

func (t *Tree) readRoot(freeze bool) {
	tick := t.Kernel.Tick()
	info, err := t.Root.Info()
	t.rootGone = errors.Is(err, proc.ErrGone)
	t.rootDead = t.rootGone || err == nil && info.Dead()
	if err != nil {
		return
	}
	t.root, t.rootTick = info, tick
	if freeze && !info.Dead() {
		t.Root.Signal(STOP)
	}
}

// refresh reports whether a member still lives.
func (t *Tree) refresh(m *member) bool {
	info, err := m.h.Info()
	if errors.Is(err, proc.ErrGone) || err == nil && info.Dead() {
		return false
	}
	if err == nil {
		m.info = info
	}
	return true
}

// walk lists the children of one process and adds those that are certain to be its
// own: started before the list was read, so that the PID was not reused since, or
// still a child of that parent. An error means that there may be more.
func (t *Tree) walk(pid int, h Handle) error {
	tick := t.Kernel.Tick()
	var failed error
	if t.buf, failed = t.Kernel.Children(pid, t.buf[:0]); len(t.buf) == 0 {
		return failed
	}
	if h != nil {
		if _, err := h.Info(); errors.Is(err, proc.ErrGone) {
			return failed // the list may be that of a later process with this PID
		}
	}
	for _, c := range t.buf {
		t.consider(c, tick, func(_ Handle, info proc.Info) bool {
			if info.Start != 0 && info.Start < tick {
				return true
			}
			if t.fosters(info.PPID) {
				return true // its parent exited meanwhile, and the subreaper has it
			}
			if info.PPID != pid {
				return false
			}
			if h == nil {
				return true
			}
			_, err := h.Info()
			return !errors.Is(err, proc.ErrGone)
		})
	}
	return failed
}

// fosters reports whether orphans of the tree become children of this process.
func (t *Tree) fosters(pid int) bool {
	return pid != 0 && (pid == t.Parent || pid == t.Beside)
}

// consider opens a candidate, reads it, and keeps it if it belongs to the tree.
// from, if not 0, is an instant before it was listed as a child.
func (t *Tree) consider(pid int, from uint64, belongs func(Handle, proc.Info) bool) {
	if pid <= 1 || t.fosters(pid) || pid == t.root.PID && !t.rootGone || t.members[pid] != nil {
		return
	}
	h, err := t.Kernel.Open(pid)
	if err != nil {
		if t.restless = true; !errors.Is(err, proc.ErrGone) {
			t.unopen(pid, from, err)
		}
		return
	}
	info, err := h.Info()
	if err != nil && !errors.Is(err, proc.ErrGone) {
		t.unopen(pid, from, err)
	}
	t.restless = t.restless || err != nil || info.Dead()
	if err != nil || info.Dead() || t.never(info.ID) || !belongs(h, info) {
		h.Close()
		return
	}
	m := &member{h: h, info: info}
	t.members[pid] = m
	t.list = append(t.list, m)
	t.queue = append(t.queue, pid)
}

func (t *Tree) never(id proc.ID) bool {
	for _, n := range t.Protected {
		if n.PID == id.PID && n.Match(id) != proc.Different {
			return true
		}
	}
	return false
}

// search adds what following the tree cannot reach: processes that left it before
// a scan saw them, found by group, session or labels.
func (t *Tree) search() {
	if t.Search == nil {
		return
	}
	pids, err := t.Search()
	t.unsearched, t.doubtful = err, t.doubtful[:0]
	for _, pid := range pids {
		t.consider(pid, 0, func(h Handle, info proc.Info) bool {
			if t.Claims(info, "", "") {
				return true
			}
			if t.RunID == "" || t.WorkerID == "" {
				return false
			}
			run, worker := h.Labels()
			t.doubt(info, run, worker)
			return t.Claims(info, run, worker) && !t.belowSuccessor(info)
		})
	}
}

// Claims reports whether a process of the table belongs to this tree.
func (t *Tree) Claims(info proc.Info, run, worker string) bool {
	if slices.ContainsFunc(t.Parents, func(p proc.Info) bool { return p.Match(info.ID) != proc.Different }) {
		return false // a parent may be in the worker's session
	}
	if info.PGID == t.root.PID && t.Leads() && t.pinned(info) {
		return true
	}
	if info.SID == t.root.PID && t.root.SID == t.root.PID && t.pinned(info) {
		return true
	}
	return t.RunID != "" && run == t.RunID && t.WorkerID != "" && worker == t.WorkerID &&
		info.UID == t.root.UID && !t.successor(info)
}

// sameSession reports whether a process may be in the worker's process group: all of a
// group are in one session (setpgid(2)). A process of another session has joined a later
// group that reuses the PID, unless the worker changed its session since it was last seen.
// 0 is unknown.
func (t *Tree) sameSession(info proc.Info) bool {
	return info.SID == t.root.SID || info.SID == 0 || t.root.SID == 0
}

// successor reports whether a living parent has started this process since the
// worker was last seen: then it is the next worker with the same ID.
func (t *Tree) successor(info proc.Info) bool {
	for _, p := range t.Parents {
		if info.PPID == p.PID && info.Start >= t.rootTick {
			return true
		}
	}
	return false
}

// pinned reports whether the ID of the worker's group and session was not reused:
// the worker or a process of its group still holds it, or this process was started
// while the worker lived and is in the session of its group.
func (t *Tree) pinned(info proc.Info) bool {
	if _, err := t.Root.Info(); err == nil {
		return true
	}
	if err := t.Root.SignalGroup(probe); err == nil || errors.Is(err, proc.ErrDenied) {
		return true
	}
	return info.Start != 0 && info.Start < t.rootTick && t.sameSession(info)
}

// Count scans the tree and counts the living processes.
func (t *Tree) Count() Census {
	if t.Empty != nil && t.Empty() {
		return Census{Proven: true, Ended: true}
	}
	t.Scan(false)
	c := t.census()
	// The whole table is searched when no other process is left that can be
	// signalled, and once early: otherwise a process that left the tree would get
	// the stop signal only after the grace period of the rest.
	early := !t.searched && !(t.awaitsWorker && t.rootDead)
	if t.Search != nil && (c.Living == c.Denied || early || t.unsearched != nil) {
		t.searched = true
		t.search()
		t.follow(false)
		c = t.census()
	}
	if t.Empty != nil && c.Living == 0 && !t.settled() {
		c = t.chase()
	}
	if t.Vacant != nil && c.Living == 0 {
		c.Proven = t.Vacant()
	}
	t.notify()
	return c
}

// chase scans again while the subreaper has children that no scan has found:
// processes that fork and exit faster than a scan. They count as one.
func (t *Tree) chase() Census {
	for range chases {
		if t.Empty == nil { // the sentinel died during the call
			return t.census()
		}
		if t.Empty() {
			return Census{Proven: true, Ended: true}
		}
		t.follow(false)
		if c := t.census(); c.Living > 0 || t.settled() {
			return c
		}
	}
	if t.leashInside() { // a watchdog may have zombies
		return t.census()
	}
	return Census{Living: 1, Ended: t.rootDead}
}

// settled reports whether a watchdog in the tree explains the children that the
// subreaper still has, and no process ended between being listed and being read.
func (t *Tree) settled() bool { return t.leashInside() && !t.restless }

const chases = 10

func (t *Tree) census() Census {
	c := Census{Living: len(t.unopened) + len(t.lost) + len(t.doubtful), Denied: len(t.doubtful), Ended: t.rootDead}
	for _, err := range []error{t.selfUnlisted, t.unsearched} {
		if err != nil {
			c.Living++
		}
	}
	if !t.rootDead {
		c.Living++
		if denied(t.Root) {
			c.Denied++
		}
	}
	for _, m := range t.list {
		if !m.counts() {
			if m.unlisted != nil {
				c.Living++
			}
			continue
		}
		c.Living++
		if !m.asked {
			c.Unsignalled++
		}
		if m.denied() {
			c.Denied++
		}
	}
	return c
}

// Living is how many processes the last scan found.
func (t *Tree) Living() int { return t.census().Living }

// Survivors lists the processes that are left, and why.
func (t *Tree) Survivors() []Left {
	var left []Left
	for _, pid := range slices.Sorted(maps.Keys(t.unopened)) {
		left = append(left, Left{proc.ID{PID: pid}, "it could not be opened: " + t.unopened[pid].err.Error()})
	}
	left = append(append(left, t.lost...), t.doubtful...)
	if t.selfUnlisted != nil {
		left = append(left, Left{proc.ID{PID: t.Parent}, "its children could not be listed: " + t.selfUnlisted.Error()})
	}
	if t.unsearched != nil {
		left = append(left, Left{t.root.ID, "processes outside its tree could not be searched for: " + t.unsearched.Error()})
	}
	if t.readRoot(false); !t.rootDead {
		left = append(left, Left{t.root.ID, Reason(t.root, denied(t.Root))})
	}
	for _, m := range t.list {
		switch {
		case m.counts() && t.refresh(m):
			left = append(left, Left{m.info.ID, Reason(m.info, m.denied())})
		case !m.counts() && m.unlisted != nil:
			left = append(left, Left{m.info.ID, "its children could not be listed: " + m.unlisted.Error()})
		}
	}
	return left
}

// Reason says why a process could not be ended.
func Reason(info proc.Info, refused bool) string {
	switch {
	case refused:
		return "it belongs to another user and may not be signalled"
	case info.State == 'D':
		return "it is in uninterruptible sleep (state D)"
	}
	return "it was sent SIGKILL and has not ended"
}

// Close closes every handle except the root's.
func (t *Tree) Close() {
	for _, m := range t.list {
		m.h.Close()
	}
	t.members, t.list = nil, nil
}
