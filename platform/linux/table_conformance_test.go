//go:build linux

package linux

import (
	"os"
	"testing"

	"leash/platform/platformtest"
)

// realTable is the table, with shells that have the labels they are given.
type realTable struct {
	realSystem
	table *Table
}

func TestTableConforms(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		platformtest.ConformTable(t, func(t *testing.T) platformtest.TableSystem {
			return realTable{realSystem{k}, newTestTable(t, k)}
		})
	})
}

func (s realTable) Table() platformtest.Table {
	return platformtest.WithoutLedger{SystemTable: s.table}
}
func (s realTable) Self() int   { return os.Getpid() }
func (s realTable) Blind() bool { return !s.k.PIDFDs }
func (s realTable) Unused() int { return s.k.Highest() + 1 }

func (s realTable) Labelled(t *testing.T, l platformtest.Labels) platformtest.Process {
	t.Helper()
	return s.shell(t, platformtest.InOurGroup, l)
}
