//go:build linux

package linux

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/scan"
)

// addDescendants takes in what members started. Two ways lead there: the
// children of each member, or the parent of everybody else, whichever is less.
func (t *Table) addDescendants(s *scan.Snapshot, all []int) {
	known := make(map[int]bool, len(s.Procs))
	for i := range s.Procs {
		known[s.Procs[i].PID] = true
	}
	children := t.Kernel.Children
	if 3*len(s.Procs) > len(all)-len(s.Procs) || !t.Kernel.children {
		children = t.childrenOf(all, known)
	}
	var buf []int
	for i := 0; i < len(s.Procs); i++ { // grows while it is read
		if p := &s.Procs[i]; p.Foreign || p.Dead() {
			continue
		}
		var err error
		if buf, err = children(s.Procs[i].PID, buf[:0]); Scarce(err) {
			t.first.torn = fmt.Errorf("the children of process %d: %w", s.Procs[i].PID, err)
		}
		for _, pid := range buf {
			if known[pid] {
				continue
			}
			known[pid] = true
			if p, err := t.first.read(pid); err == nil {
				s.Procs = append(s.Procs, p)
			}
		}
	}
}

// childrenOf reads the parent of everyone who is not known.
func (t *Table) childrenOf(all []int, known map[int]bool) func(int, []int) ([]int, error) {
	children := make(map[int][]int)
	for _, pid := range all {
		if known[pid] {
			continue
		}
		b, err := t.first.short(pid, "stat")
		if err != nil {
			continue
		}
		if info, err := ParseStat(b); err == nil {
			children[info.PPID] = append(children[info.PPID], pid)
		}
	}
	return func(pid int, _ []int) ([]int, error) { return children[pid], nil }
}

// addParents reads the parents that the judge may ask for.
func (t *Table) addParents(s *scan.Snapshot) {
	s.Parents = make(map[int]scan.Process)
	for i := range s.Procs {
		p := &s.Procs[i]
		if _, ok := s.Parents[p.PPID]; ok || !scan.AskedForParent(p) {
			continue
		}
		b, err := t.first.short(p.PPID, "stat")
		if err != nil {
			continue
		}
		if info, err := ParseStat(b); err == nil {
			s.Parents[p.PPID] = scan.Process{Info: info, Name: statName(b)}
		}
	}
}

// Life says whether somebody named lives. What cannot be read is not dead.
func (t *Table) Life(id proc.ID) scan.Life {
	b, err := t.first.short(id.PID, "stat")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		// /proc may hide processes of others (hidepid); kill(2) does not.
		if unix.Kill(id.PID, 0) == unix.ESRCH {
			return scan.Dead
		}
		return scan.Unknown
	}
	if err != nil {
		return scan.Unknown
	}
	info, err := ParseStat(b)
	if err != nil {
		return scan.Unknown
	}
	if id.Inode != 0 && t.Kernel.pidfs {
		info.Inode = t.inode(info.ID)
	}
	if info.Dead() || id.Match(info.ID) == proc.Different {
		return scan.Dead
	}
	return scan.Alive
}

// inode is that of the process's pidfd; 0 if it is another process by now.
func (t *Table) inode(id proc.ID) uint64 {
	h, err := t.Kernel.open(id.PID)
	if err != nil {
		return 0
	}
	defer h.Close()
	if info, err := t.Kernel.lookAt(id.PID); err != nil || info.Start != id.Start || h.probe() != nil {
		return 0
	}
	return h.inode
}
