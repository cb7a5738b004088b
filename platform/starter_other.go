//go:build !linux

package platform

import (
	"errors"
	"os"
)

// ErrSentinel says that the sentinel was killed while it started the worker.
var ErrSentinel = errors.New("the sentinel of this watchdog was killed")

// Starter is the PID of the process that started this one.
func Starter() int { return os.Getppid() }
