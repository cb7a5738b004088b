package platform

import (
	"leash/internal/ledger"
	"leash/platform/darwin"
)

type systemTable struct{ *darwin.Table }

func newSystemTable() (t systemTable, err error) {
	k, err := darwin.NewKernel()
	if err != nil {
		return t, err
	}
	t.Table, err = darwin.NewTable(k)
	return t, err
}

func scarce(err error) bool { return darwin.Scarce(err) }

// RemoveLeaf and RemoveLeaves do nothing: there are no cgroups.
func (systemTable) RemoveLeaf(*ledger.Record)      {}
func (systemTable) RemoveLeaves(func(uint64) bool) {}

// NamespaceEnded returns false for all: there are no PID namespaces.
func (systemTable) NamespaceEnded() func(uint64) bool { return func(uint64) bool { return false } }
