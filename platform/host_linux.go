//go:build !standin

package platform

import (
	"io"

	"leash/platform/linux"
)

// Holds: run can lose no process of the worker's tree (subreaper, PR_SET_CHILD_SUBREAPER).
const Holds = true

// New returns this system. The backend is auto, event or poll. It fails if the backend is not
// available.
func New(backend string) (System, error) { return orNil(linux.New(backend)) }

// Replace executes this program again in place, and returns only on error.
func Replace(env []string) error { return linux.Replace(env) }

// SetParentDeathSignal has the system signal this process when the thread ends that started
// it. The signal is only a hint, see package linux.
func SetParentDeathSignal() error { return linux.SetParentDeathSignal() }

// CheckPID returns an error if a PID given by the user cannot be that of a process.
func CheckPID(pid int) error { return linux.CheckPID(pid) }

// Random is the system's source of random bytes.
var Random io.Reader = linux.Random{}

// CheckView returns an error if what the system shows of processes must not be relied on.
func CheckView() error { return linux.CheckView() }

// CheckProgram returns an error if a process is a kernel thread.
func CheckProgram(pid int) error { return linux.CheckProgram(pid) }

// Orphaned reports whether this process's parent is most likely not the process that started
// it, and the parent's name.
func Orphaned(parent int) (name string, orphaned bool) { return linux.Orphaned(parent) }
