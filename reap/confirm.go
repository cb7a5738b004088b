package reap

import (
	"errors"
	"maps"
	"slices"

	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/scan"
)

// candidate is a process that is to be ended, on its way to be a member.
type candidate struct {
	at     int // in the snapshot
	h      snapshot.Handle
	proven bool // it is the process that the scan found
	member *member
}

// confirm takes a handle on each process that is to be ended, makes a new snapshot with
// what is read behind the handles, and judges that. Only a process that is to be ended by
// both judgements becomes a member.
func (r *Reaper) confirm(s *snapshot.Snapshot, runs []*scan.Run) ([]*member, missed, error) {
	now, candidates, missed := r.openAll(s, r.toEnd(runs))
	if len(candidates) == 0 {
		return nil, missed, nil
	}
	now.FillLives(r.System.Life) // what was read anew may name other owners
	runs, err := judge(now, r.Request)
	if err != nil {
		for _, c := range candidates {
			c.h.Close()
		}
		return nil, missed, err
	}
	members := r.anchored(now, candidates, r.toEnd(runs))
	for _, c := range candidates {
		if c.member == nil {
			missed.young++
			c.h.Close()
		}
	}
	return members, missed, nil
}

// openAll opens each process that is to be ended and is no member yet. The snapshot that
// it returns says of each what was read behind its handle.
func (r *Reaper) openAll(s *snapshot.Snapshot, verdicts map[int]verdict) (*snapshot.Snapshot, []candidate, missed) {
	var candidates []candidate
	var missed missed
	now := *s
	now.Procs, now.Lives = slices.Clone(s.Procs), maps.Clone(s.Lives)
	for i := range s.Procs {
		p := &s.Procs[i]
		v, ok := verdicts[p.PID]
		// A process that is in the table again after its end is another of the same tick.
		if m := r.known[key(p.ID)]; !ok || m != nil && !m.over {
			continue
		}
		c, err := r.open(p, s.Tick, &now.Procs[i])
		if err != nil {
			missed.add(p, v.run, err)
			continue
		}
		c.at = i
		candidates = append(candidates, c)
	}
	return &now, candidates, missed
}

// open takes a handle on a process that a scan found which began at that tick, and
// writes to now what is read behind it.
func (r *Reaper) open(p *snapshot.Process, tick uint64, now *snapshot.Process) (candidate, error) {
	h, err := r.System.Open(p.PID)
	if err != nil {
		return candidate{}, err
	}
	if h.Same(p, tick) {
		now.Inode = h.Inode()
		return candidate{h: h, proven: true}, nil
	}
	// Too young to be distinguished by its age from a later process with the PID: only what is
	// read now counts.
	read, err := h.Read()
	if err == nil && read.Dead() {
		err = proc.ErrGone
	}
	if err != nil {
		h.Close()
		return candidate{}, err
	}
	*now = read
	return candidate{h: h}, nil
}

// add keeps the error of one process. It never stops the others.
func (m *missed) add(p *snapshot.Process, run *scan.Run, err error) {
	e := Ended{Process: *p, Run: run.Key, Fate: Survived, Reason: "it could not be opened: " + err.Error()}
	if errors.Is(err, proc.ErrGone) {
		e.Reason = "whenever it was to be opened it had just ended: it forks faster than it can be caught"
		m.vanished = append(m.vanished, e)
		return
	}
	m.unopened = append(m.unopened, e)
}

// anchored makes members of the candidates that are to be ended by the new snapshot too,
// and have evidence of the scan's time.
func (r *Reaper) anchored(now *snapshot.Snapshot, candidates []candidate, verdicts map[int]verdict) (members []*member) {
	anchors := r.anchors(now, candidates)
	for again := true; again; { // a new member may anchor another
		again = false
		for i := range candidates {
			c := &candidates[i]
			p := &now.Procs[c.at]
			v, ok := verdicts[p.PID]
			if !ok || c.member != nil || !c.proven && !holds(v.Member, anchors) {
				continue
			}
			c.member = &member{Ended: Ended{Process: *p, Run: v.run.Key, Reason: v.Reason}, h: c.h,
				fresh: true, from: now.Tick, seen: now.Tick}
			members = append(members, c.member)
			anchors[p.PID], again = c.h, true
		}
	}
	return members
}

// anchors are handles, by PID, on the processes that a scan found for certain.
func (r *Reaper) anchors(now *snapshot.Snapshot, candidates []candidate) map[int]snapshot.Handle {
	anchors := make(map[int]snapshot.Handle, len(candidates))
	for _, m := range r.members {
		if !m.over {
			anchors[m.PID] = m.h
		}
	}
	for _, c := range candidates {
		if c.proven {
			anchors[now.Procs[c.at].PID] = c.h
		}
	}
	return anchors
}

// holds reports whether the evidence for a process was there all along. The parent and
// the leader of one that is too young to be distinguished by its age may have ended since
// the scan, and other processes may have their PIDs. The next scan decides.
func holds(m *scan.Member, anchors map[int]snapshot.Handle) bool {
	has := func(e scan.Evidence) bool { return m.Evidence&e != 0 }
	return has(scan.Environ|scan.Ledger|scan.Cgroup) || m.Evidence == scan.Argv ||
		has(scan.Descendant) && exists(anchors[m.PPID]) ||
		has(scan.Group) && exists(anchors[m.PGID]) || has(scan.Session) && exists(anchors[m.SID])
}

// exists reports whether a handle's process still has its PID: then a process that
// names it as its parent means this one.
func exists(h snapshot.Handle) bool {
	if h == nil {
		return false
	}
	_, err := h.Info()
	return err == nil
}
