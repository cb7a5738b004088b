package platform

import (
	"crypto/rand"
	"errors"
	"io"
	"os"

	"leash/internal/proc"
	"leash/platform/darwin"
	"leash/platform/posix"
)

// Holds: run loses processes that leave group and tree between two scans; there is no
// subreaper.
const Holds = false

// Sentinels: run has a second process that ends the worker's tree if the watchdog is killed.
const Sentinels = true

// AsksAlone: the stop signal can be sent to one process without its group.
const AsksAlone = true

// New returns this system. The backend is auto, event or poll. It fails if the backend is not
// available.
func New(backend string) (System, error) {
	s, err := darwin.New(backend)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// StateDir opens the folder of the ledger.
func StateDir() (*os.File, error) { return posix.StateDir() }

// StartSentinel fails: a sentinel is started with the worker.
func StartSentinel([]int) (conn, pid int, err error) { return -1, 0, errors.ErrUnsupported }

// GivenFDs lists the descriptors above 2 that this program inherited.
func GivenFDs() []int { return darwin.GivenFDs() }

// CloseFDs closes descriptors that were meant for the worker alone.
func CloseFDs(fds []int) { darwin.CloseFDs(fds) }

// Replace executes this program again in place, and returns only on error.
func Replace(env []string) error { return darwin.Replace(env) }

// TakeRole does not return if this process was started as a part of a watchdog.
func TakeRole() { darwin.TakeRole() }

// SetParentDeathSignal ignores signals that would end this process before it handles them.
func SetParentDeathSignal() error { return darwin.SetParentDeathSignal() }

// CheckPID returns an error if a PID given by the user cannot be that of a process.
func CheckPID(pid int) error { return darwin.CheckPID(pid) }

// CheckFD returns an error if a descriptor given by the user cannot be used.
func CheckFD(fd int, write bool) error { return darwin.CheckFD(fd, write) }

// CheckKeptFD returns an error if the worker cannot inherit a descriptor.
func CheckKeptFD(fd int) error { return darwin.CheckKeptFD(fd) }

// CloseOthers marks every descriptor above 2 close-on-exec but those kept.
func CloseOthers(keep []int) { darwin.CloseOthers(keep) }

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) { return darwin.ParseSignal(s) }

// Random is the system's source of random bytes.
var Random io.Reader = rand.Reader

// Sink returns a writer that does not wait for its reader; what does not fit is dropped.
func Sink(fd int) (io.Writer, error) { return posix.Sink(fd) }

// TellManager sends a message to a NOTIFY_SOCKET (sd_notify(3)), without waiting.
func TellManager(address, text string) error { return posix.TellManager(address, text) }

// CheckView returns nil: there is only one view of the processes.
func CheckView() error { return nil }

// CheckProgram returns nil: kernel threads have no PID of their own, they belong to PID 0.
func CheckProgram(int) error { return nil }

// Orphaned reports whether this process's parent is most likely not the process that started
// it, and the parent's name.
func Orphaned(parent int) (name string, orphaned bool) { return darwin.Orphaned(parent) }
