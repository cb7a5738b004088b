//go:build linux

package linux

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/scan"
)

const leafPrefix = "leash-"

// leaf reports whether a record names a cgroup such as its watchdog makes: the
// record may be hostile, and nothing else is to be read or removed.
func (t *Table) leaf(r *ledger.Record) bool {
	b, err := t.Kernel.readFile(unix.AT_FDCWD, pathOf("/proc/self/mountinfo"))
	if err != nil {
		return false
	}
	_, point := cgroup2Mount(b)
	dir, name := filepath.Split(r.Cgroup)
	if point == "" || filepath.Clean(r.Cgroup) != r.Cgroup || !strings.HasPrefix(dir, point+"/") ||
		!strings.HasPrefix(name, leafPrefix+itoa(r.Watchdog.PID)+"-") {
		return false
	}
	var st unix.Stat_t
	return unix.Lstat(r.Cgroup, &st) == nil && st.Uid == r.UID && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// RemoveLeaf removes the cgroup of a record, if it is empty.
func (t *Table) RemoveLeaf(r *ledger.Record) {
	if r.Cgroup != "" && t.leaf(r) {
		unix.Rmdir(r.Cgroup)
	}
}

// RemoveLeaves removes the empty cgroups beside our own that dead watchdogs
// left. Those with somebody in them the kernel keeps.
func (t *Table) RemoveLeaves() {
	base := t.Kernel.cgroupDir()
	if base == "" {
		return
	}
	entries, _ := os.ReadDir(base)
	for _, e := range entries {
		if pid, tick, ok := leafOf(e.Name()); ok && e.IsDir() && t.leafless(pid, tick) {
			unix.Rmdir(base + "/" + e.Name())
		}
	}
}

// leafOf reads the PID of the watchdog that made a leaf, and when it did.
func leafOf(name string) (pid int, tick uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, leafPrefix)
	left, right, two := strings.Cut(rest, "-")
	p, ok1 := number([]byte(left))
	tick, ok2 := number([]byte(right))
	return int(p), tick, ok && two && ok1 && ok2 && p > 0 && p < 1<<31
}

// leafless reports whether a leaf's watchdog is certainly gone: its number is
// nobody's, or that of somebody who started later than the leaf was made.
func (t *Table) leafless(pid int, tick uint64) bool {
	if t.Life(proc.ID{PID: pid}) == scan.Dead {
		return true
	}
	info, err := t.Kernel.lookAt(pid)
	return err == nil && info.Start > tick
}
