package main

import (
	"runtime"
	"runtime/debug"
)

// takeOver finds no settings: there is no execve on Windows.
func takeOver() (s *settings, again bool) { return nil, false }

// executeAgain makes this program as lean as it can be once it runs.
func (s *settings) executeAgain(bool) {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(25)
}
