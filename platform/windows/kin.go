//go:build windows

package windows

import "time"

// kin is who descends from the worker. Whoever was seen is held by a handle, so
// that his number remains his own, also when he has ended, for as long as
// children of his live.
type kin struct {
	k    *Kernel
	root *handle
	held map[int]*handle
	// strangers are those of the last table who did not descend from him, by
	// number, with their start: nobody gets another parent, so they never will,
	// though their parent's number may become that of one of the tree.
	strangers map[int]uint64
	// enlist is told of each who is new.
	enlist func(*handle)
	list   []int
	at     time.Time
}

// fresh is how long a list is good for. It may be old without harm: each of its
// numbers is held.
const fresh = 5 * time.Millisecond

func newKin(k *Kernel, root *handle) *kin {
	n := &kin{k: k, root: root, held: make(map[int]*handle)}
	if table, err := k.table(); err == nil {
		known := map[int]uint64{root.pid: root.start}
		n.remember(table, known, descend(table, known, nil, k.latest()))
	}
	k.stranger = n.stranger
	return n
}

// remember notes who of a table is a stranger.
func (n *kin) remember(table []entry, known map[int]uint64, found []entry) {
	n.strangers = make(map[int]uint64, len(table))
	for _, e := range table {
		n.strangers[e.pid] = e.start
	}
	for pid := range known {
		delete(n.strangers, pid)
	}
	for _, e := range found {
		delete(n.strangers, e.pid)
	}
}

func (n *kin) stranger(e entry) bool {
	start, ok := n.strangers[e.pid]
	return ok && start == e.start
}

// living lists them, the worker himself not among them.
func (n *kin) living() []int {
	if n.list != nil && time.Since(n.at) < fresh {
		return n.list
	}
	for range 3 { // who is new may have children that are newer than the table
		if !n.look() {
			break
		}
	}
	n.at = time.Now()
	n.list = n.list[:0]
	for pid, h := range n.held {
		if !h.ended() && !isConsoleHost(h.exe) {
			n.list = append(n.list, pid)
		}
	}
	return n.list
}

// look reports whether somebody new was found.
func (n *kin) look() (grown bool) {
	dead := make(map[int]bool)
	known := map[int]uint64{n.root.pid: n.root.start}
	for pid, h := range n.held {
		known[pid] = h.start
		dead[pid] = h.ended() // before the table is read: he has no more children since
	}
	table, err := n.k.table()
	if err != nil {
		return false
	}
	for pid := range dead {
		if dead[pid] && !hasChild(table, pid, known[pid]) {
			n.held[pid].Close()
			delete(n.held, pid)
		}
	}
	found := descend(table, known, n.strangers, n.k.latest())
	n.remember(table, known, found)
	for _, e := range found {
		h, err := n.k.open(e.pid)
		if err != nil || h.start != e.start { // gone already, or may not be looked at: the walk counts him
			if err == nil {
				h.Close()
			}
			continue
		}
		n.held[e.pid], grown = h, true
		if n.enlist != nil {
			n.enlist(h)
		}
	}
	return grown
}

// left reports whether one of those who were seen still runs.
func (n *kin) left() bool {
	for _, h := range n.held {
		if !h.ended() && !isConsoleHost(h.exe) {
			return true
		}
	}
	return false
}

// has reports whether a process is known to be of the tree.
func (n *kin) has(pid int) bool { return pid == n.root.pid || n.held[pid] != nil }

func (n *kin) close() {
	for _, h := range n.held {
		h.Close()
	}
	n.held = nil
}
