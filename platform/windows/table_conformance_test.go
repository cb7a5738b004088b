//go:build windows

package windows

import (
	"os"
	"testing"

	"leash/platform/hosttest"
	"leash/scan"
)

// realTable is the table, with actors that say what they are told to.
type realTable struct {
	realSystem
	table *Table
}

// taker is the table as package platform completes it.
type taker struct{ *Table }

func (r taker) Take(held []scan.Held) (*scan.Snapshot, error) { return r.Table.Take(nil, held) }

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
	hosttest.ConformTable(t, func(t *testing.T) hosttest.TableSystem {
		table := newTestTable(t)
		return realTable{realSystem{table.Kernel, make(map[int]int)}, table}
	}, "Reuse") // the system gives out the numbers that it likes
}

func (s realTable) Table() hosttest.Table { return taker{s.table} }
func (s realTable) Self() int             { return os.Getpid() }
func (s realTable) Unused() int           { return maxPID &^ 3 }

func (s realTable) Open(pid int) (hosttest.TableHandle, error) {
	h, err := s.table.Open(pid)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (s realTable) Labelled(t *testing.T, l hosttest.Labels) hosttest.Process {
	t.Helper()
	args, env := l.Words()
	return realProcess{startWith(t, "fork", 0, args, env...), s.realSystem}
}
