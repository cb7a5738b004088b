package darwin

import (
	"os"

	"leash/internal/orphan"
)

// Orphaned reports whether the watchdog's parent most likely is not the process
// that started it, and what the parent is called. A job of launchd has its name
// in XPC_SERVICE_NAME; what runs in a terminal has 0 there.
func Orphaned(parent int) (name string, orphaned bool) {
	if parent != 1 {
		return "", false
	}
	job := os.Getenv("XPC_SERVICE_NAME")
	f := orphan.Facts{PID: os.Getpid(), Parent: 1, ParentName: "launchd", Session: -1,
		Service: job != "" && job != "0"}
	return f.ParentName, orphan.Likely(f) // no other process is in launchd's session
}
