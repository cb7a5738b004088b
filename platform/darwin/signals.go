package darwin

import (
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Listen has the signals to the watchdog come in by Wait. With forward they are
// meant for the worker.
func (h *Host) Listen(forward bool) error {
	h.forward = forward
	return h.launcher.Listen(h.tell)
}

// tell is called by another goroutine.
func (h *Host) tell(s proc.Signal) {
	h.mu.Lock()
	h.inbox = append(h.inbox, s)
	h.mu.Unlock()
	// Not by loop: that is for one goroutine. It needs no answer.
	h.loop.q.Kevent([]kevent{{Ident: wakeIdent, Filter: filterUser, Fflags: noteTrigger}}, nil, 0)
}

func (h *Host) readSignals() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.inbox {
		h.signalled(s)
	}
	h.inbox = h.inbox[:0]
}

func (h *Host) signalled(s proc.Signal) {
	// We may have been stopped, just when a parent died. The ending sends SIGCONT
	// itself, so that it is not passed on then.
	if s.Name == "SIGCONT" && h.lookAtParents(h.how()) {
		return
	}
	if role := h.role(s.Name); role != watch.Ignored {
		h.events = append(h.events, watch.Signalled{Signal: s, Role: role})
	}
}

// how names our way of knowing that a parent has died.
func (h *Host) how() string {
	if h.backend == "poll" {
		return "poll"
	}
	return "kqueue"
}

func (h *Host) role(name string) watch.Role {
	switch name {
	case "SIGTERM", "SIGINT":
		return watch.Ends
	case "SIGTSTP", "SIGTTIN", "SIGTTOU":
		if h.forward {
			return watch.Suspends
		}
	case "SIGQUIT":
		if !h.forward {
			return watch.Ends
		}
	case "SIGPIPE", "SIGCHLD": // raised by our own log, and by the worker's end
		return watch.Ignored
	}
	if h.forward {
		return watch.Forwarded
	}
	return watch.Ignored
}

// Suspend stops the worker, then ourselves until somebody continues us. The
// worker's group is an orphaned one, in which SIGTSTP stops nobody by default:
// so it gets SIGSTOP unless it handles the signal itself.
func (h *Host) Suspend(s proc.Signal) []stop.Sent {
	var sent []stop.Sent
	if !h.exited {
		if e, err := h.worker.entry(); err != nil || !e.catches(s.Num) {
			s = h.launcher.Signal("SIGSTOP")
		}
		sent = h.tree.Forward(s)
	}
	h.launcher.StopSelf()
	// SIGCONT, which ended that, comes in as a signal and is forwarded.
	return sent
}
