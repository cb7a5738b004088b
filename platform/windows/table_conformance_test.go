//go:build windows

package windows

import (
	"os"
	"testing"

	"leash/platform/platformtest"
)

// realTable is the table, with actors that say what they are told to.
type realTable struct {
	realSystem
	table *Table
}

func newTestTable(t *testing.T) *Table {
	t.Helper()
	k := newTestKernel(t)
	k.exe = `C:\elsewhere\watchdog.exe` // the actors are not watchdogs
	table, err := NewTable(k)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestTableConforms(t *testing.T) {
	platformtest.ConformTable(t, func(t *testing.T) platformtest.TableSystem {
		table := newTestTable(t)
		return realTable{realSystem{table.Kernel, make(map[int]int)}, table}
	}, "Reuse") // the system gives out the numbers that it likes
}

func (s realTable) Table() platformtest.Table {
	return platformtest.WithoutLedger{SystemTable: s.table}
}
func (s realTable) Self() int   { return os.Getpid() }
func (s realTable) Unused() int { return maxPID &^ 3 }

func (s realTable) Labelled(t *testing.T, l platformtest.Labels) platformtest.Process {
	t.Helper()
	args, env := l.Words()
	return realProcess{startWith(t, "fork", 0, args, env...), s.realSystem}
}
