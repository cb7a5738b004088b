//go:build linux || darwin

package platform

import (
	"io"
	"os"

	"leash/internal/proc"
	"leash/platform/posix"
)

// Sentinels: run has a second process that ends the worker's tree if the watchdog is killed.
const Sentinels = true

// SignalsOne: the stop signal can be sent to one process without its group.
const SignalsOne = true

// StateDir opens the folder of the ledger.
func StateDir() (*os.File, error) { return posix.StateDir() }

// GivenFDs lists the descriptors above 2 that this program inherited.
func GivenFDs() []int { return posix.GivenFDs() }

// CloseFDs closes descriptors that were meant for the worker alone.
func CloseFDs(fds []int) { posix.CloseFDs(fds) }

// CheckFD returns an error if a descriptor given by the user is not open for reading or
// writing.
func CheckFD(fd int, write bool) error { return posix.CheckFD(fd, write) }

// CheckKeptFD returns an error if the worker cannot inherit a descriptor.
func CheckKeptFD(fd int) error { return posix.CheckKeptFD(fd) }

// CloseOthers marks every descriptor above 2 close-on-exec but those kept.
func CloseOthers(keep []int) { posix.CloseOthers(keep) }

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) { return posix.ParseSignal(s) }

// Sink returns a writer that does not wait for its reader; what does not fit is dropped.
func Sink(fd int) (io.Writer, error) { return posix.Sink(fd) }

// TellManager sends a message to a NOTIFY_SOCKET (sd_notify(3)), without waiting.
func TellManager(address, text string) error { return posix.TellManager(address, text) }
