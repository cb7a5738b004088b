//go:build darwin || windows

package platform

import "leash/internal/ledger"

// RemoveLeaf and RemoveLeaves do nothing: there are no cgroups.
func (systemTable) RemoveLeaf(*ledger.Record)      {}
func (systemTable) RemoveLeaves(func(uint64) bool) {}

// NamespaceEnded returns false for all: there are no PID namespaces.
func (systemTable) NamespaceEnded() func(uint64) bool { return func(uint64) bool { return false } }
