package platform

import (
	"errors"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/scan"
)

// Sweep removes the records that speak for nobody any more, what is left of
// writing some, and the empty cgroups of dead watchdogs. named says of which
// runs records may be touched.
func (t *Table) Sweep(s *scan.Snapshot, named func(run string) bool) error {
	var errs []error
	left := make(map[scan.Key]bool) // of whose members the record may tell that their run is dead
	for _, run := range scan.Judge(s, scan.Wish{}) {
		left[run.Key] = true
	}
	for i := range t.Entries {
		e := &t.Entries[i]
		if !named(e.RunID) || !scan.Stale(s, &e.Record) || e.Boot == s.Boot && left[scan.Key{ID: e.RunID, UID: e.UID}] {
			continue
		}
		t.RemoveLeaf(&e.Record)
		errs = append(errs, ledger.Remove(e.Dir, e.File))
	}
	for _, e := range t.Unfinished {
		ns, watchdog, ok := ledger.Writer(e.File)
		if ok && ns == s.NS && t.Life(proc.ID{PID: watchdog.PID, Start: watchdog.Start}) == scan.Dead {
			errs = append(errs, ledger.Remove(e.Dir, e.File))
		}
	}
	t.RemoveLeaves()
	return errors.Join(errs...)
}
