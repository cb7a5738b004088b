//go:build windows

package windows

import (
	"os"
	"time"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/heartbeat"
	"leash/watch"
)

// notifier is the pipe to which the worker and its tree speak (sd_notify(3), one
// message of the pipe for a datagram). One goroutine waits for all connections
// ("I/O Completion Ports"); everything else is done by the host's own.
type notifier struct {
	port win.Handle
	all  []*connection
	shut chan struct{} // closed at the end

	stranger int // the last one, not looked at again until then
	until    time.Duration
	barriers []waitsForAll
	budget   heartbeat.Budget
	resting  []*connection // nothing is under way, until the pause is over
	paused   bool
	pausedAt time.Duration
}

// waitsForAll is a client who waits until all that he said was handled.
type waitsForAll struct {
	c      *connection
	serial int
}

// slice bounds one round of listening, while nobody looks at anything else.
const slice = 20 * time.Millisecond

// ListenForBeats makes the pipe, of a random name if address is empty. It
// returns what LEASH_HEARTBEAT_PIPE must say. Whoever may connect is heard only
// if he is of the worker's tree. The system removes the pipe with us.
func (h *Host) ListenForBeats(address string, _ bool) (_ string, err error) {
	if address == "" {
		if address, err = randomPipe(); err != nil {
			return "", err
		}
	}
	own, err := userSID()
	if err != nil {
		return "", err
	}
	sids := []string{own.String()}
	if h.worker != nil {
		if other := sidOf(h.worker.h); other != "" && other != sids[0] {
			sids = append(sids, other)
		}
	}
	n := &notifier{shut: make(chan struct{})}
	if n.all, err = newPipe(address, sids); err != nil {
		return "", err
	}
	if n.port, err = portFor(n.all); err != nil {
		closePipe(n.all)
		return "", err
	}
	h.notifier = n
	go n.run(h.happened)
	for _, c := range n.all {
		h.proceed(c)
	}
	return address, nil
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

// run tells what has finished. The addresses are those of n.all.
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

// close ends all connections. What is under way is told before the end.
func (n *notifier) close() {
	close(n.shut)
	closePipe(n.all)
	win.PostQueuedCompletionStatus(n.port, 0, 0, nil)
}

// proceed begins what is next for a connection, unless more comes in than we
// want to read: then all of them rest for a moment.
func (h *Host) proceed(c *connection) {
	n := h.notifier
	for n.budget.Left() {
		done, err := c.start()
		if !done {
			return
		}
		if err != nil && !c.connected { // for want of means: later
			break
		}
		if !h.happens(c, 0, err) {
			h.hangUp(c)
		}
	}
	n.resting = append(n.resting, c)
	if !n.paused {
		n.paused, n.pausedAt = true, h.Now()
		h.events = append(h.events, watch.Drowned{})
	}
}

// untilBeats is when connections go on, if they rest.
func (h *Host) untilBeats() (at time.Duration, paused bool) {
	if n := h.notifier; n != nil && n.paused {
		return n.pausedAt + heartbeat.Pause, true
	}
	return 0, false
}

func (h *Host) listenAgain(now time.Duration) {
	at, paused := h.untilBeats()
	if !paused || now < at {
		return
	}
	n := h.notifier
	n.paused = false
	n.budget.Refill(now)
	resting := n.resting
	n.resting = nil
	for _, c := range resting {
		h.proceed(c)
	}
}

// piped is called for each operation that has finished.
func (h *Host) piped(f finished) {
	n, c := h.notifier, f.op.c
	if n == nil { // closed
		return
	}
	if f.op == &c.out {
		c.answering = false
		return
	}
	n.budget.Refill(h.Now())
	c.waiting = false
	was := c.fate
	c.fate = kept
	if was == dropped || !h.happens(c, f.size, f.err) || was == evicted {
		h.hangUp(c)
	}
	h.proceed(c)
}

// happens takes a client, or what he says. false: he is to go.
func (h *Host) happens(c *connection, size uint32, err error) bool {
	if err == nil || err == win.ERROR_MORE_DATA { // else it has cost before
		if !c.prepaid {
			h.notifier.budget.Spend()
		}
		c.prepaid = false
	}
	if !c.connected {
		if c.connected = err == nil; err != nil {
			return false
		}
		c.serial++
		c.heard, c.prepaid = h.Now(), true
		if !h.speaksForWorker(c) {
			return false
		}
		h.makeRoom()
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
		c.heard = h.Now()
		h.hear(c, c.buf[:size])
	}
	return true
}

func (h *Host) hear(c *connection, b []byte) {
	m, ok := heartbeat.Parse(b)
	switch {
	case !ok:
	case m.Barrier:
		h.notifier.barriers = append(h.notifier.barriers, waitsForAll{c, c.serial})
	case m == plainBeat.Message:
		h.events = append(h.events, beat) // nothing to allocate
	default:
		h.events = append(h.events, watch.Heard{Message: m})
	}
}

// beat is what nearly every message says.
var (
	plainBeat             = watch.Heard{Message: heartbeat.Message{Beat: heartbeat.Alive}}
	beat      watch.Event = plainBeat
)

// release answers those who wait until all that they said was handled.
func (h *Host) release() {
	if h.notifier == nil {
		return
	}
	for _, w := range h.notifier.barriers {
		if w.c.connected && w.c.serial == w.serial {
			w.c.answer()
		}
	}
	h.notifier.barriers = h.notifier.barriers[:0]
}

// hangUp sends the client away. What he wrote and we did not read is lost.
func (h *Host) hangUp(c *connection) {
	win.DisconnectNamedPipe(c.h)
	c.connected, c.prepaid, c.tail = false, false, false
}

// makeRoom sees to it that the next client finds room: if everybody stays
// connected, the one who was silent longest is sent away. He may come again.
func (h *Host) makeRoom() {
	var silent *connection
	for _, c := range h.notifier.all {
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

// dropBeats forgets what an earlier worker said. Who connected and was not
// looked at yet goes too: his number may soon be another's.
func (h *Host) dropBeats() {
	n := h.notifier
	if n == nil {
		return
	}
	for _, c := range n.all {
		gone := win.DisconnectNamedPipe(c.h) == nil // else nobody is there
		switch {
		case !c.waiting:
			h.hangUp(c)
		case gone || c.connected:
			c.fate = dropped
		}
	}
	n.barriers = n.barriers[:0]
	h.events = h.events[:0]
}
