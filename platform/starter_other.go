//go:build !linux

package platform

import "os"

// Starter is the PID of the process that started this one.
func Starter() int { return os.Getppid() }
