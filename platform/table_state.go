//go:build linux || darwin || windows

package platform

import (
	"leash/internal/ledger"
)

// Counts is the sum of what all watchdogs have counted whose records and totals can be read.
// It is of the last scan's records.
func (t *Table) Counts() (sum ledger.Counts) {
	for _, dir := range t.dirs {
		var entries []ledger.Entry
		for _, e := range t.entries {
			if e.Dir == dir {
				entries = append(entries, e)
			}
		}
		sum.Add(ledger.Total(dir, entries))
	}
	return sum
}

// LastReap returns what the last reap of this user did; false if none was kept.
func (t *Table) LastReap() (last ledger.LastReap, ok bool) {
	for _, dir := range t.dirs {
		if l, found := ledger.ReadReap(dir); found && (!ok || l.At.After(last.At)) {
			last, ok = l, true
		}
	}
	return last, ok
}

// KeepReap keeps what a reap did in the state folder.
func KeepReap(l *ledger.LastReap) error {
	dir, err := StateDir()
	if err != nil {
		return err
	}
	defer dir.Close()
	return ledger.SaveReap(dir, l)
}

// CheckLedger returns an error if no record can be written.
func CheckLedger() error {
	dir, err := StateDir()
	if err != nil {
		return err
	}
	defer dir.Close()
	return probe(dir)
}
