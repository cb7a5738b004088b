package windows

// entry is one process of the table.
type entry struct {
	pid, ppid int
	// start is when it was created, in units of 100 ns ("FILETIME structure").
	start uint64
}

// Creation times are times of day. What was created later than latest (see
// Kernel.latest) was so before the clock was set back; whether before or after
// one that was not, its time does not show.

// younger reports whether a process was certainly created after another. If so, it is not
// the parent of that one, though it has the number.
func younger(start, than, latest uint64) bool { return start > than && start <= latest }

// follows reports whether a process may be the child of one that has the number of
// its parent: as far as can be told it was created later. If the clock was set
// back in between, a child is missed: the job object has it.
func follows(start, parent, latest uint64) bool {
	return start >= parent && (start <= latest || parent > latest)
}

// descend lists those of the table that descend from the known, parents before
// their children. known holds the start times of processes that still have their
// numbers. The number of a parent counts only if it was there before.
// strangers are passed over.
func descend(table []entry, known, strangers map[int]uint64, latest uint64) (found []entry) {
	start := make(map[int]uint64, len(known))
	for pid, at := range known {
		start[pid] = at
	}
	taken := make(map[int]bool)
	for grown := true; grown; {
		grown = false
		for _, e := range table {
			parent, ok := start[e.ppid]
			if !ok || taken[e.pid] || e.pid == e.ppid || !follows(e.start, parent, latest) {
				continue
			}
			if at, ok := strangers[e.pid]; ok && at == e.start {
				continue
			}
			if _, ok := known[e.pid]; ok {
				continue
			}
			taken[e.pid], start[e.pid] = true, e.start
			found = append(found, e)
			grown = true
		}
	}
	return found
}

// hasChild reports whether a process of the table is a child of this one.
func hasChild(table []entry, pid int, start uint64) bool {
	for _, e := range table {
		if e.ppid == pid && e.pid != pid && e.start >= start {
			return true
		}
	}
	return false
}

// above lists a process and those above it, the process first.
func above(table []entry, pid int, latest uint64) (chain []entry) {
	at := make(map[int]entry, len(table))
	for _, e := range table {
		at[e.pid] = e
	}
	e, ok := at[pid]
	for ok && len(chain) < len(table) {
		chain = append(chain, e)
		var p entry
		p, ok = at[e.ppid]
		ok = ok && p.pid != 0 && p.pid != e.pid && !younger(p.start, e.start, latest)
		e = p
	}
	return chain
}
