//go:build linux

package main

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// pin keeps the calling goroutine, and every process that it starts, on one
// core until the returned function is called.
func pin() (func() error, error) {
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	// The last core: the first often has the interrupts to serve.
	for cpu := len(all) * 64; cpu >= 0; cpu-- {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	unpin := func() error {
		defer runtime.UnlockOSThread()
		return unix.SchedSetaffinity(0, &all)
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, errors.Join(fmt.Errorf("sched_setaffinity: %w", err), unpin())
	}
	return unpin, nil
}
