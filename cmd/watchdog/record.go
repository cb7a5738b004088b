package main

import (
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"leash/internal/event"
	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// record is our entry in the ledger. No want of it ever stops the watch.
type record struct {
	ledger.Record
	// dir stays open, so that the record is removed where it was written, and
	// the ending need not look for the place again. nil: there is none.
	dir   *os.File
	saved bool
	// renamed: it is not written yet that the worker has other labels.
	renamed bool
	warned  bool
	// due is when the ending is to be written down; 0 if it is not.
	due time.Duration
}

// settle is how long an ending may last before it is written down. Most are
// over by then, and a thousand at once have better things to do.
const settle = 50 * time.Millisecond

const (
	noRecord = "the reaper will find no record of this worker: LEASH_STATE_DIR must name a folder of yours " +
		"that nobody else may write in and that is not full, and the folder above it must exist; the watch goes on"
	noIdentity  = "the reaper will find no record of this worker, for it cannot be said which process it is; the watch goes on"
	staleRecord = "the record of this worker could not be removed: delete it, or leave it to the reaper"
)

// enter writes the record, before anybody is told that the watch has begun.
// With a parent that was dead at the start, the worker is being ended already.
func (w *watchdog) enter(dead bool) error {
	r, err := w.Record()
	if err != nil {
		return unnamed{err}
	}
	r.RunID, r.WorkerID, r.Ending = w.runID, w.label, dead
	for _, pid := range w.parents { // of the dead only the number is known
		if !slices.ContainsFunc(r.Parents, func(id proc.ID) bool { return id.PID == pid }) {
			r.Parents = append(r.Parents, proc.ID{PID: pid})
		}
	}
	w.record.Record = r
	if w.record.dir == nil {
		if w.record.dir, err = w.StateDir(); err != nil {
			return err
		}
	}
	return w.save()
}

func (w *watchdog) save() error {
	w.record.due = 0
	err := ledger.Save(w.record.dir, &w.record.Record)
	w.record.saved = w.record.saved || err == nil
	w.record.renamed = w.record.renamed && err != nil
	return err
}

// unnamed is why a record has nothing to say. The folder is not to blame.
type unnamed struct{ error }

// warn tells of the first failure only.
func (w *watchdog) warn(text string, err error) {
	if err == nil || w.record.warned {
		return
	}
	w.record.warned = true
	if _, ok := err.(unnamed); ok {
		text = noIdentity
	}
	w.Log(watch.Record{Event: event.WatchdogWarning, Text: text, Warn: true, Attrs: []slog.Attr{
		slog.String(event.Error, strings.ReplaceAll(err.Error(), "\n", "; ")),
	}})
}

// Survey is watch.Host's.
func (w *watchdog) Survey() {
	w.rename()
	w.Host.Survey()
	if w.record.dir == nil {
		return
	}
	// What is not written down stays as it was, so that whoever was born before
	// this look, and not found by it, is still younger than the record next time.
	fresh := w.record.Record
	if stale := w.Refresh(&fresh); stale || !w.record.saved || w.record.renamed {
		w.record.Record = fresh
		w.warn(noRecord, w.save())
	}
}

// Ask, AskWorker and Force are watch.Host's: the signals first, the record afterwards.
func (w *watchdog) Ask(s proc.Signal) []stop.Sent {
	w.lastLook()
	sent := w.Host.Ask(s)
	w.ends()
	return sent
}

func (w *watchdog) AskWorker(s proc.Signal, group bool) []stop.Sent {
	w.lastLook()
	sent := w.Host.AskWorker(s, group)
	w.ends()
	return sent
}

// lastLook reads the worker's labels: once it is dead, nothing can be read any more.
func (w *watchdog) lastLook() {
	if !w.agreed {
		w.rename()
	}
}

func (w *watchdog) Force() []stop.Sent {
	sent := w.Host.Force()
	w.ends()
	return sent
}

func (w *watchdog) ends() {
	if r := &w.record; r.dir != nil && !r.Ending {
		r.Ending = true
		w.Refresh(&r.Record)
		r.due = w.Now() + settle
	}
}

// Wait is watch.Host's.
func (w *watchdog) Wait(deadline time.Duration, timed bool) ([]watch.Event, error) {
	if due := w.record.due; due != 0 && (!timed || due < deadline) {
		if events, err := w.Host.Wait(due, true); err != nil || len(events) > 0 {
			return events, err
		}
		w.warn(noRecord, w.save())
	}
	return w.Host.Wait(deadline, timed)
}

// ended removes the record, or keeps it for those who survived.
func (w *watchdog) ended(survivors bool) {
	switch {
	case w.record.dir == nil:
	case !survivors && w.record.saved:
		w.record.saved, w.record.due = false, 0
		w.warn(staleRecord, ledger.Remove(w.record.dir, w.record.Name()))
	case survivors && w.record.due != 0:
		w.warn(noRecord, w.save())
	}
}
