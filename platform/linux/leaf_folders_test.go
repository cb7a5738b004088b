//go:build linux

package linux

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// Leaves with limits are beside the cgroup that the watchdog was started in.
func TestLeavesBesideAreRemoved(t *testing.T) {
	table, base := ownBase(t)
	beside := filepath.Dir(base)
	gone := []string{
		mkdir(t, filepath.Join(beside, leafName(table.ns, math.MaxInt32, 1))),
		mkdir(t, filepath.Join(beside, asidePrefix+itoa(math.MaxInt32))),
	}
	kept := []string{
		mkdir(t, filepath.Join(beside, asidePrefix+itoa(os.Getpid()))),
		mkdir(t, filepath.Join(beside, leafName(table.ns, os.Getpid(), table.Tick()))),
	}
	t.Cleanup(func() {
		for _, dir := range append(gone, kept...) {
			os.Remove(dir)
		}
	})
	table.RemoveLeaves(func(uint64) bool { return false })
	for _, dir := range gone {
		if exists(dir) {
			t.Errorf("%s is left", dir)
		}
	}
	for _, dir := range kept {
		if !exists(dir) {
			t.Errorf("%s of a living process was removed", dir)
		}
	}
}
