package main

import (
	"cmp"
	"log/slog"

	"leash/internal/event"
	"leash/internal/proc"
)

// names are the run ID and worker ID by which a worker is known.
type names struct{ run, worker string }

// naming is how guard came to know them.
type naming struct {
	plain *event.Logger // without any name
	flags names         // what flags and variables say
	own   names         // what the worker said of itself last
	// agreed: the worker says both, and nothing gainsays them.
	agreed bool
	gone   bool // nothing was left of the worker itself when we began
}

// reconcile joins what the flags say of a worker with what it says of itself. Flags
// go first. If they contradict each other, alike is false: then nobody is taken for
// one of its tree by labels.
func reconcile(flags, own names) (is names, alike bool) {
	is = names{cmp.Or(flags.run, own.run), cmp.Or(flags.worker, own.worker)}
	alike = (own.run == "" || own.run == is.run) && (own.worker == "" || own.worker == is.worker)
	return is, alike
}

// name takes what the worker says of itself.
func (w *watchdog) name(own names) {
	w.own = own
	is, alike := reconcile(w.flags, own)
	w.agreed = alike && own.run != "" && own.worker != ""
	if is.run != "" {
		w.runID = is.run
	}
	if w.label = is.worker; alike {
		w.Label(is.run, is.worker)
	} else {
		w.Label("", "")
	}
}

// rename reads the worker's labels again: what started as a wrapper (a shell that
// executes env(1), which executes the worker) may have had none, or those of what
// it was started by. It is done at each scan, for as long as the worker lives: no
// system says which program is its last. Labels that are no more to be had, because
// another program was executed without them or is being executed right now, change
// nothing.
func (w *watchdog) rename() {
	if w.run || w.gone || w.worker.PID == 0 {
		return
	}
	run, worker := w.Labels()
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

// nameLog has all further events say the names that are known now.
func (w *watchdog) nameLog(pid int) {
	common := []slog.Attr{slog.String(event.RunID, w.runID)}
	if w.workerID != "" {
		common = append(common, slog.String(event.WorkerID, w.workerID))
	}
	w.unborn = w.plain.With(common...)
	w.log = w.unborn.With(slog.Int(event.PID, pid))
}

const leftOnly = "the worker has ended already: what is left of its tree is ended"

// nameDead names a worker that is a zombie. It says nothing of itself any more, so the
// labels are those of the flags. Variables are not enough: a watchdog may have
// inherited those of a worker that started it.
func (w *watchdog) nameDead() {
	if w.note, w.label = leftOnly, w.workerID; w.named {
		w.Label(w.runID, w.workerID)
	}
}

// adoptGone takes a worker that was reaped. Without its labels nothing is left by
// which its tree could be known, so there is nothing to guard then.
func (w *watchdog) adoptGone() {
	if w.named && w.AdoptGone(w.workerPID) {
		w.gone = true
		w.worker = proc.Info{ID: proc.ID{PID: w.workerPID}}
		w.nameDead()
	}
}
