//go:build linux

package darwin

import (
	"math"
	"os"
	"testing"

	"leash/platform/platformtest"
)

// realTable is the table over the stand-in, with shells that say what they are
// told to. On a Mac the system hides what its own programs say.
type realTable struct {
	realSystem
	table *Table
}

func newStandInTable(t *testing.T) (*Kernel, *Table) {
	t.Helper()
	s := newStandIn(t)
	k, err := newKernel(s)
	if err != nil {
		t.Fatal(err)
	}
	k.dir, k.name = "/nowhere/", "none" // else we are the watchdog of what we start
	table, err := newTable(k, s, uint32(os.Geteuid()))
	if err != nil {
		t.Fatal(err)
	}
	return k, table
}

func TestTableConforms(t *testing.T) {
	platformtest.ConformTable(t, func(t *testing.T) platformtest.TableSystem {
		k, table := newStandInTable(t)
		return realTable{realSystem{k}, table}
	})
}

func (s realTable) Table() platformtest.Table {
	return platformtest.WithoutLedger{SystemTable: s.table}
}
func (s realTable) Self() int   { return os.Getpid() }
func (s realTable) Unused() int { return math.MaxInt32 }

func (s realTable) Labelled(t *testing.T, l platformtest.Labels) platformtest.Process {
	t.Helper()
	return s.shell(t, platformtest.InOurGroup, l)
}
