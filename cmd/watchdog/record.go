package main

import (
	"log/slog"
	"os"
	"slices"
	"strings"

	"leash/internal/event"
	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/platform"
	"leash/watch"
)

// record is the watchdog's entry in the ledger. The watch goes on without it if it cannot be
// written.
type record struct {
	ledger.Record
	// dir stays open, so that the record is removed where it was written, without
	// opening the folder again. nil: there is none.
	dir   *os.File
	saved bool
	// renamed: the worker's new labels are not written yet.
	renamed bool
	warned  bool
}

const (
	noRecord = "the reaper will find no record of this worker: LEASH_STATE_DIR must name a folder of yours " +
		"that no other user may write in and that is not full, and the folder above it must exist; guarding goes on"
	noIdentity  = "the reaper will find no record of this worker, because its identity is not known; guarding goes on"
	staleRecord = "the record of this worker could not be removed: delete it, or leave it to the reaper"
)

// enter writes the record, before the event that the watch has begun. If a parent was dead at
// the start the record says that the worker is being ended.
func (w *watchdog) enter(dead bool) error {
	r, err := w.Record()
	if err != nil {
		return unnamed{err}
	}
	r.RunID, r.WorkerID, r.Ending = w.runID, w.label, dead
	for _, pid := range w.parents { // only the PID of a dead parent is known
		if !slices.ContainsFunc(r.Parents, func(id proc.ID) bool { return id.PID == pid }) {
			r.Parents = append(r.Parents, proc.ID{PID: pid})
		}
	}
	r.Part = w.part
	w.record.Record = r
	if w.record.dir == nil {
		if w.record.dir, err = platform.StateDir(); err != nil {
			return err
		}
	}
	return w.save()
}

func (w *watchdog) save() error {
	if w.Worker != nil {
		w.Tallied(&w.record.Record)
	}
	err := ledger.Save(w.record.dir, &w.record.Record)
	w.record.saved = w.record.saved || err == nil
	w.record.renamed = w.record.renamed && err != nil
	return err
}

// unnamed marks an error of Worker.Record, for which the state folder is not the reason.
type unnamed struct{ error }

// warn reports the first failure only.
func (w *watchdog) warn(text string, err error) {
	if err == nil || w.record.warned {
		return
	}
	w.record.warned = true
	if _, ok := err.(unnamed); ok {
		text = noIdentity
	}
	w.Log(watch.Record{Event: event.WatchdogWarning, Text: text, Level: slog.LevelWarn, Attrs: []slog.Attr{
		slog.String(event.Error, strings.ReplaceAll(err.Error(), "\n", "; ")),
	}})
}

// ReadLabels implements watch.Host: a wrapper may have executed another program. Before an
// ending labels are read only if some are missing, or contradict the flags, because reading
// the memory of a process can take long.
func (w *watchdog) ReadLabels(last bool) {
	if !last || !w.agreed {
		w.rename()
	}
}

// UpdateRecord writes the record if it is out of date. If it is not written Seen stays as it
// was, so that a process that was started before this scan, and not found by it, is still
// younger than the record next time.
func (w *watchdog) UpdateRecord() {
	if w.record.dir == nil {
		return
	}
	fresh := w.record.Record
	if stale := w.known.Refresh(&fresh); stale || !w.record.saved || w.record.renamed {
		w.record.Record = fresh
		w.SaveRecord()
	}
}

// MarkRecord notes that the ending has begun.
func (w *watchdog) MarkRecord() {
	if w.record.dir != nil {
		w.record.Ending = true
		w.known.Refresh(&w.record.Record)
	}
}

// SaveRecord writes the record.
func (w *watchdog) SaveRecord() {
	if w.record.dir != nil {
		w.warn(noRecord, w.save())
	}
}

// RemoveRecord removes the record of a worker whose tree has ended.
func (w *watchdog) RemoveRecord() {
	w.fold()
	if w.record.saved {
		w.record.saved = false
		w.warn(staleRecord, ledger.Remove(w.record.dir, w.record.Name()))
	}
}

// fold adds to the totals what was counted since the last time. Where that fails the counts are
// lost, and nothing else.
func (w *watchdog) fold() {
	if w.Worker != nil && w.record.dir != nil && w.record.Worker.PID != 0 {
		w.Tallied(&w.record.Record)
		if ledger.Fold(w.record.dir, &w.record.Record) == nil {
			w.Folded()
		}
	}
}
