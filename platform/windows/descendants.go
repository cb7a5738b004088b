//go:build windows

package windows

import "time"

// descendants are the processes that descend from the worker. Each that was found is
// held by a handle, so that its number remains its own, also when it has ended, for as
// long as children of it live.
type descendants struct {
	k    *Kernel
	root *handle
	held map[int]*handle
	// strangers are the others of the last scan, by number, with their start: nothing gets
	// another parent, so they never will descend from the worker, though their parent's
	// number may become that of one of the tree.
	strangers map[int]uint64
	// enlist is called for each that is new.
	enlist func(*handle)
	list   []int
	at     time.Time
}

// fresh is how long a list is good for. It may be old without harm: each of its
// numbers is held.
const fresh = 5 * time.Millisecond

func newDescendants(k *Kernel, root *handle) *descendants {
	d := &descendants{k: k, root: root, held: make(map[int]*handle)}
	if table, err := k.table(); err == nil {
		known := map[int]uint64{root.pid: root.start}
		d.remember(table, known, descend(table, known, nil, k.latest()))
	}
	return d
}

// remember notes the strangers of a table.
func (d *descendants) remember(table []entry, known map[int]uint64, found []entry) {
	d.strangers = make(map[int]uint64, len(table))
	for _, e := range table {
		d.strangers[e.pid] = e.start
	}
	for pid := range known {
		delete(d.strangers, pid)
	}
	for _, e := range found {
		delete(d.strangers, e.pid)
	}
}

func (d *descendants) stranger(e entry) bool {
	start, ok := d.strangers[e.pid]
	return ok && start == e.start
}

// living lists them, without the worker itself.
func (d *descendants) living() []int {
	if d.list != nil && time.Since(d.at) < fresh {
		return d.list
	}
	for range 3 { // what is new may have children that are newer than the table
		if !d.scan() {
			break
		}
	}
	d.at = time.Now()
	d.list = d.list[:0]
	for pid, h := range d.held {
		if !h.ended() && !isConsoleHost(h.exe) {
			d.list = append(d.list, pid)
		}
	}
	return d.list
}

// scan reports whether a process was found that was not known.
func (d *descendants) scan() (grown bool) {
	dead := make(map[int]bool)
	known := map[int]uint64{d.root.pid: d.root.start}
	for pid, h := range d.held {
		known[pid] = h.start
		dead[pid] = h.ended() // before the table is read: it has no more children since
	}
	table, err := d.k.table()
	if err != nil {
		return false
	}
	for pid := range dead {
		if dead[pid] && !hasChild(table, pid, known[pid]) {
			d.held[pid].Close()
			delete(d.held, pid)
		}
	}
	found := descend(table, known, d.strangers, d.k.latest())
	d.remember(table, known, found)
	for _, e := range found {
		h, err := d.k.open(e.pid)
		if err != nil || h.start != e.start { // it has ended, or may not be opened: stop.Tree counts it
			if err == nil {
				h.Close()
			}
			continue
		}
		d.held[e.pid], grown = h, true
		if d.enlist != nil {
			d.enlist(h)
		}
	}
	return grown
}

// left reports whether one of those that were found still runs.
func (d *descendants) left() bool {
	for _, h := range d.held {
		if !h.ended() && !isConsoleHost(h.exe) {
			return true
		}
	}
	return false
}

// has reports whether a process is the worker, or known to descend from it.
func (d *descendants) has(pid int) bool { return pid == d.root.pid || d.held[pid] != nil }

// hasNow scans before it says whether a process descends from the worker.
func (d *descendants) hasNow(pid int) bool {
	d.list = nil
	d.living()
	return d.held[pid] != nil
}

func (d *descendants) close() {
	for _, h := range d.held {
		h.Close()
	}
	d.held = nil
}
