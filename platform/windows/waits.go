//go:build windows

package windows

import (
	"os"
	"slices"
	"sync"
	"time"

	win "golang.org/x/sys/windows"
)

// happening is what ends a wait.
type happening struct {
	ended    *waited
	signal   os.Signal
	lifeline *lifeline
	pipe     finished
}

// endingPoll is the interval while processes are being ended, where the end of one is not
// reported.
const endingPoll = 20 * time.Millisecond

// perWaiter is how many processes one goroutine waits for: MAXIMUM_WAIT_OBJECTS
// ("WaitForMultipleObjects function") less the event that wakes it for a new one.
const perWaiter = 64 - 1

// waits waits for the ends of any number of processes.
type waits struct {
	all []*waiter
	out chan<- happening
}

// waited is one process that is waited for, by a handle of the waiter's own: to
// close one that is being waited for is undefined.
type waited struct {
	h       *handle
	dup     win.Handle
	dropped bool // under the waiter's lock
}

type waiter struct {
	wake win.Handle
	out  chan<- happening
	mu   sync.Mutex
	list []*waited
}

// add waits for the end of a process.
func (w *waits) add(h *handle) (*waited, error) {
	e := &waited{h: h}
	self := win.CurrentProcess()
	if err := win.DuplicateHandle(self, h.h, self, &e.dup, win.SYNCHRONIZE, false, 0); err != nil {
		return nil, os.NewSyscallError("DuplicateHandle", err)
	}
	for _, wt := range w.all {
		if wt.take(e) {
			return e, nil
		}
	}
	wake, err := win.CreateEvent(nil, 0, 0, nil) // resets itself
	if err != nil {
		win.CloseHandle(e.dup)
		return nil, os.NewSyscallError("CreateEvent", err)
	}
	wt := &waiter{wake: wake, out: w.out, list: []*waited{e}}
	w.all = append(w.all, wt)
	go wt.run()
	return e, nil
}

// remove waits no longer. An event that came meanwhile is of an entry that nothing
// holds any more.
func (w *waits) remove(e *waited) {
	for _, wt := range w.all {
		if wt.drop(e) {
			return
		}
	}
}

func (w *waiter) take(e *waited) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.list) >= perWaiter {
		return false
	}
	w.list = append(w.list, e)
	win.SetEvent(w.wake)
	return true
}

func (w *waiter) drop(e *waited) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.list, e) {
		return false
	}
	e.dropped = true
	win.SetEvent(w.wake)
	return true
}

// current is what to wait for now.
func (w *waiter) current() ([]win.Handle, []*waited) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(e *waited) bool {
		if e.dropped {
			win.CloseHandle(e.dup)
		}
		return e.dropped
	})
	handles := []win.Handle{w.wake}
	for _, e := range w.list {
		handles = append(handles, e.dup)
	}
	return handles, slices.Clone(w.list)
}

func (w *waiter) run() {
	for {
		handles, list := w.current()
		ev, err := win.WaitForMultipleObjects(handles, false, win.INFINITE)
		if err != nil {
			panic(os.NewSyscallError("WaitForMultipleObjects", err)) // with handles of our own
		}
		i := int(ev) - win.WAIT_OBJECT_0 - 1
		if i < 0 || i >= len(list) {
			continue
		}
		w.drop(list[i])
		w.out <- happening{ended: list[i]}
	}
}
