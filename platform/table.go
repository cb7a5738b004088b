//go:build linux || darwin || windows

package platform

import (
	"errors"
	"os"
	"slices"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/reap"
	"leash/scan"
)

// Table is the process table and the ledger, as the reaper sees them.
type Table struct {
	systemTable
	dirs []*os.File
	// Entries are the records of the last look; Unfinished the files that
	// were never finished; Problems what was passed over.
	Entries    []ledger.Entry
	Unfinished []ledger.Entry
	Problems   []error
	troubles   []error // with the directories
}

// NewTable opens both.
func NewTable() (*Table, error) {
	t, err := newSystemTable()
	if err != nil {
		return nil, err
	}
	dirs, troubles := stateDirs()
	return &Table{systemTable: t, dirs: dirs, troubles: troubles}, nil
}

// Take reads the ledger, then the processes: who is written down in between is
// found without his record, and of him nobody says that he may be ended.
func (t *Table) Take(held []scan.Held) (*scan.Snapshot, error) {
	t.Entries, t.Unfinished, t.Problems = nil, nil, t.troubles
	for _, dir := range t.dirs {
		entries, unfinished, problems := ledger.Read(dir)
		t.own(entries)
		t.Entries = append(t.Entries, entries...)
		t.Problems = append(t.Problems, problems...)
		for _, name := range unfinished {
			t.Unfinished = append(t.Unfinished, ledger.Entry{Dir: dir, File: name})
		}
	}
	records := make([]ledger.Record, len(t.Entries))
	for i := range t.Entries {
		records[i] = t.Entries[i].Record
	}
	s, err := t.systemTable.Take(records, held)
	if err == nil {
		t.Problems = slices.Concat(t.Problems, s.Passed)
	}
	for _, p := range t.Problems {
		if err == nil && scarce(p) {
			s.Torn = p
		}
	}
	return s, err
}

// Open is reap.Table's.
func (t *Table) Open(pid int) (reap.Handle, error) {
	h, err := t.systemTable.Open(pid)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Sweep removes the records that speak for nobody any more, what is left of
// writing some, and the empty cgroups of dead watchdogs, where there are any; also
// those of PID namespaces that have ended as a whole, with all that was in them. named
// says of which runs records may be touched.
func (t *Table) Sweep(s *scan.Snapshot, named func(run string) bool) error {
	var errs []error
	left := make(map[scan.Key]bool) // of whose members the record may tell that their run is dead
	for _, run := range scan.Judge(s, scan.Wish{}) {
		left[run.Key] = true
	}
	gone := t.Gone()
	for i := range t.Entries {
		e := &t.Entries[i]
		stale := scan.Stale(s, &e.Record) && (e.Boot != s.Boot || !left[scan.Key{ID: e.RunID, UID: e.UID}])
		if !named(e.RunID) || !stale && !(e.Boot == s.Boot && gone(e.NS)) {
			continue
		}
		t.RemoveLeaf(&e.Record)
		errs = append(errs, ledger.Remove(e.Dir, e.File))
	}
	for _, e := range t.Unfinished {
		ns, watchdog, ok := ledger.Writer(e.File)
		if ok && (ns == s.NS && t.Life(proc.ID{PID: watchdog.PID, Start: watchdog.Start}) == scan.Dead || gone(ns)) {
			errs = append(errs, ledger.Remove(e.Dir, e.File))
		}
	}
	t.RemoveLeaves(gone)
	return errors.Join(errs...)
}
