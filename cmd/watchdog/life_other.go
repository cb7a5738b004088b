//go:build !windows

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"

	"leash/internal/flagvalue"
	"leash/platform"
)

// The watchdog reads its flags, then executes itself again (execve(2)): reading flags and
// making help texts leaves a larger heap than watching needs, and the runtime sets up a heap
// for every core. That saves 0.98 MB of 1.85 MB of anonymous memory (guard, Linux, amd64, 2
// cores, 5 s after its start). The settings are in a file without a name, which begins with the PID; the
// variable has the number of its descriptor. A value that another process left in the
// variable is ignored, since it names no such file.
const handover = "LEASH_HANDOVER"

// lean is the environment after the second execve: one thread of Go code at a time, and a
// heap that is first collected at 1 MB (GOGC percent of 4 MB) instead of 4.
var lean = []string{"GOMAXPROCS=1", "GOGC=25"}

// takeOver returns the settings from before the second execve; nil if there was none yet.
// again must be passed to executeAgain.
func takeOver() (s *settings, again bool) {
	text, set := os.LookupEnv(handover)
	if !set {
		return nil, false
	}
	os.Unsetenv(handover)
	fd, err := flagvalue.Int(text)
	if err != nil {
		return nil, true
	}
	b, err := platform.ReadUnnamed(fd)
	if err != nil {
		return nil, true
	}
	if s = unpack(string(b)); s == nil || !s.plausible() {
		return nil, true
	}
	platform.CloseFDs([]int{fd})
	return s, true
}

// plausible reports whether settings could have come from parse.
func (s *settings) plausible() bool {
	negative := func(n int) bool { return n < 0 }
	command := !s.run || s.commandAt > 0 && s.commandAt < len(os.Args)
	return command && !slices.ContainsFunc(s.keepFDs, negative) && !slices.ContainsFunc(s.parents, negative) && s.workerPID >= 0
}

// executeAgain executes the program again. If it returns, that was not possible, and this
// program goes on, as lean as it can be by now. again: the variable was set; if this program
// set it after all, another execve could go on for ever.
func (s *settings) executeAgain(again bool) {
	if s.run && !s.closeFDs {
		s.keepFDs = slices.DeleteFunc(platform.GivenFDs(), func(fd int) bool { return fd == s.parentFD || fd == s.logFD })
	}
	platform.CloseOthers(nil)
	if s.run && s.sentinel == sentinelAuto {
		if conn, pid, err := platform.StartSentinel(s.keepFDs); err == nil {
			s.sentinelFD, s.sentinelPID = conn, pid
		}
	}
	if !again {
		s.replace()
	}
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(25)
}

// replace returns only if the program could not be executed.
func (s *settings) replace() {
	s.lean = true
	for _, name := range []string{"GOMAXPROCS", "GOGC"} {
		if v, ok := os.LookupEnv(name); ok {
			s.saved = append(s.saved, name+"="+v)
		}
	}
	if fd, err := platform.WriteUnnamed([]byte(s.pack())); err == nil {
		platform.CloseOthers(append(s.openFDs(), fd))
		platform.Replace(append(without(os.Environ(), "GOMAXPROCS", "GOGC", handover),
			append(lean, handover+"="+strconv.Itoa(fd))...))
		platform.CloseOthers(nil)
		platform.CloseFDs([]int{fd})
	}
	s.lean, s.saved = false, nil
}

// openFDs lists the descriptors above 2 that must stay open over the second execve.
func (s *settings) openFDs() []int {
	fds := append([]int(nil), s.keepFDs...)
	for _, fd := range []int{s.parentFD, s.logFD, s.sentinelFD} {
		if fd > 2 {
			fds = append(fds, fd)
		}
	}
	return fds
}
