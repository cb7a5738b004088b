package main

import (
	"runtime"
	"runtime/debug"
)

// secondLife is not to be had: no process can execute another program in place.
// So the one life is made lean, as far as it can be once it has begun.
func (s *settings) secondLife() (goOn bool, err error) {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(25)
	return true, nil
}
