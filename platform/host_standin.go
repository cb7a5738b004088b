//go:build linux && standin

package platform

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"leash/platform/darwin"
	"leash/platform/linux"
)

// With the tag standin the watchdog has the mechanisms of macOS, over Linux. It is for tests
// and guards no worker of anybody.

// Holds: see host_darwin.go.
const Holds = false

// New returns the stand-in for macOS.
func New(backend string) (System, error) { return orNil(darwin.OpenStandIn(backend)) }

// TakeRole does not return if this process was started as a part of a watchdog.
func TakeRole() { darwin.TakeStandInRole() }

// StartSentinel fails: a sentinel is started with the worker.
func StartSentinel([]int) (conn, pid int, err error) { return -1, 0, errors.ErrUnsupported }

// ErrSentinel says that the sentinel was killed while it started the worker.
var ErrSentinel = errors.New("the sentinel of this watchdog was killed")

// Starter is the PID of the process that started this one.
func Starter() int { return os.Getppid() }

// Replace executes this program again in place, and returns only on error.
func Replace(env []string) error { return linux.Replace(env) }

// SetParentDeathSignal ignores signals that would end this process before it handles them.
func SetParentDeathSignal() error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	return nil
}

// CheckPID returns an error if a PID given by the user cannot be that of a process.
func CheckPID(pid int) error { return linux.CheckPID(pid) }

// Random is the system's source of random bytes.
var Random io.Reader = linux.Random{}

// CheckView returns an error if what the system shows of processes must not be relied on.
func CheckView() error { return linux.CheckView() }

// CheckProgram returns an error if a process is a kernel thread.
func CheckProgram(pid int) error { return linux.CheckProgram(pid) }

// Orphaned returns false.
func Orphaned(int) (name string, orphaned bool) { return "", false }
