package rpc

import (
	"errors"
	"io"
	"sync"
	"time"
)

// Limit is how many bytes of answers and events are kept for a reader that does not read.
// Then events are dropped, and no further request is read.
const Limit = 4 << 20

var errFull = errors.New("the reader does not read: the event is dropped")

// Out is the stream of answers, notifications and output of workers. Nothing that adds to it
// waits for its reader. One goroutine writes; it reads a worker's output only when there is
// nothing else to write, a part at a time.
type Out struct {
	w io.Writer
	// failed is called once, when nothing can be written any more.
	failed func(error)

	mu      sync.Mutex
	changed sync.Cond
	queue   []item
	size    int // bytes in queue, and those being written
	ready   []*Stream
	busy    bool // the writer is at work
	dead    bool // the reader has gone: what comes is discarded

	buf  []byte // of what is read from a worker
	line []byte // what is to be written
}

// item is a line, or streams that are to be read first.
type item struct {
	line    []byte
	streams []*Stream
	last    bool
}

// NewOut returns a stream over w, whose writes may block.
func NewOut(w io.Writer, failed func(error)) *Out {
	o := &Out{w: w, failed: failed}
	o.changed.L = &o.mu
	go o.run()
	return o
}

// Send adds a line that must not be lost: an answer.
func (o *Out) Send(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(item{line: line})
}

// Event adds a notification. It fails if too much is waiting already.
func (o *Out) Event(line []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.size+len(line) > Limit {
		return errFull
	}
	o.add(item{line: line})
	return nil
}

// Drain has what is in these streams by now written before what is added later. last: then
// they are closed, whichever process can still write to them.
func (o *Out) Drain(last bool, streams ...*Stream) {
	if len(streams) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(item{streams: streams, last: last})
}

func (o *Out) add(i item) {
	o.queue = append(o.queue, i)
	o.size += len(i.line)
	o.changed.Broadcast()
}

// WaitForRoom waits until less than Limit is waiting, but no longer than that. It reports
// whether there is room.
func (o *Out) WaitForRoom(within time.Duration) bool {
	return o.wait(within, func() bool { return o.size < Limit || o.dead })
}

// Full reports whether no further request is read.
func (o *Out) Full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.size >= Limit && !o.dead
}

// Flush waits until everything is written, but no longer than that.
func (o *Out) Flush(within time.Duration) {
	o.wait(within, func() bool { return len(o.queue) == 0 && !o.busy })
}

func (o *Out) wait(within time.Duration, done func() bool) bool {
	late := false
	t := time.AfterFunc(within, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		late = true
		o.changed.Broadcast()
	})
	defer t.Stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for !late && !done() {
		o.changed.Wait()
	}
	return done()
}

// mostAtOnce bounds how much is gathered before it is written, and how much of one worker's
// output is written before it is another's turn.
const mostAtOnce = 64 << 10

func (o *Out) run() {
	o.mu.Lock()
	for {
		switch {
		case len(o.queue) > 0:
			o.writeQueue()
		case len(o.ready) > 0:
			s := o.ready[0]
			o.ready[0] = nil
			o.ready = o.ready[1:]
			o.busy = true
			o.mu.Unlock()
			o.read(s)
			o.flush()
			o.mu.Lock()
			o.busy = false
			o.changed.Broadcast()
		default:
			o.ready, o.buf, o.line = nil, nil, nil // an idle pool needs no memory for it
			o.changed.Wait()
		}
	}
}

// writeQueue writes the lines that are waiting, many at once. The lock is held on entry and
// on return.
func (o *Out) writeQueue() {
	taken := 0
	o.busy = true
	for len(o.queue) > 0 && len(o.line) < mostAtOnce {
		i := o.queue[0]
		o.queue[0] = item{}
		o.queue = o.queue[1:]
		taken += len(i.line)
		if i.streams == nil {
			o.line = append(o.line, i.line...)
			continue
		}
		o.mu.Unlock()
		for _, s := range i.streams {
			o.drain(s, i.last)
		}
		o.mu.Lock()
	}
	if len(o.queue) == 0 {
		o.queue = nil
	}
	o.mu.Unlock()
	o.flush()
	o.mu.Lock()
	o.size -= taken
	o.busy = false
	o.changed.Broadcast()
}

// flush writes what was gathered.
func (o *Out) flush() {
	if len(o.line) == 0 {
		return
	}
	if !o.dead { // only this goroutine sets it
		if _, err := o.w.Write(o.line); err != nil {
			o.mu.Lock()
			o.dead = true
			o.changed.Broadcast()
			o.mu.Unlock()
			o.failed(err)
		}
	}
	if o.line = o.line[:0]; cap(o.line) > 16*mostAtOnce {
		o.line = nil
	}
}
