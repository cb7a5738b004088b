//go:build linux

package linux

import (
	"os"
	"testing"

	"leash/platform/hosttest"
	"leash/scan"
)

// realTable is the table, with shells that say what they are told to.
type realTable struct {
	realSystem
	table *Table
}

// taker is the table as package platform completes it.
type taker struct{ *Table }

func (r taker) Take(held []scan.Held) (*scan.Snapshot, error) { return r.Table.Take(nil, held) }

func TestTableConforms(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		hosttest.ConformTable(t, func(t *testing.T) hosttest.TableSystem {
			return realTable{realSystem{k}, newTestTable(t, k)}
		})
	})
}

func (s realTable) Table() hosttest.Table { return taker{s.table} }
func (s realTable) Self() int             { return os.Getpid() }
func (s realTable) Blind() bool           { return !s.k.PIDFDs }
func (s realTable) Unused() int           { return s.k.Highest() + 1 }

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
