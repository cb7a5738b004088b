package platform

import (
	"crypto/rand"
	"errors"
	"io"

	"leash/platform/darwin"
)

// Holds: run loses processes that leave group and tree between two scans; there is no
// subreaper.
const Holds = false

// New returns this system. The backend is auto, event or poll. It fails if the backend is not
// available.
func New(backend string) (System, error) { return orNil(darwin.New(backend)) }

// StartSentinel fails: a sentinel is started with the worker.
func StartSentinel([]int) (conn, pid int, err error) { return -1, 0, errors.ErrUnsupported }

// Replace executes this program again in place, and returns only on error.
func Replace(env []string) error { return darwin.Replace(env) }

// TakeRole does not return if this process was started as a part of a watchdog.
func TakeRole() { darwin.TakeRole() }

// SetParentDeathSignal ignores signals that would end this process before it handles them.
func SetParentDeathSignal() error { return darwin.SetParentDeathSignal() }

// CheckPID returns an error if a PID given by the user cannot be that of a process.
func CheckPID(pid int) error { return darwin.CheckPID(pid) }

// Random is the system's source of random bytes.
var Random io.Reader = rand.Reader

// CheckView returns nil: there is only one view of the processes.
func CheckView() error { return nil }

// CheckProgram returns nil: kernel threads have no PID of their own, they belong to PID 0.
func CheckProgram(int) error { return nil }

// Orphaned reports whether this process's parent is most likely not the process that started
// it, and the parent's name.
func Orphaned(parent int) (name string, orphaned bool) { return darwin.Orphaned(parent) }
