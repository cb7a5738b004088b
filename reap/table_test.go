package reap

import (
	"slices"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

// The world as a Table, reading as torn as the real one does.

func (w *world) Now() time.Duration { return w.now }
func (w *world) Tick() uint64       { w.step(); return w.tickNow() }

// read reads one process: the numbers first, its labels a moment later, and by
// then they may be another's.
func (w *world) read(pid int) (snapshot.Process, bool) {
	w.step()
	b := w.byPID[pid]
	if b == nil {
		return snapshot.Process{}, false
	}
	p := snapshot.Process{Info: w.info(b), Name: "python3"}
	p.Inode = 0
	w.step()
	if b = w.byPID[pid]; b == nil {
		return p, false
	}
	p.Leash = b.leash
	if b.state == running && !b.leaderGone {
		if b.env != "" {
			p.EnvRuns, p.Owner, p.Worker = []string{b.env}, b.owner, b.worker
		}
		if b.args != "" {
			p.ArgRuns = []string{b.args}
		}
	}
	return p, true
}

func (w *world) info(b *body) proc.Info {
	i := proc.Info{ID: proc.ID{PID: b.pid, Start: b.start}, PPID: b.ppid(), PGID: b.group, SID: b.sid, State: 'S', Threads: 1, UID: b.uid, Leash: b.leash}
	if w.inodes {
		i.Inode = b.inode
	}
	switch {
	case b.state != running:
		i.State = 'Z'
	case b.leaderGone:
		i.State, i.Threads = 'Z', 3
	case b.stopped:
		i.State = 'T'
	}
	return i
}

func (w *world) Take(held []snapshot.Held) (*snapshot.Snapshot, error) {
	w.takes++
	w.lastAt, w.scanAt = w.scanAt, w.now
	w.say("scan %d", w.takes)
	s := &snapshot.Snapshot{Boot: simBoot, NS: simSpace, Records: slices.Clone(w.ledger), Held: held, Tick: w.tickNow(),
		Lives: map[proc.ID]snapshot.Life{}, Parents: map[int]snapshot.Process{}}
	extra, groups := map[int]bool{}, map[int]bool{}
	for _, r := range s.Records {
		extra[r.Worker.PID], extra[r.Watchdog.PID] = true, true
		groups[r.Group] = true
	}
	for _, h := range held {
		groups[h.Group], groups[h.Session] = true, true
	}
	known := map[int]bool{}
	for pid := 1; pid <= numbers; pid++ {
		w.step()
		if p, ok := w.read(pid); ok && (p.EnvRuns != nil || p.ArgRuns != nil || extra[pid] || p.Leash || groups[p.PGID] || groups[p.SID]) {
			if b := w.byPID[pid]; extra[pid] && w.inodes && b != nil && b.start == p.Start {
				p.Inode = b.inode
			}
			s.Procs, known[pid] = append(s.Procs, p), true
		}
	}
	for i := 0; i < len(s.Procs); i++ {
		if s.Procs[i].Dead() {
			continue
		}
		w.step()
		for pid := 1; pid <= numbers; pid++ {
			if c := w.byPID[pid]; c != nil && !known[pid] && c.ppid() == s.Procs[i].PID {
				known[pid] = true
				if p, ok := w.read(pid); ok {
					s.Procs = append(s.Procs, p)
				}
			}
		}
	}
	w.addParents(s)
	for _, id := range s.Named() {
		s.Lives[id] = w.Life(id)
	}
	for _, b := range w.all {
		if b.never {
			s.Protected = append(s.Protected, w.info(b))
		}
	}
	return s, nil
}

func (w *world) Life(id proc.ID) snapshot.Life {
	w.step()
	if b := w.byPID[id.PID]; b == nil || b.state != running || id.Match(w.info(b).ID) == proc.Different {
		return snapshot.Dead
	}
	return snapshot.Alive
}

func (w *world) addParents(s *snapshot.Snapshot) {
	for i := range s.Procs {
		if p := &s.Procs[i]; p.ArgRuns != nil && p.EnvRuns == nil {
			w.step()
			if b := w.byPID[p.PPID]; b != nil {
				s.Parents[p.PPID] = snapshot.Process{Info: w.info(b), Name: map[bool]string{true: "init", false: "bash"}[b.pid == 1]}
			}
		}
	}
}

func (w *world) Open(pid int) (snapshot.Handle, error) {
	w.step()
	b := w.byPID[pid]
	if b == nil {
		return nil, proc.ErrGone
	}
	if w.openFDs >= w.mostFDs {
		return nil, errFull
	}
	w.openFDs++
	b.open++
	if b.held = w.now; b.left > 0 && b.left < w.scanAt && b.open == 1 {
		b.ever = false // that scan showed another run's process already
	}
	return &simHandle{w: w, b: b}, nil
}

// Wait lets time pass until all processes that are waited for have ended.
func (w *world) Wait(until time.Duration) (bool, error) {
	w.say("wait until %v", until)
	for {
		waiting := len(w.wait) > 0
		w.wait = slices.DeleteFunc(w.wait, func(h *simHandle) bool {
			h.over = h.b.state != running
			return h.over
		})
		if waiting && len(w.wait) == 0 {
			return true, nil
		}
		if w.now >= until {
			return false, nil
		}
		next := until
		for _, t := range w.timers {
			next = min(next, max(t.at, w.now))
		}
		if w.budget > 0 && w.Chance(50) {
			w.budget--
			next = min(next, w.now+w.Between(0, 300*time.Millisecond))
			w.now = next
			w.act()
		}
		w.now = next
		w.due()
	}
}

type simHandle struct {
	w              *world
	b              *body
	closed, waited bool
	over           bool
}

func (h *simHandle) use() {
	h.w.step()
	if h.closed {
		h.w.fail("a closed handle of %v was used", h.b)
	}
}

func (h *simHandle) Info() (proc.Info, error) {
	h.use()
	if h.b.state == gone {
		return proc.Info{}, proc.ErrGone
	}
	return h.w.info(h.b), nil
}

func (h *simHandle) Same(p *snapshot.Process, tick uint64) bool {
	h.use()
	if p.Start >= tick {
		return false
	}
	b := h.w.byPID[h.b.pid]
	h.w.step()
	return b != nil && b.start == p.Start && h.b.state != gone
}

func (h *simHandle) Read() (snapshot.Process, error) {
	h.use()
	p, _ := h.w.read(h.b.pid)
	if h.b.state == gone {
		return p, proc.ErrGone
	}
	p.Inode = h.Inode()
	return p, nil
}

func (h *simHandle) Inode() uint64 {
	if h.w.inodes {
		return h.b.inode
	}
	return 0
}

func (h *simHandle) Signal(sig proc.Signal) error {
	h.use()
	if h.b.state == gone {
		return proc.ErrGone
	}
	if sig.Num != 0 {
		h.w.judgeSignal(h.b, sig)
	}
	if h.b.denied {
		return proc.ErrDenied
	}
	if sig.Num != 0 {
		h.w.deliver(h.b, sig)
	}
	return nil
}

func (h *simHandle) Notify() {
	if h.use(); !h.waited {
		h.waited = true
		h.w.wait = append(h.w.wait, h)
	}
}

func (h *simHandle) Over() bool { return h.over }

func (h *simHandle) Close() {
	if h.closed {
		h.w.fail("a handle of %v was closed twice", h.b)
		return
	}
	h.closed = true
	h.w.openFDs--
	h.b.open--
	h.w.wait = slices.DeleteFunc(h.w.wait, func(o *simHandle) bool { return o == h })
}

// record writes a worker into the ledger, as its watchdog would have.
func (w *world) record(r *run, worker, dog *body) {
	worker.recorded = true
	w.now += tick // no process gets the PID in the tick that the worker was born in
	w.ledger = append(w.ledger, ledger.Record{RunID: r.id, WorkerID: worker.worker, Watchdog: w.info(dog).ID, Worker: w.info(worker).ID,
		Group: worker.group, Session: worker.sid, Boot: simBoot, NS: simSpace, Seen: w.tickNow(), UID: worker.uid})
	if r.owner != nil {
		w.ledger[len(w.ledger)-1].Parents = []proc.ID{w.info(r.owner).ID}
	}
}
