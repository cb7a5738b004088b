package watch

import (
	"leash/internal/stop"
	"leash/internal/system"
)

// ListenForBeats opens the socket or pipe for heartbeats and returns its address for the
// worker's environment. If address is empty the name is chosen here. others: the worker
// may belong to another user.
func (w *Worker) ListenForBeats(address string, others bool) (string, error) {
	ears, err := w.Sys.ListenForBeats(system.Beats{Address: address, Others: others, Owner: w,
		Worker: func() system.Handle { return w.worker }, Belongs: w.belongs})
	if err != nil {
		return "", err
	}
	w.ears = ears
	return ears.Address(), nil
}

// belongs reports whether a sender is in the worker's tree. The hang command is not,
// although it may be a descendant of the same subreaper.
func (w *Worker) belongs(pid int, h stop.Handle) bool {
	if w.worker == nil || w.hook != nil && w.isHook(pid) {
		return false
	}
	return w.tree.Contains(h) || w.hold.Holds(h, w.parentHandles())
}

func (w *Worker) isHook(pid int) bool {
	info, err := w.hook.h.Info()
	return err == nil && info.PID == pid
}
