//go:build !unix

package stop

import "leash/internal/proc"

// There is no stopping and continuing here; the host passes these over.
var (
	CONT = proc.Signal{Num: 18, Name: "SIGCONT"}
	STOP = proc.Signal{Num: 19, Name: "SIGSTOP"}
)
