package platform

import "leash/platform/linux"

// TakeRole does not return if this process was started as a part of a watchdog.
func TakeRole() { linux.TakeRole() }

// ErrSentinel: the sentinel was killed while it started the worker.
var ErrSentinel = linux.ErrSentinel

// Starter is the PID of the process that started this one: behind a sentinel, of its
// watchdog.
func Starter() int { return linux.Starter() }

// StartSentinel starts the process that ends the worker's tree if this one is killed,
// and that starts the worker itself.
func StartSentinel(keep []int) (conn, pid int, err error) { return linux.StartSentinel(keep) }

// UseSentinel takes one that this process has started, perhaps in its life before.
func (h host) UseSentinel(conn, pid int) error { return h.Host.UseSentinel(conn, pid) }

// GivenFDs lists the descriptors above 2 that this program was given.
func GivenFDs() []int { return linux.GivenFDs() }

// CloseFDs closes descriptors that were meant for the worker alone.
func CloseFDs(fds []int) { linux.CloseFDs(fds) }
