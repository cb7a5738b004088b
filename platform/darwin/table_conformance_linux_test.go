//go:build linux

package darwin

import (
	"math"
	"os"
	"testing"

	"leash/platform/hosttest"
)

// realTable is the table over the stand-in, with shells that say what they are
// told to. On a Mac the system hides what its own programs say.
type realTable struct {
	realSystem
	table *Table
}

func TestTableConforms(t *testing.T) {
	hosttest.ConformTable(t, func(t *testing.T) hosttest.TableSystem {
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
		return realTable{realSystem{k}, table}
	})
}

func (s realTable) Table() hosttest.Table { return reaped{s.table} }
func (s realTable) Self() int             { return os.Getpid() }
func (s realTable) Unused() int           { return math.MaxInt32 }

func (s realTable) Open(pid int) (hosttest.TableHandle, error) {
	h, err := s.table.Open(pid)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (s realTable) Labelled(t *testing.T, l hosttest.Labels) hosttest.Process {
	t.Helper()
	return s.shell(t, hosttest.InOurGroup, l)
}
