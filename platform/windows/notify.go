//go:build windows

package windows

import (
	"os"
	"slices"
	"time"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/heartbeat"
	"leash/internal/system"
)

// notifier is the pipe to which the worker and its tree write (sd_notify(3), one message of
// the pipe for a datagram). One goroutine waits for all connections ("I/O Completion
// Ports"); everything else is done by the goroutine of the System.
type notifier struct {
	s       *System
	beats   system.Beats
	address string

	port win.Handle
	all  []*connection
	shut chan struct{} // closed at the end
	over bool

	stranger int // the last one, not checked again until then
	until    time.Duration
	barriers []barrierWait
	limit    heartbeat.RateLimit
	resting  []*connection // nothing is under way, until the pause is over
	paused   bool
	pausedAt time.Duration
}

// barrierWait is a client that waits until all its messages were handled.
type barrierWait struct {
	c      *connection
	serial int
}

// ListenForBeats makes the pipe, of a random name if the address is empty. Any process of
// the user may connect; its messages count only if it is of the worker's tree. The system
// removes the pipe with us.
func (s *System) ListenForBeats(o system.Beats) (system.Ears, error) {
	n := &notifier{s: s, beats: o, address: o.Address, shut: make(chan struct{})}
	var err error
	if n.address == "" {
		if n.address, err = randomPipe(); err != nil {
			return nil, err
		}
	}
	own, err := userSID()
	if err != nil {
		return nil, err
	}
	sids := []string{own.String()}
	if w := n.worker(); w != nil {
		if other := sidOf(w.h); other != "" && other != sids[0] {
			sids = append(sids, other)
		}
	}
	if n.all, err = newPipe(n.address, sids); err != nil {
		return nil, err
	}
	if n.port, err = portFor(n.all); err != nil {
		closePipe(n.all)
		return nil, err
	}
	s.pipes = append(s.pipes, n)
	go n.run(s.happened)
	for _, c := range n.all {
		c.n = n
		n.proceed(c)
	}
	return n, nil
}

// worker is the handle of the worker that may send; nil as long as there is none.
func (n *notifier) worker() *handle {
	h, _ := n.beats.Worker().(*handle)
	return h
}

// Address is the value of LEASH_HEARTBEAT_PIPE for the worker.
func (n *notifier) Address() string { return n.address }

func (n *notifier) tell(w system.Wake) {
	w.Owner = n.beats.Owner
	n.s.wake(w)
}

func portFor(all []*connection) (win.Handle, error) {
	port, err := win.CreateIoCompletionPort(win.InvalidHandle, 0, 0, 1)
	for i := 0; i < len(all) && err == nil; i++ {
		if _, err = win.CreateIoCompletionPort(all[i].h, port, 0, 0); err != nil {
			win.CloseHandle(port)
		}
	}
	return port, os.NewSyscallError("CreateIoCompletionPort", err)
}

// run sends what has finished. The addresses are those of n.all.
func (n *notifier) run(out chan<- happening) {
	for {
		var f finished
		var key uintptr
		var o *win.Overlapped
		f.err = win.GetQueuedCompletionStatus(n.port, &f.size, &key, &o, win.INFINITE)
		if o == nil { // close's, which comes last
			win.CloseHandle(n.port)
			return
		}
		f.op = (*operation)(unsafe.Pointer(o))
		select {
		case out <- happening{pipe: f}:
		case <-n.shut:
		}
	}
}

// Close ends all connections. What is under way is sent before the end.
func (n *notifier) Close() {
	if n.over {
		return
	}
	n.over = true
	n.s.pipes = slices.DeleteFunc(n.s.pipes, func(other *notifier) bool { return other == n })
	close(n.shut)
	closePipe(n.all)
	win.PostQueuedCompletionStatus(n.port, 0, 0, nil)
}

// proceed begins what is next for a connection, unless more comes in than we
// want to read: then all of them rest for a moment.
func (n *notifier) proceed(c *connection) {
	for n.limit.Left() {
		done, err := c.start()
		if !done {
			return
		}
		if err != nil && !c.connected { // for want of means: later
			break
		}
		if !n.happens(c, 0, err) {
			n.hangUp(c)
		}
	}
	n.resting = append(n.resting, c)
	if !n.paused {
		n.paused, n.pausedAt = true, n.s.Now()
		n.tell(system.Wake{Kind: system.Overflowed})
	}
}

// untilBeats is when connections go on, if some rest.
func (s *System) untilBeats() (at time.Duration, paused bool) {
	for _, n := range s.pipes {
		if next := n.pausedAt + heartbeat.Pause; n.paused && (!paused || next < at) {
			at, paused = next, true
		}
	}
	return at, paused
}

func (s *System) listenAgain() {
	now := s.Now()
	for _, n := range s.pipes {
		if !n.paused || now < n.pausedAt+heartbeat.Pause {
			continue
		}
		n.paused = false
		n.limit.Refill(now)
		resting := n.resting
		n.resting = nil
		for _, c := range resting {
			n.proceed(c)
		}
	}
}

// finished is called for each operation that has finished.
func (n *notifier) finished(f finished) {
	c := f.op.c
	if n.over {
		return
	}
	if f.op == &c.out {
		c.answering = false
		return
	}
	n.limit.Refill(n.s.Now())
	c.waiting = false
	was := c.fate
	c.fate = kept
	if was == dropped || !n.happens(c, f.size, f.err) || was == evicted {
		n.hangUp(c)
	}
	n.proceed(c)
}

// happens takes a client, or its message. false: it is to be sent away.
func (n *notifier) happens(c *connection, size uint32, err error) bool {
	if err == nil || err == win.ERROR_MORE_DATA { // else it has cost before
		if !c.prepaid {
			n.limit.Spend()
		}
		c.prepaid = false
	}
	if !c.connected {
		if c.connected = err == nil; err != nil {
			return false
		}
		c.serial++
		c.heard, c.prepaid = n.s.Now(), true
		if !n.speaksForWorker(c) {
			return false
		}
		n.makeRoom()
		return true
	}
	switch {
	case err == win.ERROR_MORE_DATA:
		c.tail = true
	case err != nil:
		return false
	case c.tail: // too long
		c.tail = false
	default:
		c.heard = n.s.Now()
		n.hear(c, c.buf[:size])
	}
	return true
}

func (n *notifier) hear(c *connection, b []byte) {
	m, ok := heartbeat.Parse(b)
	switch {
	case !ok:
	case m.Barrier:
		n.barriers = append(n.barriers, barrierWait{c, c.serial})
	default:
		n.tell(system.Wake{Kind: system.Heard, Message: m})
	}
}

// release answers the clients that wait until all their messages were handled.
func (n *notifier) release() {
	for _, w := range n.barriers {
		if w.c.connected && w.c.serial == w.serial {
			w.c.answer()
		}
	}
	n.barriers = n.barriers[:0]
}

// hangUp sends the client away. What it wrote and we did not read is lost.
func (n *notifier) hangUp(c *connection) {
	win.DisconnectNamedPipe(c.h)
	c.connected, c.prepaid, c.tail = false, false, false
}

// makeRoom sees to it that the next client finds room: if all stay connected, the one
// that has sent nothing for the longest time is sent away. It may connect again.
func (n *notifier) makeRoom() {
	var silent *connection
	for _, c := range n.all {
		switch {
		case !c.connected, c.fate != kept: // there is room, or will be
			return
		case c.waiting && (silent == nil || c.heard < silent.heard):
			silent = c
		}
	}
	if silent != nil && win.DisconnectNamedPipe(silent.h) == nil {
		silent.fate = evicted
	}
}

// Drop forgets what an earlier worker said. A client that was not checked yet goes
// too: its number may soon be another's.
func (n *notifier) Drop() {
	for _, c := range n.all {
		gone := win.DisconnectNamedPipe(c.h) == nil // else no client is there
		switch {
		case !c.waiting:
			n.hangUp(c)
		case gone || c.connected:
			c.fate = dropped
		}
	}
	n.barriers = n.barriers[:0]
	n.s.wakes = slices.DeleteFunc(n.s.wakes, func(w system.Wake) bool { return w.Kind == system.Heard && w.Owner == n.beats.Owner })
}
