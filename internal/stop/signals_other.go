//go:build !unix

package stop

import "leash/internal/proc"

// This system cannot stop and continue a process; Handle.Signal returns
// errors.ErrUnsupported for these.
var (
	CONT = proc.Signal{Num: 18, Name: "SIGCONT"}
	STOP = proc.Signal{Num: 19, Name: "SIGSTOP"}
)
