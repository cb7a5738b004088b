package windows

import (
	"strconv"
	"strings"

	"leash/internal/proc"
)

// BREAK is numbered as the C runtime does ("signal", SIGBREAK).
var BREAK = proc.Signal{Num: 21, Name: "SIGBREAK"}

// signals are the names that mean something here. A process can be stopped by a
// console event only ("GenerateConsoleCtrlEvent function"); which, see eventOf.
var signals = []proc.Signal{proc.INT, BREAK, proc.TERM, proc.KILL}

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) {
	number, err := strconv.Atoi(s)
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for _, sig := range signals {
		if sig.Name == name || err == nil && sig.Num == number {
			return sig, true
		}
	}
	return proc.Signal{}, false
}

// Console events ("HandlerRoutine callback function").
const (
	ctrlC     = 0
	ctrlBreak = 1
)

// eventOf is what a console of the worker's own is sent: on CTRL_C, programs tidy up
// (Python raises KeyboardInterrupt), while CTRL_BREAK ends most at once.
func eventOf(s proc.Signal, deaf bool) uint32 {
	if s == BREAK || deaf {
		return ctrlBreak
	}
	return ctrlC
}

// killCode is the exit code of a process that we killed, as a shell would show it.
const killCode = 128 + 9

// exitOf is how a process ended. There are no signals, so only
// our own kill shows as one.
func exitOf(code uint32, forced bool) proc.Exit {
	if forced && code == killCode {
		return proc.Exit{Known: true, Signal: proc.KILL}
	}
	return proc.Exit{Known: true, Code: int(code)}
}
