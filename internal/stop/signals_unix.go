//go:build unix

package stop

import (
	"syscall"

	"leash/internal/proc"
)

// These two are numbered differently from system to system.
var (
	CONT = proc.Signal{Num: int(syscall.SIGCONT), Name: "SIGCONT"}
	STOP = proc.Signal{Num: int(syscall.SIGSTOP), Name: "SIGSTOP"}
)
