package reap

import (
	"errors"

	"leash/internal/snapshot"
	"leash/scan"
)

// Sweep removes from the ledger the records that are evidence for no process any more,
// files that were never finished, and the empty cgroups of dead watchdogs; also those of
// PID namespaces that have ended. s is the last snapshot, and covers reports whether
// records of a run may be touched.
func Sweep(system System, s *snapshot.Snapshot, covers func(run string) bool) error {
	var errs []error
	left := make(map[snapshot.Key]bool) // their record may prove that their run is dead
	for _, run := range scan.Judge(s, scan.Request{}) {
		left[run.Key] = true
	}
	ended := system.NamespaceEnded()
	for i := range s.Records {
		rec := &s.Records[i]
		stale := scan.Stale(s, rec) && (rec.Boot != s.Boot || !left[snapshot.Key{ID: rec.RunID, UID: rec.UID}])
		if covers(rec.RunID) && (stale || rec.Boot == s.Boot && ended(rec.NS)) {
			errs = append(errs, system.RemoveRecord(i))
		}
	}
	for i, u := range s.Unfinished {
		if u.NS == s.NS && system.Life(u.Watchdog) == snapshot.Dead || ended(u.NS) {
			errs = append(errs, system.RemoveUnfinished(i))
		}
	}
	system.RemoveLeaves(ended)
	return errors.Join(errs...)
}
