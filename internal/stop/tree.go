package stop

import (
	"errors"
	"maps"
	"slices"

	"leash/internal/proc"
)

// Kernel is what ending needs of an operating system.
type Kernel interface {
	// Open takes a handle on whoever has the number now. proc.ErrGone if
	// nobody has. Who it is, only a Look through the handle tells.
	Open(pid int) (Handle, error)
	// Children lists the children of a process, appended to buf. The list may
	// be stale the moment it is returned, and may miss a sibling of a child
	// that exits meanwhile (proc_pid_task(5), "children"). An error says that it
	// may have children that are not in the list; that the process is gone is none.
	Children(pid int, buf []int) ([]int, error)
	// Tick is the present in the unit of proc.ID.Start.
	Tick() uint64
}

// Handle stands for one process and never for a later one of its number.
type Handle interface {
	// Look reads who the process is and what it does. proc.ErrGone once it has
	// been reaped.
	Look() (proc.Info, error)
	// Signal sends to the process only; signal 0 only probes.
	Signal(proc.Signal) error
	// SignalGroup sends to the process group that this process leads or led.
	// errors.ErrUnsupported if that cannot be done without the risk of hitting
	// a group that took the number anew.
	SignalGroup(proc.Signal) error
	// Labels are the run ID and worker ID in the environment; empty if they
	// are not there, cannot be read, or the process is of another PID namespace.
	Labels() (run, worker string)
	// Notify asks that the end of this process wake the host's wait.
	Notify()
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

// counts reports whether it is part of the tree. Watchdogs and reapers are
// held only to look below them: they are neither signalled nor counted.
func (m *member) counts() bool { return !m.info.Leash }

func (m *member) denied() bool { return denied(m.h) }

func denied(h Handle) bool { return errors.Is(h.Signal(probe), proc.ErrDenied) }

var probe proc.Signal

// Tree finds and signals everything that belongs to one worker. Each process
// is opened first, looked at second, and signalled through its handle third.
type Tree struct {
	Kernel Kernel
	// Root is the worker.
	Root Handle
	// Parent, if not 0, is our own PID: as the subreaper of the tree we are
	// the parent of all that lost theirs.
	Parent int
	// Beside, if not 0, is another process whose children belong to the tree too, and
	// which is the parent of all of them that lost theirs.
	Beside int
	// Never lists who must not be signalled: ourselves and our ancestors.
	Never []proc.Info
	// Run and Worker, if both are set, are the labels that make a process of
	// the same user part of this tree wherever it went.
	RunID, WorkerID string
	// Employers are the parents that are watched.
	Employers []proc.Info
	// Search lists processes of the whole table that may belong: candidates
	// only, each is verified. An error says that some may be missing. nil where
	// the walk alone is complete.
	Search func() ([]int, error)
	// KillAll ends everything at once (cgroup.kill); nil if there is no such
	// means. It reports whether it did.
	KillAll func() bool
	// Inside lists who is in the tree's own cgroup; nil where the walk finds
	// everybody.
	Inside func() []int
	// Empty proves that nothing is left, where the system can (no child is
	// left to the subreaper); nil if it cannot.
	Empty func() bool
	// Vacant proves, when nobody was found, that nobody is in the tree's own
	// cgroup; nil if there is none.
	Vacant func() bool

	root     proc.Info
	rootDead bool // at the last look
	rootGone bool // reaped too: another process may have its number
	searched bool
	// awaitsWorker: the worker alone was asked, and the rest is when it has ended.
	awaitsWorker bool
	restless     bool            // a process was listed, and dead before it was looked at
	rootTick     uint64          // when the root was last seen to exist
	members      map[int]*member // by PID
	list         []*member       // the same in the order found, so that runs can be replayed
	// What could not be found out, for want of descriptors, say. It counts:
	// unknown is not dead.
	unopened     map[int]unopened // PIDs that could not be opened or looked at
	rootUnlisted error            // as member.unlisted, of the worker
	selfUnlisted error            // and of the process that adopts
	unsearched   error            // the last search was incomplete
	lost         []Left           // ended when their children were not known
	buf          []int
	queue        []int
	sent         []Sent
}

// Adopt makes the worker known. It must succeed before anything is signalled.
func (t *Tree) Adopt() (proc.Info, error) {
	t.members, t.unopened = make(map[int]*member), make(map[int]unopened)
	tick := t.Kernel.Tick()
	info, err := t.Root.Look()
	if err != nil {
		return info, err
	}
	t.root, t.rootTick = info, tick
	return info, nil
}

// Leads reports whether signals go to the worker's process group: it leads it,
// and neither we and our ancestors nor a parent are in it.
func (t *Tree) Leads() bool {
	if t.root.PGID != t.root.PID || t.root.PGID <= 1 {
		return false
	}
	shared := func(p proc.Info) bool { return p.PGID == t.root.PGID }
	return !slices.ContainsFunc(t.Never, shared) && !slices.ContainsFunc(t.Employers, shared)
}

// Worker is the worker as last seen.
func (t *Tree) Worker() proc.Info { return t.root }

// Survey follows the tree from everyone known. With freeze each process is
// stopped before its children are listed, so that none can fork away.
func (t *Tree) Survey(freeze bool) {
	t.retry()
	t.follow(freeze)
}

func (t *Tree) follow(freeze bool) {
	t.restless = false
	t.lookAtRoot(freeze)
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
	if !t.rootDead { // the dead have no children
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

func (t *Tree) lookAtRoot(freeze bool) {
	tick := t.Kernel.Tick()
	info, err := t.Root.Look()
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
	info, err := m.h.Look()
	if errors.Is(err, proc.ErrGone) || err == nil && info.Dead() {
		return false
	}
	if err == nil {
		m.info = info
	}
	return true
}

// walk lists the children of one process and takes in those that are proven to
// be: born before the list was read (so the number cannot have changed hands
// since), or still a child of the same parent. An error says that there may be more.
func (t *Tree) walk(pid int, h Handle) error {
	tick := t.Kernel.Tick()
	var failed error
	if t.buf, failed = t.Kernel.Children(pid, t.buf[:0]); len(t.buf) == 0 {
		return failed
	}
	if h != nil {
		if _, err := h.Look(); errors.Is(err, proc.ErrGone) {
			return failed // the list may be that of the number's next owner
		}
	}
	for _, c := range t.buf {
		t.consider(c, tick, func(_ Handle, info proc.Info) bool {
			if info.Start != 0 && info.Start < tick {
				return true
			}
			if t.fosters(info.PPID) {
				return true // its parent ended meanwhile, and it came to us
			}
			if info.PPID != pid {
				return false
			}
			if h == nil {
				return true
			}
			_, err := h.Look()
			return !errors.Is(err, proc.ErrGone)
		})
	}
	return failed
}

// fosters reports whether a process is the parent of all of the tree that lost theirs.
func (t *Tree) fosters(pid int) bool {
	return pid != 0 && (pid == t.Parent || pid == t.Beside)
}

// consider opens a candidate, looks, and keeps it if it belongs. from, if not 0,
// is an instant before it was listed as a child.
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
	info, err := h.Look()
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
	for _, n := range t.Never {
		if n.PID == id.PID && n.Match(id) != proc.Different {
			return true
		}
	}
	return false
}

// search takes in what the walk cannot reach: processes that left the tree
// before anyone saw them, found by group, session or labels.
func (t *Tree) search() {
	if t.Search == nil {
		return
	}
	pids, err := t.Search()
	t.unsearched = err
	for _, pid := range pids {
		t.consider(pid, 0, func(h Handle, info proc.Info) bool {
			if t.Claims(info, "", "") {
				return true
			}
			if t.RunID == "" || t.WorkerID == "" {
				return false
			}
			run, worker := h.Labels()
			return t.Claims(info, run, worker) && !t.belowSuccessor(info)
		})
	}
}

// Claims reports whether a process of the table belongs to this tree.
func (t *Tree) Claims(info proc.Info, run, worker string) bool {
	if slices.ContainsFunc(t.Employers, func(p proc.Info) bool { return p.Match(info.ID) != proc.Different }) {
		return false // a parent may well be of the worker's session
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

// successor reports whether a parent that lives has started this process since
// the worker was last seen: then it is the next worker of the same name.
func (t *Tree) successor(info proc.Info) bool {
	for _, p := range t.Employers {
		if info.PPID == p.PID && info.Start >= t.rootTick {
			return true
		}
	}
	return false
}

// pinned reports whether the number of the worker's group and session cannot
// have been taken anew: the worker still holds it, somebody of his group does,
// or the process was born while the worker did.
func (t *Tree) pinned(info proc.Info) bool {
	if _, err := t.Root.Look(); err == nil {
		return true
	}
	if err := t.Root.SignalGroup(probe); err == nil || errors.Is(err, proc.ErrDenied) {
		return true
	}
	return info.Start != 0 && info.Start < t.rootTick
}

// Count surveys the tree and says how many live.
func (t *Tree) Count() Census {
	if t.Empty != nil && t.Empty() {
		return Census{Proven: true, Ended: true}
	}
	t.Survey(false)
	c := t.census()
	// Strays are looked for when nobody else is left who could be ended, and once
	// early: else they would hear of the end only when the last stubborn one has
	// used up the grace. What the worker has left behind is asked before that.
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

// chase looks for who is there, because we have children, and yet never seen:
// processes that fork and end faster than we look. They count as one.
func (t *Tree) chase() Census {
	for range chases {
		if t.Empty == nil { // the sentinel died while it was asked
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
	if t.leashInside() { // which may leave its dead lying about
		return t.census()
	}
	return Census{Living: 1, Ended: t.rootDead}
}

// settled reports whether children that we still have are explained: by a
// watchdog, and nobody was found dead a moment after he was listed.
func (t *Tree) settled() bool { return t.leashInside() && !t.restless }

const chases = 10

func (t *Tree) census() Census {
	c := Census{Living: len(t.unopened) + len(t.lost), Ended: t.rootDead}
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
			c.Unasked++
		}
		if m.denied() {
			c.Denied++
		}
	}
	return c
}

// Survivors says who is left and why.
func (t *Tree) Survivors() []Left {
	var left []Left
	for _, pid := range slices.Sorted(maps.Keys(t.unopened)) {
		left = append(left, Left{proc.ID{PID: pid}, "it could not be opened: " + t.unopened[pid].err.Error()})
	}
	left = append(left, t.lost...)
	if t.selfUnlisted != nil {
		left = append(left, Left{proc.ID{PID: t.Parent}, "its children could not be listed: " + t.selfUnlisted.Error()})
	}
	if t.unsearched != nil {
		left = append(left, Left{t.root.ID, "what left its tree could not be searched for: " + t.unsearched.Error()})
	}
	if t.lookAtRoot(false); !t.rootDead {
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

// Close lets go of every handle but the root's.
func (t *Tree) Close() {
	for _, m := range t.list {
		m.h.Close()
	}
	t.members, t.list = nil, nil
}
