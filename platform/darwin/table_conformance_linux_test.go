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
	platformtest.WithoutLedger
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
		return realTable{newRealSystem(k), platformtest.WithoutLedger{SystemTable: table}}
	})
}

func (s realTable) Unused() int { return math.MaxInt32 }
