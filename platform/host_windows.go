package platform

import (
	"errors"
	"io"
	"os"

	"leash/internal/proc"
	"leash/platform/windows"
)

// Holds: run can lose no process of the worker's tree (job object).
const Holds = true

// Sentinels: none is needed, because the job object ends with the watchdog.
const Sentinels = false

// SignalsOne: a console event reaches a whole group, so --kill-mode is always group.
const SignalsOne = false

// New returns this system. The backend is auto, event or poll. It fails if the backend is not
// available.
func New(backend string) (System, error) { return orNil(windows.New(backend)) }

// CloseFDs does nothing: no copy is kept of the handles that the worker inherits.
func CloseFDs([]int) {}

// StateDir opens the folder of the ledger.
func StateDir() (*os.File, error) { return windows.StateDir() }

// CheckBeatAddress returns an error if an address cannot be used for heartbeats.
func CheckBeatAddress(address string) error { return windows.CheckPipe(address) }

// Replace fails: no process can execute another program in place.
func Replace([]string) error { return errors.ErrUnsupported }

// SetParentDeathSignal does nothing: the parent's handle reports its exit.
func SetParentDeathSignal() error { return nil }

// CheckPID returns an error if a PID given by the user cannot be that of a process.
func CheckPID(pid int) error { return windows.CheckPID(pid) }

// CheckFD returns an error if a descriptor given by the user cannot be used.
func CheckFD(fd int, write bool) error { return windows.CheckFD(fd, write) }

// CheckKeptFD returns an error if the worker cannot inherit a descriptor.
func CheckKeptFD(fd int) error { return windows.CheckKeptFD(fd) }

// CloseOthers does nothing: a worker inherits only the handles that it is given.
func CloseOthers([]int) {}

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) { return windows.ParseSignal(s) }

// Random is the system's source of random bytes.
var Random io.Reader = windows.Random{}

// Sink returns a writer that does not wait long for its reader.
func Sink(fd int) (io.Writer, error) { return windows.Sink(fd) }

// TellManager fails: Windows has no service manager with a NOTIFY_SOCKET.
func TellManager(_, _ string) error {
	return errors.New("on Windows no service manager listens there: remove the variable")
}

// CheckView returns nil: there is only one view of the processes.
func CheckView() error { return nil }

// CheckProgram returns nil: opening a process of the system fails anyway.
func CheckProgram(int) error { return nil }

// Orphaned returns false: on Windows the parent of a process never changes.
func Orphaned(int) (name string, orphaned bool) { return "", false }
