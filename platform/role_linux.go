//go:build !standin

package platform

import "leash/platform/linux"

// TakeRole does not return if this process was started as a part of a watchdog.
func TakeRole() { linux.TakeRole() }

// ErrSentinel says that the sentinel was killed while it started the worker.
var ErrSentinel = linux.ErrSentinel

// Starter is the PID of the process that started this one; for a child of a sentinel, of the
// sentinel's watchdog.
func Starter() int { return linux.Starter() }

// StartSentinel starts the sentinel, which starts the worker and ends its tree if this process
// is killed. keep are the descriptors meant for the worker.
func StartSentinel(keep []int) (conn, pid int, err error) { return linux.StartSentinel(keep) }
