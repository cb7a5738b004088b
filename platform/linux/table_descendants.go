//go:build linux

package linux

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/snapshot"
)

// addDescendants adds the descendants of the members. It reads either the children of each
// member or the parent of every other process, whichever is less.
func (t *Table) addDescendants(s *snapshot.Snapshot, all []int) {
	known := make(map[int]bool, len(s.Procs))
	for i := range s.Procs {
		known[s.Procs[i].PID] = true
	}
	children := t.Kernel.Children
	if 3*len(s.Procs) > len(all)-len(s.Procs) || !t.Kernel.children {
		children = t.childrenOf(all, known)
	}
	var buf []int
	for i := 0; i < len(s.Procs); i++ { // grows meanwhile
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

// childrenOf reads the parent of every process that is not yet known.
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

// addParents reads the parents on which a verdict may depend.
func (t *Table) addParents(s *snapshot.Snapshot) {
	s.Parents = make(map[int]snapshot.Process)
	for i := range s.Procs {
		p := &s.Procs[i]
		if _, ok := s.Parents[p.PPID]; ok || !p.NeedsParent() {
			continue
		}
		b, err := t.first.short(p.PPID, "stat")
		if err != nil {
			continue
		}
		if info, err := ParseStat(b); err == nil {
			s.Parents[p.PPID] = snapshot.Process{Info: info, Name: statName(b)}
		}
	}
}

// Life reports whether a process is alive. One that cannot be read is not dead.
func (t *Table) Life(id proc.ID) snapshot.Life {
	b, err := t.first.short(id.PID, "stat")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		// /proc may hide other users' processes (hidepid); kill(2) does not.
		if unix.Kill(id.PID, 0) == unix.ESRCH {
			return snapshot.Dead
		}
		return snapshot.Unknown
	}
	if err != nil {
		return snapshot.Unknown
	}
	info, err := ParseStat(b)
	if err != nil {
		return snapshot.Unknown
	}
	if id.Inode != 0 && t.Kernel.pidfs {
		info.Inode = t.inode(info.ID)
	}
	if info.Dead() || id.Match(info.ID) == proc.Different {
		return snapshot.Dead
	}
	return snapshot.Alive
}

// inode is that of the process's pidfd; 0 if the PID is another process's by now.
func (t *Table) inode(id proc.ID) uint64 {
	h, err := t.Kernel.open(id.PID)
	if err != nil {
		return 0
	}
	defer h.Close()
	if info, err := t.Kernel.statOf(id.PID); err != nil || info.Start != id.Start || h.probe() != nil {
		return 0
	}
	return h.inode
}
