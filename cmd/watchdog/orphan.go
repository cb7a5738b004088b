package main

import (
	"fmt"

	"leash/internal/event"
	"leash/watch"
)

// warnOrphan tells once where the parent is one that adopted the watchdog: it
// outlives everything, so that its death says nothing.
func (w *watchdog) warnOrphan() {
	if !w.assumed {
		return
	}
	name, orphaned := w.Orphaned(w.defaultParent)
	if !orphaned {
		return
	}
	w.Log(watch.Record{Event: event.WatchdogWarning, Warn: true, Text: fmt.Sprintf("the parent is PID %d (%s): if the program that started "+
		"the watchdog has exited, nobody's death will ever end this worker; name its parent with --parent-pid or --parent-fd "+
		"(--parent-pid %d if it is meant)", w.defaultParent, name, w.defaultParent)})
}
