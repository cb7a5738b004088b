package main

import (
	"cmp"
	"log/slog"

	"leash/internal/event"
	"leash/internal/ledger"
	"leash/internal/proc"
)

// names are the run ID and worker ID of a worker.
type names struct{ run, worker string }

// known is the part of watch.Worker that reads and sets labels.
type known interface {
	Labels() (run, worker string)
	Label(run, worker string)
	Refresh(*ledger.Record) (stale bool)
}

// naming is where guard has the names from.
type naming struct {
	known known
	plain *event.Logger // without any name
	flags names         // what flags and variables say
	own   names         // the worker's labels when they were read last
	// agreed: the worker has both labels, and they do not contradict the flags.
	agreed bool
	gone   bool // the worker had been reaped when the watchdog started
}

// reconcile joins the names in the flags with the worker's own labels. Flags take precedence.
// If they contradict each other alike is false: then no process is taken for one of the
// worker's tree by its labels.
func reconcile(flags, own names) (is names, alike bool) {
	is = names{cmp.Or(flags.run, own.run), cmp.Or(flags.worker, own.worker)}
	alike = (own.run == "" || own.run == is.run) && (own.worker == "" || own.worker == is.worker)
	return is, alike
}

// name takes the worker's own labels.
func (w *watchdog) name(own names) {
	w.own = own
	is, alike := reconcile(w.flags, own)
	w.agreed = alike && own.run != "" && own.worker != ""
	if is.run != "" {
		w.runID = is.run
	}
	if w.label = is.worker; alike {
		w.known.Label(is.run, is.worker)
	} else {
		w.known.Label("", "")
	}
}

// rename reads the worker's labels again: a wrapper (a shell that executes env(1), which
// executes the worker) may have none, or those of its parent. It is done at each scan, since
// the process may execute another program at any time. If there are no labels any more,
// because another program was executed without them or is being executed, nothing changes.
func (w *watchdog) rename() {
	if w.run || w.gone || w.worker.PID == 0 {
		return
	}
	run, worker := w.known.Labels()
	own := names{run, worker}
	if own == w.own || own == (names{}) || own.worker == "" && own.run == w.own.run {
		return
	}
	before := names{w.runID, w.label}
	w.name(own)
	if (before == names{w.runID, w.label}) {
		return
	}
	w.nameLog(w.worker.PID)
	w.record.RunID, w.record.WorkerID, w.record.renamed = w.runID, w.label, true
}

// nameLog adds the names that are known now to all further events.
func (w *watchdog) nameLog(pid int) {
	common := []slog.Attr{slog.String(event.RunID, w.runID)}
	if w.workerID != "" {
		common = append(common, slog.String(event.WorkerID, w.workerID))
	}
	w.unborn = w.plain.With(common...)
	w.log = w.unborn.With(slog.Int(event.PID, pid))
}

const leftOnly = "the worker has ended already: what is left of its tree is ended"

// nameDead names a worker that is a zombie. Its own labels cannot be read any more, so those
// of the flags are used. Variables are not enough: a watchdog may have inherited those of a
// worker that started it.
func (w *watchdog) nameDead() {
	if w.note, w.label = leftOnly, w.workerID; w.named {
		w.known.Label(w.runID, w.workerID)
	}
}

// adoptGone takes a worker that was reaped. Only labels can identify its tree, so without
// them there is nothing to guard.
func (w *watchdog) adoptGone() {
	if w.named && w.AdoptGone(w.workerPID) {
		w.gone = true
		w.worker = proc.Info{ID: proc.ID{PID: w.workerPID}}
		w.nameDead()
	}
}
