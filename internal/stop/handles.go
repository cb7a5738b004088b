package stop

// Handles appends those of the processes that were part of the tree at the last scan.
func (t *Tree) Handles(to []Handle) []Handle {
	if t.Root != nil && !t.rootDead {
		to = append(to, t.Root)
	}
	for _, m := range t.list {
		if m.counts() {
			to = append(to, m.h)
		}
	}
	return to
}
