//go:build windows

package windows

import (
	"io"
	"os"
	"sync"
	"unsafe"
)

// OutputPipe is the reading end of a pipe for a worker's output. An anonymous pipe cannot be
// waited for ("CreatePipe function"), so a goroutine reads it, one buffer ahead.
type OutputPipe struct {
	f *os.File

	mu     sync.Mutex
	change sync.Cond
	ahead  []byte // read, and not taken yet
	err    error
	closed bool
}

// readAhead is how much is read before it is taken.
const readAhead = 64 << 10

// NewOutputPipe makes a pipe.
func NewOutputPipe() (r *OutputPipe, w *os.File, err error) {
	f, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p := &OutputPipe{f: f}
	p.change.L = &p.mu
	go p.run()
	return p, w, nil
}

func (p *OutputPipe) run() {
	b := make([]byte, readAhead)
	for {
		n, err := p.f.Read(b)
		p.mu.Lock()
		p.ahead = b[:n]
		p.err = err
		p.change.Broadcast()
		for len(p.ahead) > 0 && !p.closed {
			p.change.Wait()
		}
		done := p.closed || err != nil
		p.mu.Unlock()
		if done {
			return
		}
	}
}

// Wait blocks until something can be read, or the end has come. It returns false once the
// pipe was closed.
func (p *OutputPipe) Wait() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ahead) == 0 && p.err == nil && !p.closed {
		p.change.Wait()
	}
	return !p.closed
}

// Available is how many bytes can be read without waiting long: those read ahead, and those
// in the pipe.
func (p *OutputPipe) Available() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ahead) + p.inPipe()
}

// inPipe is how much is in the pipe; peekNamedPipe is for anonymous pipes too ("PeekNamedPipe
// function").
func (p *OutputPipe) inPipe() int {
	if len(p.ahead) == 0 { // the reader waits in it, and a peek would wait for that
		return 0
	}
	var n uint32
	peekNamedPipe.Call(p.f.Fd(), 0, 0, 0, uintptr(unsafe.Pointer(&n)), 0)
	return int(n)
}

// Read takes what was read ahead.
func (p *OutputPipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(p.ahead) > 0:
		more := p.inPipe() > 0
		n := copy(b, p.ahead)
		if p.ahead = p.ahead[n:]; len(p.ahead) == 0 {
			if p.change.Broadcast(); more {
				p.refill()
			}
		}
		return n, nil
	case p.closed || p.err != nil:
		return 0, io.EOF
	}
	return 0, nil
}

// refill waits until the goroutine has read what is in the pipe already.
func (p *OutputPipe) refill() {
	for len(p.ahead) == 0 && p.err == nil && !p.closed {
		p.change.Wait()
	}
}

// Close ends Wait. The reader ends with the last writer.
func (p *OutputPipe) Close() {
	p.mu.Lock()
	p.closed = true
	p.change.Broadcast()
	p.mu.Unlock()
	go p.f.Close() // it may wait for the reader
}
