package watch

import (
	"testing"

	"leash/internal/proc"
)

func TestRole(t *testing.T) {
	for sig, want := range map[string][2]Role{ // guard, run
		"SIGTERM": {Ends, Ends},
		"SIGINT":  {Ends, Ends},
		"SIGQUIT": {Ends, Forwarded},
		"SIGHUP":  {Ignored, Forwarded},
		"SIGUSR1": {Ignored, Forwarded},
		"SIGCONT": {Ignored, Forwarded},
		"SIGTSTP": {Ignored, Suspends},
		"SIGTTIN": {Ignored, Suspends},
		"SIGTTOU": {Ignored, Suspends},
		"SIG40":   {Ignored, Forwarded},
	} {
		for i, child := range []bool{false, true} {
			if got := roleOf(proc.Signal{Name: sig}, child); got != want[i] {
				t.Errorf("%v, started by the watchdog %t: %v, want %v", sig, child, got, want[i])
			}
		}
	}
}
