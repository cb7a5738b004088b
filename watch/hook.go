package watch

import (
	"fmt"

	"leash/internal/proc"
	"leash/internal/system"
)

// hook is the command that is run for a hung worker.
type hook struct {
	w *Worker
	h system.Handle
}

// RunHook starts the hang command.
func (w *Worker) RunHook(c system.Command) error {
	h, err := w.Sys.StartHook(c)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	w.dropHook() // the end of the previous worker's command may not have been reported yet
	w.hook = &hook{w, h}
	w.hold.HookStarted()
	if err := w.Sys.Watch(h, w.hook); err != nil { // there will be no event at its end
		w.blind = true
	}
	return nil
}

// EndHook kills the hang command's process group. HookEnded follows as usual.
func (w *Worker) EndHook() {
	if w.hook != nil {
		w.hook.h.SignalGroup(proc.KILL)
	}
}

// dropHook kills it too; no HookEnded follows.
func (w *Worker) dropHook() {
	if w.hook != nil {
		w.EndHook()
		w.hook.h.Close()
		w.hook = nil
	}
}

// checkHook polls for its end.
func (w *Worker) checkHook() {
	if w.hook != nil && gone(w.hook.h.Info()) {
		w.hookEnded(w.hook)
	}
}

// hookEnded adds the event of its end, and kills what is left of its group.
func (w *Worker) hookEnded(k *hook) {
	if w.hook != k {
		return
	}
	w.EndHook()
	exit, _ := k.h.Exit()
	k.h.Close()
	w.hook = nil
	var err error
	if status := exit.Status(); status != 0 {
		err = fmt.Errorf("the command ended with status %d", status)
	}
	w.events = append(w.events, HookEnded{Err: err})
}
