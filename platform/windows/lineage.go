package windows

// entry is one process of the table.
type entry struct {
	pid, ppid int
	// start is when it was created, in units of 100 ns ("FILETIME structure").
	start uint64
}

// descend lists those of the table who descend from the known, parents before
// their children. known holds the start times of processes whose numbers are
// still their own. The number of a parent counts only if he was there before. If
// the clock is set back in between, a child is missed: the job object has it.
func descend(table []entry, known map[int]uint64) (found []entry) {
	start := make(map[int]uint64, len(known))
	for pid, at := range known {
		start[pid] = at
	}
	taken := make(map[int]bool)
	for grown := true; grown; {
		grown = false
		for _, e := range table {
			parent, ok := start[e.ppid]
			if !ok || taken[e.pid] || e.pid == e.ppid || e.start < parent {
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

// hasChild reports whether somebody of the table is a child of this process.
func hasChild(table []entry, pid int, start uint64) bool {
	for _, e := range table {
		if e.ppid == pid && e.pid != pid && e.start >= start {
			return true
		}
	}
	return false
}

// above lists a process and those above it, the process first.
func above(table []entry, pid int) (chain []entry) {
	at := make(map[int]entry, len(table))
	for _, e := range table {
		at[e.pid] = e
	}
	e, ok := at[pid]
	for ok && len(chain) < len(table) {
		chain = append(chain, e)
		var p entry
		p, ok = at[e.ppid]
		ok = ok && p.pid != 0 && p.pid != e.pid && p.start <= e.start
		e = p
	}
	return chain
}
