package darwin

import (
	"errors"
	"fmt"

	"leash/internal/system"
)

// lifeline is a descriptor that is waited on for its end-of-file.
type lifeline struct {
	owner any
	ended bool
}

// WatchFD makes Wait report the end-of-file of a descriptor. It is not read, because the worker
// may be reading from it. With evClear what is written to it wakes us once and not for
// as long as it lies there, and with the low-water mark not even that, mostly.
func (s *System) WatchFD(fd int, owner any) (open bool, err error) {
	kind, err := s.launcher.Input(fd)
	if err != nil {
		return false, err
	}
	if kind == alwaysReady {
		if !s.launcher.Drain(fd) {
			return false, errors.New("it never ends and cannot be waited on: give it a pipe or a socket")
		}
		return false, nil
	}
	err = s.loop.change(kevent{Ident: uint64(fd), Filter: filterRead, Flags: evAdd | evClear, Fflags: noteLowWater, Data: 1 << 30})
	if err != nil {
		return false, fmt.Errorf("descriptor %d cannot be waited on: %w", fd, err)
	}
	s.lifelines[fd] = &lifeline{owner: owner}
	return true, nil
}

// FDEnded reports whether the end-of-file of such a descriptor has come. What else has
// happened is reported by the next Wait.
func (s *System) FDEnded(fd int) bool {
	s.loop.drain(s.happened)
	l := s.lifelines[fd]
	return l != nil && l.ended
}

// readable is called when something was written to a lifeline, or it has ended.
func (s *System) readable(e kevent) {
	l := s.lifelines[int(e.Ident)]
	if l == nil || l.ended || e.Flags&(evEOF|evError) == 0 {
		return
	}
	l.ended = true
	s.loop.change(kevent{Ident: e.Ident, Filter: filterRead, Flags: evDelete})
	s.wake(system.Wake{Kind: system.FDEnded, Owner: l.owner})
}
