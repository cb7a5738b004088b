package main

import (
	"fmt"
	"log/slog"

	"leash/internal/event"
	"leash/platform"
	"leash/watch"
)

// warnOrphan warns if the default parent probably only adopted the watchdog: it outlives
// everything, so that its exit will not be noticed.
func (w *watchdog) warnOrphan() {
	if !w.assumed {
		return
	}
	name, orphaned := platform.Orphaned(w.defaultParent)
	if !orphaned {
		return
	}
	w.Log(watch.Record{Event: event.WatchdogWarning, Level: slog.LevelWarn, Text: fmt.Sprintf("the parent is PID %d (%s): if the program that started "+
		"the watchdog has exited, no death will ever end this worker; name its parent with --parent-pid or --parent-fd "+
		"(--parent-pid %d if it is meant)", w.defaultParent, name, w.defaultParent)})
}
