package main

import (
	"runtime"
	"runtime/debug"
)

// takeOver: no process can execute another program in place, so there is but one life.
func takeOver() (s *settings, again bool) { return nil, false }

// secondLife makes this life lean, as far as it can be once it has begun.
func (s *settings) secondLife(bool) {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(25)
}
