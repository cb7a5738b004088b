package reap

import (
	"errors"

	"leash/internal/proc"
	"leash/scan"
)

// candidate is a condemned process on its way to be a member.
type candidate struct {
	at    int // in the snapshot
	h     Handle
	sure  bool // it is the process that the scan saw
	taken bool // it is a member now
}

// adopt takes a handle on everyone condemned, makes sure behind it that this is
// who was judged, and judges again with what is known then. Only who is
// condemned twice becomes a member. It returns how many are new.
func (r *Reaper) adopt(s *scan.Snapshot, runs []*scan.Run) int {
	r.unopened, r.vanished, r.young = r.unopened[:0], r.vanished[:0], 0
	condemned := condemned(runs)
	if len(condemned) == 0 {
		return 0
	}
	var found []candidate
	for i := range s.Procs {
		p := &s.Procs[i]
		// Who is over and in the table again is another of the same tick.
		run := condemned[p.PID]
		if m := r.known[key(p.ID)]; run == nil || m != nil && !m.over {
			continue
		}
		seen := *p
		c, err := r.open(s, i)
		if err != nil {
			r.note(&seen, run, err)
			continue
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return 0
	}
	for _, id := range s.Named() { // what was read anew may name others
		if _, ok := s.Lives[id]; !ok {
			s.Lives[id] = r.Table.Life(id)
		}
	}
	return r.enlist(s, found)
}

// condemned lists, by PID, the runs of those who are to be ended.
func condemned(runs []*scan.Run) map[int]*scan.Run {
	pids := make(map[int]*scan.Run)
	for _, run := range runs {
		for i := range run.Members {
			if m := &run.Members[i]; m.Verdict == scan.End {
				pids[m.PID] = run
			}
		}
	}
	return pids
}

// key tells processes apart as far as a scan can.
func key(id proc.ID) proc.ID { return proc.ID{PID: id.PID, Start: id.Start} }

// open takes a handle on one of them. The snapshot then says of it what was
// read behind the handle.
func (r *Reaper) open(s *scan.Snapshot, i int) (candidate, error) {
	p := &s.Procs[i]
	h, err := r.Table.Open(p.PID)
	if err != nil {
		return candidate{}, err
	}
	if h.Same(p, s.Tick) {
		p.Inode = h.Inode()
		return candidate{at: i, h: h, sure: true}, nil
	}
	// Too young to be told from a later owner of its number by its age: only
	// what is read now counts.
	now, err := h.Read()
	if err == nil && now.Dead() {
		err = proc.ErrGone
	}
	if err != nil {
		h.Close()
		return candidate{}, err
	}
	*p = now
	return candidate{at: i, h: h}, nil
}

// note keeps an error with one process. It never stops the others.
func (r *Reaper) note(p *scan.Process, run *scan.Run, err error) {
	e := Ended{Process: *p, Run: run.Key, Fate: Survived, Reason: "it could not be opened: " + err.Error()}
	if errors.Is(err, proc.ErrGone) {
		e.Reason = "whenever it was to be opened it had just ended: it forks faster than it can be caught"
		r.vanished = append(r.vanished, e)
		return
	}
	r.unopened = append(r.unopened, e)
}

// enlist makes members of those who are condemned still.
func (r *Reaper) enlist(s *scan.Snapshot, found []candidate) int {
	runs := make(map[int]*scan.Run)
	why := make(map[int]*scan.Member)
	for _, run := range scan.Judge(s, r.Wish) {
		for i := range run.Members {
			if m := &run.Members[i]; m.Verdict == scan.End {
				runs[m.PID], why[m.PID] = run, m
			}
		}
	}
	anchors := r.anchors(s, found)
	n := 0
	for again := true; again; { // whoever is taken in may be what another hangs on
		again = false
		for i := range found {
			c := &found[i]
			p := &s.Procs[c.at]
			if run := runs[p.PID]; run != nil && !c.taken && (c.sure || anchored(why[p.PID], anchors)) {
				m := &member{Ended: Ended{Process: *p, Run: run.Key, Reason: why[p.PID].Reason}, h: c.h,
					fresh: true, from: s.Tick, seen: s.Tick}
				r.members = append(r.members, m)
				r.known[key(p.ID)] = m
				anchors[p.PID], c.taken, again = c.h, true, true
				n++
			}
		}
	}
	for _, c := range found {
		if !c.taken {
			r.young++
			c.h.Close()
		}
	}
	return n
}

// anchors are handles on those whom the scan saw, and nobody else.
func (r *Reaper) anchors(s *scan.Snapshot, found []candidate) map[int]Handle {
	anchors := make(map[int]Handle, len(found))
	for _, m := range r.members {
		if !m.over {
			anchors[m.PID] = m.h
		}
	}
	for _, c := range found {
		if c.sure {
			anchors[s.Procs[c.at].PID] = c.h
		}
	}
	return anchors
}

// anchored reports whether what speaks for a process was there all along. Of one
// that is too young to be told by its age, the parent and the leader that the
// scan saw may be gone, and others have their numbers. The next look will tell.
func anchored(m *scan.Member, anchors map[int]Handle) bool {
	has := func(e scan.Evidence) bool { return m.Evidence&e != 0 }
	return has(scan.Environ|scan.Ledger|scan.Cgroup) || m.Evidence == scan.Argv ||
		has(scan.Descendant) && alive(anchors[m.PPID]) ||
		has(scan.Group) && alive(anchors[m.PGID]) || has(scan.Session) && alive(anchors[m.SID])
}

// alive reports whether a handle's process was there all along: then whoever
// named it as his parent meant it.
func alive(h Handle) bool {
	if h == nil {
		return false
	}
	_, err := h.Look()
	return err == nil
}

// held describes the members, so that what is born into their groups and
// sessions is found also when they have ended.
func (r *Reaper) held() []scan.Held {
	var held []scan.Held
	for _, m := range r.members {
		if m.PGID == m.PID || m.SID == m.PID {
			held = append(held, scan.Held{Run: m.Run, PID: m.PID, Group: m.PGID, Session: m.SID, From: m.from, Seen: m.seen})
		}
	}
	return held
}
