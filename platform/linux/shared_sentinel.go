//go:build linux

package linux

import (
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/internal/wire"
	"leash/platform/posix"
)

// pool is what workers share that have one sentinel: it is the parent and subreaper of them
// all, and if it is killed, this process is their subreaper.
type pool struct {
	s        *System
	sentinel *sentinelConn // nil: there is none
	members  []*member     // that have a worker
	last     uint64        // the mark that was given last; 0: there are no marks
	drawn    bool
}

// member holds the tree of one worker that shares its sentinel with others.
type member struct {
	*containment
	p    *pool
	mark uint64
}

var _ system.Shares = (*System)(nil)

func (s *System) share(c *containment) *member {
	if s.pool == nil {
		s.pool = &pool{s: s}
	}
	return &member{containment: c, p: s.pool}
}

// draw prepares for the first worker.
func (p *pool) draw() {
	if p.drawn {
		return
	}
	p.drawn = true
	s := p.s
	if !s.drawn {
		s.drawn = true
		s.sole = !s.hasOtherChildren() && unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil
	}
	if s.hasMarks() {
		p.last = newMarks()
	}
}

// Prepare starts the sentinel, and finds out what else can be had.
func (s *System) Prepare(sentinel bool) (names []string) {
	if s.pool == nil {
		s.pool = &pool{s: s}
	}
	s.pool.draw()
	if sentinel {
		s.pool.needSentinel()
	}
	if c := s.newCgroup(); c != nil {
		names = append(names, "cgroup")
		c.remove()
	}
	if s.sole || s.pool.sentinel != nil {
		names = append(names, "subreaper")
	}
	if s.pool.sentinel != nil {
		names = append(names, "sentinel")
	}
	return append(names, "group", "descendants")
}

// needSentinel starts the sentinel if there is none.
func (p *pool) needSentinel() {
	if p.sentinel != nil {
		return
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(null)
	// It outlives us for a moment, and must not hold our standard streams open.
	std := []uintptr{uintptr(null), uintptr(null), uintptr(null)}
	conn, pid, err := startRole(roleSentinel, &syscall.ProcAttr{Files: std, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return
	}
	if p.sentinel, err = p.s.connect(conn, pid, p.workerEnded, p.died); err == nil {
		p.s.waitForChildren()
	}
}

// workerEnded takes a wait status from the sentinel.
func (p *pool) workerEnded(pid int, ws unix.WaitStatus) {
	if h := p.s.children[pid]; h != nil {
		delete(p.s.children, pid)
		h.reaped, h.exit = true, posix.ExitOf(ws)
		h.onReaped()
	}
}

// died is called when the sentinel's end was noticed. Its children are ours from then on.
func (p *pool) died() {
	n := p.sentinel
	if n == nil {
		return
	}
	p.sentinel = nil
	p.s.collect(n)
	for _, m := range p.members {
		m.lost = true
		m.tell()
		m.changed()
	}
}

// Start starts the worker in a session of its own.
func (m *member) Start(cmd system.Command) (system.Handle, error) {
	p := m.p
	p.draw()
	if cmd.Sentinel {
		p.needSentinel()
	}
	if p.last != 0 {
		p.last++
	}
	m.mark = p.last
	m.cgroup = m.s.newCgroup()
	h, err := m.start(&cmd)
	if err == errUnstarted && cmd.Sentinel { // it was killed while nothing was asked of it
		p.needSentinel()
		h, err = m.start(&cmd)
	}
	if err != nil && err != ErrSentinel && m.cgroup != nil { // see containment.Start
		m.cgroup.remove()
		m.cgroup = nil
		h, err = m.start(&cmd)
	}
	if err != nil {
		if m.cgroup != nil {
			m.cgroup.remove()
			m.cgroup = nil
		}
		return nil, err
	}
	h.worker, m.worker, m.child = true, h, true
	m.s.child(h, m.owner)
	h.onReaped = m.tell
	h.collect = func() {
		if m.s.reap(); p.sentinel != nil {
			p.sentinel.listen()
		}
	}
	p.members = append(p.members, m)
	if err := m.s.waitForChildren(); err != nil {
		m.Kill()
		m.Started()
		return nil, err
	}
	return h, nil
}

// reserve takes the descriptors that open and the first look at a worker need: copies of fd.
func reserve(fd int) (fds []int, err error) {
	for range 3 {
		spare, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			posix.CloseFDs(fds)
			return nil, os.NewSyscallError("fcntl", err)
		}
		fds = append(fds, spare)
	}
	return fds, nil
}

func (m *member) start(cmd *system.Command) (*handle, error) {
	o := wire.Order{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, Mark: m.mark, Stdio: true}
	files := []int{0, 1, 2}
	for i, fd := range cmd.Stdio {
		files[i] = int(fd)
	}
	if m.cgroup != nil {
		o.Cgroup = m.cgroup.path
	}
	if n := m.p.sentinel; n != nil {
		spare, err := reserve(n.fd)
		if err != nil { // once it runs, a worker without a handle could not be ended
			return nil, err
		}
		defer func() { posix.CloseFDs(spare) }()
		if n.order(wire.Start, o.Encode(), files...) != nil {
			m.p.died()
			return nil, errUnstarted
		}
		for {
			kind, pid, err := n.next()
			switch {
			case err != nil: // whatever it has started is ours by now, and its mark tells
				m.p.died()
				m.p.endMarked(m.mark)
				return nil, ErrSentinel
			case kind == 0:
				n.ready(unix.POLLIN)
			case kind == wire.Failed:
				return nil, syscall.Errno(pid)
			case kind == wire.Started:
				posix.CloseFDs(spare)
				spare = nil
				h, err := m.s.open(int(pid)) // not reaped before Started
				if err != nil {
					unix.Kill(int(pid), unix.SIGKILL) // nor before this order, for which the sentinel waits
					n.order(wire.Go, nil)
				}
				return h, err
			}
		}
	}
	for _, fd := range files {
		o.Files = append(o.Files, uintptr(fd))
	}
	var was unix.Rlimit
	if m.mark != 0 && unix.Prlimit(0, unix.RLIMIT_RTTIME, nil, &was) == nil {
		setMark(m.mark)
		defer unmark(was.Cur)
	}
	unignore()
	defer m.s.defy()
	pid, fd, err := m.s.forkWorker(&o, m.cgroup)
	if err != nil {
		return nil, err
	}
	return m.s.childHandle(pid, fd)
}

// endMarked kills our children with a mark.
func (p *pool) endMarked(mark uint64) {
	for range 64 {
		pids, all := p.ours(mark)
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL) // a child of ours, not reaped yet
		}
		if len(pids) == 0 && all || mark == 0 {
			return
		}
		pause(10 * time.Millisecond)
	}
}

// Started lets the sentinel reap the worker once it has ended.
func (m *member) Started() error {
	if n := m.p.sentinel; n != nil {
		n.order(wire.Go, nil)
	}
	return nil
}

// held reports whether a worker of ours is held by the sentinel or this process.
func (m *member) held() bool { return m.child && (m.p.sentinel != nil || m.s.sole) }

// Hold is what tells the worker's tree from those of others: its cgroup and its mark.
func (m *member) Hold() (h stop.Hold) {
	if !m.child {
		return h
	}
	if m.cgroup != nil {
		h.KillAll, h.Means = m.cgroup.kill, "cgroup"
	}
	if h.Adopted = m.mark != 0 && m.held(); h.Adopted || m.cgroup != nil {
		h.Inside, h.Vacant = m.inside, m.vacant
	}
	return h
}

// Search is needed where neither cgroup nor marks tell the trees apart.
func (m *member) Search() func(*stop.Tree) ([]int, error) {
	if m.child && m.Hold().Inside != nil {
		return nil
	}
	return m.s.search
}

// Names are the mechanisms that hold the tree, strongest first.
func (m *member) Names() (names []string) {
	if m.cgroup != nil {
		names = append(names, "cgroup")
	}
	if m.held() {
		names = append(names, "subreaper")
	}
	if m.child && m.p.sentinel != nil {
		names = append(names, "sentinel")
	}
	return names
}

func (m *member) inside() (pids []int) {
	if m.cgroup != nil {
		pids = m.cgroup.pids()
	}
	orphans, _ := m.orphans()
	for _, pid := range orphans {
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// vacant reports whether it is certain that nothing of the tree is left.
func (m *member) vacant() bool {
	orphans, all := m.orphans()
	switch {
	case len(orphans) > 0 || m.cgroup != nil && !m.cgroup.vacant():
		return false
	case m.cgroup != nil:
		return true
	}
	return all
}

// orphans lists the children of the sentinel, or ours, that have the worker's mark, and
// whether no other process can have it but their descendants.
func (m *member) orphans() (pids []int, all bool) {
	if m.mark == 0 || !m.held() {
		return nil, false
	}
	if n := m.p.sentinel; n != nil {
		pids, all, err := n.list(m.mark)
		if err == nil {
			return pids, all
		}
		m.p.died()
	}
	return m.p.ours(m.mark)
}

// ours lists our own children with a mark.
func (p *pool) ours(mark uint64) (pids []int, all bool) {
	if !p.s.sole || mark == 0 {
		return nil, false
	}
	return p.s.marked(mark, func(pid int) bool {
		h := p.s.children[pid]
		if h == nil {
			return false
		}
		for _, m := range p.members {
			if m.worker == h {
				return m.mark != mark
			}
		}
		return true // a sentinel or a hook
	}, func() bool { p.s.reap(); return false })
}

// list asks for the children with a mark.
func (s *sentinelConn) list(mark uint64) (pids []int, all bool, err error) {
	s.asked++
	if err := s.order(wire.List, wire.Marked(s.asked, mark)); err != nil {
		return nil, false, err
	}
	for until := time.Now().Add(answerWithin); time.Now().Before(until); {
		kind, n, err := s.next()
		switch {
		case err != nil:
			return nil, false, err
		case kind == 0:
			s.ready(unix.POLLIN)
		case kind == wire.Child:
			pids = append(pids, int(n)) // verified where it is taken, also a late one of an earlier list
		case n == s.asked && (kind == wire.None || kind == wire.Some):
			return pids, kind == wire.None, nil
		}
	}
	return nil, false, nil
}

// Holds reports whether a process is certainly in the tree: in its cgroup, or an orphan that
// has its mark.
func (m *member) Holds(sh stop.Handle, others []stop.Handle) bool {
	if m.cgroup != nil && m.containment.Holds(sh, others) {
		return true
	}
	h := sh.(*handle)
	if m.mark == 0 || !m.held() || h.pid <= 0 {
		return false
	}
	mark, err := m.s.markOf(h.pid)
	return err == nil && mark == m.mark && h.probe() == nil
}

// LostSentinel reports, once, that the sentinel was killed.
func (m *member) LostSentinel() bool { return m.containment.LostSentinel() }

// HookStarted has nothing to do: a hook and its orphans have no mark.
func (m *member) HookStarted() {}

// Forget drops the worker, whose tree has ended.
func (m *member) Forget() {
	m.leave()
	m.containment.Forget()
}

// leave takes the worker out of the pool.
func (m *member) leave() {
	p := m.p
	p.members = slices.DeleteFunc(p.members, func(other *member) bool { return other == m })
	n := p.sentinel
	if n == nil {
		return
	}
	if m.mark != 0 {
		n.order(wire.Done, wire.Mark(m.mark))
	}
	// What was attributed to no worker is ended with the last.
	if len(p.members) == 0 && p.s.sole {
		n.order(wire.Rest, nil)
	}
}

// Close releases everything, and removes the cgroup if it is empty.
func (m *member) Close(int) {
	m.leave()
	if m.cgroup != nil {
		m.cgroup.remove()
		m.cgroup = nil
	}
	m.child = false
}

// restWait bounds how long EndRest waits.
const restWait = 2 * time.Second

// EndRest kills what is left below the sentinel, and the sentinel when nothing is.
func (s *System) EndRest() bool {
	p := s.pool
	if p == nil || !p.drawn {
		return true
	}
	for until := time.Now().Add(restWait); ; {
		if n := p.sentinel; n != nil {
			n.order(wire.Rest, nil)
			none, err := n.none()
			if err == nil && none {
				n.h.Signal(proc.KILL) // our own child, not reaped yet
				p.died()
			}
		}
		if p.sentinel == nil && (!s.sole || s.killOwn()) {
			return true
		}
		if time.Now().After(until) {
			return false // the sentinel goes on with it when we have ended
		}
		pause(5 * time.Millisecond)
	}
}

// killOwn kills our children, and reports whether none is left.
func (s *System) killOwn() bool {
	if s.reap() {
		return true
	}
	all, _ := s.Children(os.Getpid(), nil)
	for _, pid := range all {
		unix.Kill(pid, unix.SIGKILL) // a child of ours, not reaped yet
	}
	return false
}

// Poke makes Wait return.
func (s *System) Poke() { unix.Write(wakeUp, one) }
