package watch

import (
	"slices"

	"leash/internal/proc"
	"leash/internal/stop"
)

// signalled turns a signal to the watchdog into events.
func (w *Worker) signalled(s proc.Signal) {
	if s == stop.CONT {
		if w.ears != nil { // first: messages that are read with it waited while the watchdog was stopped
			w.events = slices.Insert(w.events, 0, Event(Resumed{}))
		}
		// The watchdog may have been stopped when a parent died; on Linux the signal also
		// means that one may have (PR_SET_PDEATHSIG). The ending sends SIGCONT itself, so
		// it is not passed on then.
		if w.checkParents(w.how()) {
			return
		}
	}
	if role := roleOf(s, w.child); role != Ignored {
		w.events = append(w.events, Signalled{Signal: s, Role: role})
	}
}

// roleOf is what a signal to the watchdog means. owns: the watchdog started the worker.
func roleOf(s proc.Signal, owns bool) Role {
	switch s.Name {
	case "SIGTERM", "SIGINT":
		return Ends
	case "SIGTSTP", "SIGTTIN", "SIGTTOU":
		if owns {
			return Suspends
		}
	case "SIGQUIT":
		if !owns {
			return Ends
		}
	}
	if owns {
		return Forwarded
	}
	return Ignored
}

// Suspend stops the worker, then the watchdog until it is continued. The worker's
// process group is orphaned, so that SIGTSTP does not stop it by default (setpgid(2)): it
// gets SIGSTOP unless the worker handles the signal. A watchdog whose parent has exited
// does not stop: nothing would continue it.
func (w *Worker) Suspend(s proc.Signal) []stop.Sent {
	var sent []stop.Sent
	if w.worker != nil && !w.exited {
		if !w.worker.Catches(s) {
			s = stop.STOP
		}
		sent = w.tree.Forward(s)
	}
	w.Sys.Suspend(w.orphaned)
	// The SIGCONT that continued the watchdog, or came before it stopped, is an event and
	// is forwarded.
	return sent
}
