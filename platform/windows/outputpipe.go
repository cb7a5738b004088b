//go:build windows

package windows

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
	"unsafe"

	win "golang.org/x/sys/windows"
)

// OutputPipe is the reading end of a pipe for a worker's output. An anonymous pipe can only
// be read by a thread that blocks in it ("Anonymous Pipe Operations"), so it is a named one,
// read by overlapped operations: a goroutine is always in one, which holds no thread.
type OutputPipe struct {
	f *os.File
	h win.Handle // of f; File.Fd would take it away from the runtime's poller

	mu      sync.Mutex
	change  sync.Cond
	buf     []byte
	ahead   []byte // read into buf, and not taken yet
	err     error  // io.EOF after the last writer
	reading bool   // the goroutine is in an operation
	held    bool   // it is to begin no other
	closed  bool
}

// readAhead is how much the goroutine reads before it is taken: an idle pipe has a buffer of
// this size. The rest is read directly into the buffer of Read.
const readAhead = 1 << 10

// inPipe is how much a pipe holds while it is not read.
const inPipe = 64 << 10

// NewOutputPipe makes a pipe. The writing end blocks, as programs expect of their standard
// output.
func NewOutputPipe() (r *OutputPipe, w *os.File, err error) {
	read, write, err := outputPipe()
	if err != nil {
		return nil, nil, err
	}
	p := &OutputPipe{f: os.NewFile(uintptr(read), "pipe"), h: read, buf: make([]byte, readAhead)}
	p.change.L = &p.mu
	go p.run()
	return p, os.NewFile(uintptr(write), "pipe"), nil
}

// outputPipe makes a pipe of one instance and connects to it. Only this user may open it, and
// nobody else after us. Neither end is inherited.
func outputPipe() (read, write win.Handle, err error) {
	name, err := randomPipe()
	if err != nil {
		return 0, 0, err
	}
	me, err := userSID()
	if err != nil {
		return 0, 0, err
	}
	sd, err := win.SecurityDescriptorFromString("D:P(A;;GA;;;" + me.String() + ")")
	if err != nil {
		return 0, 0, err
	}
	at, err := win.UTF16PtrFromString(name)
	if err != nil {
		return 0, 0, err
	}
	sa := win.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(sa))
	read, err = win.CreateNamedPipe(at, win.PIPE_ACCESS_INBOUND|win.FILE_FLAG_OVERLAPPED|win.FILE_FLAG_FIRST_PIPE_INSTANCE,
		win.PIPE_TYPE_BYTE|win.PIPE_REJECT_REMOTE_CLIENTS, 1, inPipe, inPipe, 0, &sa)
	if err != nil {
		return 0, 0, os.NewSyscallError("CreateNamedPipe", err)
	}
	write, err = win.CreateFile(at, win.GENERIC_WRITE|win.FILE_READ_ATTRIBUTES, 0, nil, win.OPEN_EXISTING, 0, 0)
	if err != nil {
		win.CloseHandle(read)
		return 0, 0, os.NewSyscallError("CreateFile", err)
	}
	return read, write, nil
}

func (p *OutputPipe) run() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for !p.closed && (len(p.ahead) > 0 || p.held) {
			p.change.Wait()
		}
		if p.closed || p.err != nil {
			return
		}
		p.reading = true
		p.mu.Unlock()
		n, err := p.f.Read(p.buf)
		p.mu.Lock()
		p.reading = false
		p.took(n, err)
		p.change.Broadcast()
	}
}

// took notes what an operation has given.
func (p *OutputPipe) took(n int, err error) {
	p.ahead = p.buf[:n]
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded): // see settle
	case errors.Is(err, io.EOF) && !p.broken(): // zero bytes were written
	default:
		p.err = io.EOF
	}
}

// broken reports whether the last writer has gone.
func (p *OutputPipe) broken() bool {
	_, err := p.peek()
	return err != nil
}

// peek is how many bytes are in the pipe; an error means that there are no writers and no
// bytes ("PeekNamedPipe function").
func (p *OutputPipe) peek() (int, error) {
	var n uint32
	ok, _, err := peekNamedPipe.Call(uintptr(p.h), 0, 0, 0, uintptr(unsafe.Pointer(&n)), 0)
	if ok == 0 {
		return 0, err
	}
	return int(n), nil
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

// Available is how many bytes can be read at once.
func (p *OutputPipe) Available() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0
	}
	p.settle()
	n := len(p.ahead)
	if p.err == nil {
		more, _ := p.peek()
		n += more
	}
	return n
}

// settle ends the goroutine's operation, which may have taken what was written already, and
// has all that is in the pipe read by Read.
func (p *OutputPipe) settle() {
	if p.reading {
		p.held = true
		p.f.SetReadDeadline(time.Unix(1, 0))
		for p.reading {
			p.change.Wait()
		}
		p.held = false
		p.f.SetReadDeadline(time.Time{})
	}
	p.fill()
	p.change.Broadcast()
}

// fill reads what is in the pipe, so that the goroutine takes nothing of it while something
// is there.
func (p *OutputPipe) fill() {
	if n := p.direct(p.buf); len(p.ahead) == 0 {
		p.ahead = p.buf[:n]
	}
}

// direct reads what is in the pipe, if all that was read before has been taken.
func (p *OutputPipe) direct(b []byte) int {
	if len(p.ahead) > 0 || len(b) == 0 || p.err != nil || p.closed || p.reading {
		return 0
	}
	n, err := p.peek()
	if err != nil {
		p.err = io.EOF
		return 0
	}
	if n == 0 {
		return 0
	}
	n, err = p.f.Read(b[:min(n, len(b))])
	if err != nil && (!errors.Is(err, io.EOF) || p.broken()) {
		p.err = io.EOF
	}
	return n
}

// Read takes what is there: 0 bytes without an error where there is nothing, io.EOF at the
// end.
func (p *OutputPipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ahead) == 0 && (p.closed || p.err != nil) {
		return 0, io.EOF
	}
	n := copy(b, p.ahead)
	if p.ahead = p.ahead[n:]; n > 0 {
		n += p.direct(b[n:])
		p.fill()
		p.change.Broadcast()
	}
	return n, nil
}

// Close ends Wait.
func (p *OutputPipe) Close() {
	p.mu.Lock()
	p.closed = true
	p.change.Broadcast()
	p.mu.Unlock()
	p.f.Close()
}
