//go:build !windows

package main

import (
	"fmt"

	"leash/platform"
)

// secondLife has the program execute itself anew in place (see handover). It
// returns only if that fails.
func (s *settings) secondLife() (goOn bool, err error) {
	platform.CloseOthers(s.openFDs())
	return false, fmt.Errorf("cannot execute itself: %w", platform.Replace(s.leanEnv()))
}

// openFDs lists the descriptors above 2 that we were given on purpose.
func (s *settings) openFDs() []int {
	fds := append([]int(nil), s.keepFDs...)
	for _, fd := range []int{s.parentFD, s.logFD} {
		if fd > 2 {
			fds = append(fds, fd)
		}
	}
	return fds
}
