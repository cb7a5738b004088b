//go:build linux || darwin || windows

package platform

import (
	"os"
	"slices"

	"leash/internal/ledger"
	"leash/internal/snapshot"
)

// Table is the process table and the ledger. It implements reap.System.
type Table struct {
	systemTable
	dirs []*os.File
	// Problems says what the last scan could not read.
	Problems []error

	troubles   []error        // with the state folders
	entries    []ledger.Entry // the last scan's Records, one by one
	unfinished []ledger.Entry // and Unfinished
}

// NewTable opens the process table and the ledger.
func NewTable() (*Table, error) {
	t, err := newSystemTable()
	if err != nil {
		return nil, err
	}
	dirs, troubles := stateDirs()
	return &Table{systemTable: t, dirs: dirs, troubles: troubles}, nil
}

// openTable opens the table of a kernel.
func openTable[K, T any](kernel func() (K, error), table func(K) (T, error)) (t T, err error) {
	k, err := kernel()
	if err != nil {
		return t, err
	}
	return table(k)
}

// Take reads the ledger and then the processes. A worker that is recorded in between is found
// without its record, and so with less evidence, never with more.
func (t *Table) Take(held []snapshot.Held) (*snapshot.Snapshot, error) {
	t.entries, t.unfinished, t.Problems = nil, nil, t.troubles
	var writers []snapshot.Unfinished
	for _, dir := range t.dirs {
		entries, unfinished, problems := ledger.Read(dir)
		t.own(entries)
		t.entries = append(t.entries, entries...)
		t.Problems = slices.Concat(t.Problems, problems)
		for _, name := range unfinished {
			if ns, watchdog, ok := ledger.Writer(name); ok {
				t.unfinished = append(t.unfinished, ledger.Entry{Dir: dir, File: name})
				writers = append(writers, snapshot.Unfinished{NS: ns, Watchdog: watchdog})
			}
		}
	}
	records := make([]ledger.Record, len(t.entries))
	for i := range t.entries {
		records[i] = t.entries[i].Record
	}
	s, err := t.systemTable.Take(records, held)
	if err != nil {
		return nil, err
	}
	s.Unfinished = writers
	t.Problems = slices.Concat(t.Problems, s.Passed)
	for _, p := range t.Problems {
		if scarce(p) {
			s.Incomplete = p
		}
	}
	return s, nil
}

// RemoveRecord removes a record of the last scan, by its index in Records, and the
// cgroup that it names if that is empty.
func (t *Table) RemoveRecord(i int) error {
	e := &t.entries[i]
	t.RemoveLeaf(&e.Record)
	ledger.Fold(e.Dir, &e.Record) // where that fails its counts are lost
	return ledger.Remove(e.Dir, e.File)
}

// RemoveUnfinished removes a file of the last scan, by its index in Unfinished.
func (t *Table) RemoveUnfinished(i int) error {
	return ledger.Remove(t.unfinished[i].Dir, t.unfinished[i].File)
}
