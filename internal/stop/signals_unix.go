//go:build unix

package stop

import (
	"syscall"

	"leash/internal/proc"
)

// These two are numbered differently from system to system.
var (
	contSignal = proc.Signal{Num: int(syscall.SIGCONT), Name: "SIGCONT"}
	stopSignal = proc.Signal{Num: int(syscall.SIGSTOP), Name: "SIGSTOP"}
)
