//go:build unix

package posix

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
)

// SignalOf names a signal.
func SignalOf(n int) proc.Signal {
	name := unix.SignalName(unix.Signal(n))
	if name == "" {
		name = "SIG" + strconv.Itoa(n)
	}
	return proc.Signal{Num: n, Name: name}
}

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return SignalOf(n), n >= 1 && n <= lastSignal
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	n := unix.SignalNum(name)
	return proc.Signal{Num: int(n), Name: name}, n != 0
}

// ExitOf is how a process ended, by its wait status.
func ExitOf(ws unix.WaitStatus) proc.Exit {
	if ws.Signaled() {
		return proc.Exit{Known: true, Signal: SignalOf(int(ws.Signal()))}
	}
	return proc.Exit{Known: true, Code: ws.ExitStatus()}
}
