package darwin

import (
	"syscall"
	"time"
)

// kevent is struct kevent (kevent(2)).
type kevent struct {
	Ident  uint64
	Filter int16
	Flags  uint16
	Fflags uint32
	Data   int64
}

// queue is a kqueue(2).
type queue interface {
	// Kevent makes changes, waits and returns what has happened, or the errors of
	// the changes. A negative timeout is none.
	Kevent(changes, events []kevent, timeout time.Duration) (int, error)
	Close()
}

// Constants of sys/event.h; on macOS the compiler compares them with its own.
const (
	filterRead = -1
	filterProc = -5
	filterUser = -10

	evAdd     = 0x1
	evDelete  = 0x2
	evClear   = 0x20
	evReceipt = 0x40
	evError   = 0x4000
	evEOF     = 0x8000

	noteExit       = 0x80000000
	noteExitStatus = 0x04000000
	noteTrigger    = 0x01000000
	noteLowWater   = 0x1

	exitStatusMask = 0xffff
)

// loop waits on a kqueue.
type loop struct {
	q     queue
	ready [16]kevent
}

// change makes one change without taking events from the queue (EV_RECEIPT).
func (l *loop) change(c kevent) error {
	c.Flags |= evReceipt
	for {
		var out [1]kevent
		n, err := l.q.Kevent([]kevent{c}, out[:], 0)
		switch {
		case err == syscall.EINTR: // again: what was added is added once
		case err != nil:
			return err
		case n == 1 && out[0].Flags&evError != 0 && out[0].Data != 0:
			return syscall.Errno(out[0].Data)
		default:
			return nil
		}
	}
}

// wait blocks until something happens or, if timed, for d, and calls on with
// what did. It may return without either (EINTR).
func (l *loop) wait(d time.Duration, timed bool, on func(kevent)) error {
	timeout := time.Duration(-1)
	if timed {
		timeout = max(d, 0)
	}
	n, err := l.q.Kevent(nil, l.ready[:], timeout)
	if err == syscall.EINTR {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range l.ready[:n] {
		on(e)
	}
	return nil
}

// drain takes what has happened already.
func (l *loop) drain(on func(kevent)) {
	for full := true; full; {
		n := 0
		if l.wait(0, true, func(e kevent) { n++; on(e) }) != nil {
			return // the next wait says so
		}
		full = n == len(l.ready)
	}
}

// endingPoll is the interval between two scans of a tree that is being ended, where
// nothing reports an end.
const endingPoll = 20 * time.Millisecond
