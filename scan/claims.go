package scan

import (
	"slices"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

// claim is the evidence that a process belongs to a run.
type claim struct {
	run      snapshot.Key
	evidence Evidence
	records  []int // that are part of it
	held     bool  // it was born into a group or session that is being ended
}

// claims lists, for every process, the runs that it may belong to.
type claims struct {
	s        *snapshot.Snapshot
	by       map[int]int // PID: index in Procs
	children map[int][]int
	of       [][]claim // by index in Procs
	counts   [][]claim // the same, where direct evidence has replaced inherited
	workers  map[int][]int
	groups   map[int][]int // records by number of the worker's group
	sessions map[int][]int

	heldGroups, heldSessions map[int][]*snapshot.Held
}

func gather(s *snapshot.Snapshot) *claims {
	c := &claims{s: s, by: make(map[int]int, len(s.Procs)), children: make(map[int][]int),
		of: make([][]claim, len(s.Procs)), workers: make(map[int][]int),
		groups: make(map[int][]int), sessions: make(map[int][]int),
		heldGroups: make(map[int][]*snapshot.Held), heldSessions: make(map[int][]*snapshot.Held)}
	for i := range s.Procs {
		p := &s.Procs[i]
		c.by[p.PID] = i
		c.children[p.PPID] = append(c.children[p.PPID], i)
	}
	for i := range s.Records {
		r := &c.s.Records[i]
		if !s.Here(r) {
			continue
		}
		c.workers[r.Worker.PID] = append(c.workers[r.Worker.PID], i)
		group, session := r.Leads()
		if group {
			c.groups[r.Group] = append(c.groups[r.Group], i)
		}
		if session {
			c.sessions[r.Session] = append(c.sessions[r.Session], i)
		}
	}
	for i := range s.Held {
		h := &s.Held[i]
		if h.Group == h.PID {
			c.heldGroups[h.Group] = append(c.heldGroups[h.Group], h)
		}
		if h.Session == h.PID {
			c.heldSessions[h.Session] = append(c.heldSessions[h.Session], h)
		}
	}
	for i := range s.Procs {
		c.collect(i)
	}
	c.descend()
	if c.unnamed() {
		c.descend()
	}
	c.decide()
	return c
}

// member reports whether a process can belong to a run at all.
func member(p *snapshot.Process) bool { return !p.Leash && !p.Dead() && p.PID > 1 }

// collect adds all evidence but descent.
func (c *claims) collect(i int) {
	p := &c.s.Procs[i]
	if !member(p) {
		return
	}
	for _, id := range p.ArgRuns {
		c.add(i, snapshot.Key{ID: id, UID: p.UID}, Argv, -1)
	}
	for _, id := range p.EnvRuns {
		c.add(i, snapshot.Key{ID: id, UID: p.UID}, Environ, -1)
	}
	if p.Foreign {
		return
	}
	for _, n := range c.workers[p.PID] {
		if r := c.recordFor(p, n); r != nil && sameWorker(p, r) {
			c.add(i, snapshot.Key{ID: r.RunID, UID: p.UID}, Ledger, n)
		}
	}
	for _, n := range c.groups[p.PGID] {
		c.inGroupOf(i, n, Group)
	}
	for _, n := range c.sessions[p.SID] {
		c.inGroupOf(i, n, Session)
	}
	for _, h := range c.heldGroups[p.PGID] {
		c.bornInto(i, h, Group)
	}
	for _, h := range c.heldSessions[p.SID] {
		c.bornInto(i, h, Session)
	}
	for _, n := range p.Inside {
		if r := c.recordFor(p, n); r != nil {
			c.add(i, snapshot.Key{ID: r.RunID, UID: p.UID}, Cgroup, n)
		}
	}
}

// recordFor is the record if it is evidence for this process: its file must be of the
// same user.
func (c *claims) recordFor(p *snapshot.Process, n int) *ledger.Record {
	if r := &c.s.Records[n]; r.UID == p.UID {
		return r
	}
	return nil
}

// sameWorker reports whether this is the recorded worker. PID and start time alone
// prove nothing: when PIDs were made to repeat, most repeats had the same tick. Where
// the kernel gives no more, other evidence must agree.
func sameWorker(p *snapshot.Process, r *ledger.Record) bool {
	switch r.Worker.Match(p.ID) {
	case proc.Same:
		return true
	case proc.Perhaps:
		return slices.Contains(p.EnvRuns, r.RunID) || p.PGID == r.Group && p.SID == r.Session
	}
	return false
}

// inGroupOf counts a process of the recorded worker's group or session, if that number
// is still the worker's: the kernel gives no PID out anew while a group or session of
// that number has members. It is if the worker lives, or if this process was born while
// it did and no other process has the PID by now; else the process's environment must
// name the run too. Arguments are not enough: a grep for the run may lead a group with
// a number that was a worker's.
func (c *claims) inGroupOf(i, n int, e Evidence) {
	p := &c.s.Procs[i]
	r := c.recordFor(p, n)
	if r == nil || p.PID == r.Worker.PID && !sameWorker(p, r) {
		return
	}
	lives, taken := c.worker(n)
	if lives || slices.Contains(p.EnvRuns, r.RunID) || !taken && p.Start >= r.Worker.Start && p.Start < r.Seen {
		c.add(i, snapshot.Key{ID: r.RunID, UID: p.UID}, e, n)
	}
}

// bornInto counts a process that was born into the group or session of a member while
// that member was being ended.
func (c *claims) bornInto(i int, h *snapshot.Held, e Evidence) {
	p := &c.s.Procs[i]
	if p.UID == h.Run.UID && p.Start >= h.From && p.Start < h.Seen {
		c.add(i, h.Run, e, -1)
		for n := range c.of[i] {
			k := &c.of[i][n]
			k.held = k.held || k.run == h.Run
		}
	}
}

// worker reports whether the recorded worker is in the snapshot for certain, and
// whether another process has its PID, as far as can be told.
func (c *claims) worker(n int) (lives, taken bool) {
	r := &c.s.Records[n]
	i, ok := c.by[r.Worker.PID]
	lives = ok && sameWorker(&c.s.Procs[i], r)
	return lives, ok && !lives
}

// enough runs contradict each other as well as thousands would, which another user
// could write into a ledger.
const enough = 8

// manyRecords are as good evidence as thousands would be. Honest ones are as many as
// watchdogs that are nested in each other.
const manyRecords = 32

func (c *claims) add(i int, run snapshot.Key, e Evidence, record int) {
	list := c.of[i]
	at := slices.IndexFunc(list, func(k claim) bool { return k.run == run })
	if at < 0 {
		if at = len(list); at == enough {
			return
		}
		list = append(list, claim{run: run})
		c.of[i] = list
	}
	list[at].evidence |= e
	if record >= 0 && len(list[at].records) < manyRecords && !slices.Contains(list[at].records, record) {
		list[at].records = append(list[at].records, record)
	}
}

// descend counts the descendants of members. A process that itself names another run
// is not counted, nor one in another PID namespace, nor one that is older than its
// parent: that PID was another process's when it was read.
func (c *claims) descend() {
	var queue []int
	waits := make([]bool, len(c.of)) // in the queue
	for i := range c.of {
		if waits[i] = len(c.of[i]) > 0; waits[i] {
			queue = append(queue, i)
		}
	}
	for n := 0; n < len(queue); n++ { // grows while it is read
		waits[queue[n]] = false
		parent := &c.s.Procs[queue[n]]
		if parent.Foreign {
			continue
		}
		for _, i := range c.children[parent.PID] {
			p := &c.s.Procs[i]
			if !member(p) || p.Start < parent.Start || !c.inherit(i, c.of[queue[n]]) || waits[i] {
				continue
			}
			waits[i] = true
			queue = append(queue, i)
		}
	}
}

// inherit gives a child the runs of its parent, except those that its own labels
// contradict. It reports whether any was new to it.
func (c *claims) inherit(i int, parents []claim) bool {
	own, had := slices.ContainsFunc(c.of[i], isDirect), len(c.of[i])
	for _, k := range parents {
		// The parent's user may be another than the child's: the verdict takes care of that.
		if has := slices.ContainsFunc(c.of[i], func(o claim) bool { return o.run == k.run }); has || !own {
			c.add(i, k.run, Descendant, -1)
		}
	}
	return len(c.of[i]) > had
}

func isDirect(k claim) bool { return k.evidence&direct != 0 }

// decide keeps, of each process, the runs that it counts to: those of its direct
// evidence, else those it inherits.
func (c *claims) decide() {
	c.counts = make([][]claim, len(c.of))
	for i, list := range c.of {
		c.counts[i] = list
		if slices.ContainsFunc(list, isDirect) {
			c.counts[i] = slices.DeleteFunc(slices.Clone(list), func(k claim) bool { return !isDirect(k) })
		}
	}
}

// Stale reports whether a record is evidence for no process any more: its watchdog and
// its worker are dead, and no process is in the worker's group, session or cgroup.
func Stale(s *snapshot.Snapshot, r *ledger.Record) bool {
	if r.Boot != s.Boot {
		return true
	}
	if !s.Here(r) || s.Partial[r.Cgroup] || s.Lives[r.Watchdog] != snapshot.Dead || s.Lives[r.Worker] != snapshot.Dead {
		return false
	}
	group, session := r.Leads()
	for i := range s.Procs {
		p := &s.Procs[i]
		inside := slices.ContainsFunc(p.Inside, func(n int) bool { return s.Records[n].Worker == r.Worker })
		if !p.Dead() && (inside || group && p.PGID == r.Group || session && p.SID == r.Session) {
			return false
		}
	}
	return true
}
