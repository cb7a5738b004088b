//go:build linux

package linux

import (
	folder "path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

const leafPrefix = "leash-"

// leafName names the cgroup of one watchdog's worker. A PID means nothing without its PID
// namespace, and the cgroups of several namespaces may be in one folder.
func leafName(ns uint64, pid int, tick uint64) string {
	return leafPrefix + strconv.FormatUint(ns, 10) + "-" + itoa(pid) + "-" + strconv.FormatUint(tick, 10)
}

// leaf is leafAt, for one record.
func (t *Table) leaf(r *ledger.Record) bool { return leafAt(r, t.mountPoint()) }

func isLeaf(name string, ns uint64, watchdog int) bool {
	gotNS, pid, _, ok := leafOf(name)
	return ok && gotNS == ns && pid == watchdog
}

// RemoveLeaf removes the cgroup of a record, if it is empty.
func (t *Table) RemoveLeaf(r *ledger.Record) {
	if r.Cgroup != "" && t.leaf(r) {
		unix.Rmdir(r.Cgroup)
	}
}

// RemoveLeaves removes the empty cgroups below and beside our own that dead watchdogs left, and
// those of PID namespaces that have ended. The kernel refuses to remove one that has a process.
func (t *Table) RemoveLeaves(ended func(ns uint64) bool) {
	for _, base := range t.leafFolders() {
		eachFolder(base, func(name string) bool {
			ns, pid, tick, ok := leafOf(name)
			if ok && (ns == t.ns && t.leafless(pid, tick) || ended(ns)) {
				if c := openCgroup(base + "/" + name); c != nil {
					c.remove()
				}
			}
			if pid, ok := asideOf(name); ok && t.Life(proc.ID{PID: pid}) == snapshot.Dead {
				unix.Rmdir(base + "/" + name)
			}
			return true
		})
	}
}

// leafFolders are those in which watchdogs that were started where we are make their leaves:
// our own cgroup and, for leaves with limits, the one above.
func (t *Table) leafFolders() []string {
	base := t.Kernel.cgroupDir()
	if base == "" {
		return nil
	}
	if base == t.mountPoint() {
		return []string{base}
	}
	return []string{base, folder.Dir(base)}
}

// asideOf parses the name of a leaf that a watchdog has moved into (moveAside).
func asideOf(name string) (pid int, ok bool) {
	text, ok := strings.CutPrefix(name, asidePrefix)
	n, number := number([]byte(text))
	return int(n), ok && number && n > 0 && n < 1<<31
}

// leafOf parses a name made by leafName.
func leafOf(name string) (ns uint64, pid int, tick uint64, ok bool) {
	f := strings.Split(name, "-")
	if len(f) != 4 || f[0]+"-" != leafPrefix {
		return 0, 0, 0, false
	}
	ns, ok1 := number([]byte(f[1]))
	p, ok2 := number([]byte(f[2]))
	tick, ok3 := number([]byte(f[3]))
	if !ok1 || !ok2 || !ok3 || p == 0 || p >= 1<<31 {
		return 0, 0, 0, false
	}
	return ns, int(p), tick, true
}

// leafless reports whether a leaf's watchdog is certainly dead: no process has its PID, or one
// that started after the leaf was made.
func (t *Table) leafless(pid int, tick uint64) bool {
	if t.Life(proc.ID{PID: pid}) == snapshot.Dead {
		return true
	}
	info, err := t.Kernel.lookAt(pid)
	return err == nil && info.Start > tick
}
