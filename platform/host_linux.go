package platform

import (
	"io"
	"os"

	"leash/internal/proc"
	"leash/platform/linux"
	"leash/platform/posix"
)

// Holds: run can lose no process of the worker's tree (subreaper, PR_SET_CHILD_SUBREAPER).
const Holds = true

// Sentinels: run has a second process that ends the worker's tree if the watchdog is killed.
const Sentinels = true

// AsksAlone: the stop signal can be sent to one process without its group.
const AsksAlone = true

// New returns this system. The backend is auto, event or poll. It fails if the backend is not
// available.
func New(backend string) (System, error) {
	s, err := linux.New(backend)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// StateDir opens the folder of the ledger.
func StateDir() (*os.File, error) { return posix.StateDir() }

// Replace executes this program again in place, and returns only on error.
func Replace(env []string) error { return linux.Replace(env) }

// SetParentDeathSignal has the system signal this process when the thread ends that started
// it. The signal is only a hint, see package linux.
func SetParentDeathSignal() error { return linux.SetParentDeathSignal() }

// CheckPID returns an error if a PID given by the user cannot be that of a process.
func CheckPID(pid int) error { return linux.CheckPID(pid) }

// CheckFD returns an error if a descriptor given by the user is not open for reading or
// writing.
func CheckFD(fd int, write bool) error { return linux.CheckFD(fd, write) }

// CloseOthers marks every descriptor above 2 close-on-exec but those kept.
func CloseOthers(keep []int) { linux.CloseOthers(keep) }

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) { return linux.ParseSignal(s) }

// Random is the system's source of random bytes.
var Random io.Reader = linux.Random{}

// Sink returns a writer that does not wait for its reader; what does not fit is dropped.
func Sink(fd int) (io.Writer, error) { return posix.Sink(fd) }

// CheckKeptFD returns an error if a descriptor that the worker is to inherit is not open or
// not above 2.
func CheckKeptFD(fd int) error { return linux.CheckKeptFD(fd) }

// TellManager sends a message to a NOTIFY_SOCKET (sd_notify(3)), without waiting.
func TellManager(address, text string) error { return posix.TellManager(address, text) }

// CheckView returns an error if what the system shows of processes must not be relied on.
func CheckView() error { return linux.CheckView() }

// CheckProgram returns an error if a process is a kernel thread.
func CheckProgram(pid int) error { return linux.CheckProgram(pid) }

// Orphaned reports whether this process's parent is most likely not the process that started
// it, and the parent's name.
func Orphaned(parent int) (name string, orphaned bool) { return linux.Orphaned(parent) }
