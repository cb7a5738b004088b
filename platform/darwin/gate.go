package darwin

import (
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"leash/internal/proc"
	"leash/internal/wire"
)

// A worker must not run before its sentinel knows it. So it begins as a gate: this
// program again, which executes the worker's in place when the watchdog says that it
// may; if the watchdog dies before, it ends (waitAtGate).

// errNoGate says that no worker was started, and not because of the worker.
var errNoGate = errors.New("no gate")

// gate is a worker that may not begin yet.
type gate struct {
	h             *handle
	open, outcome *os.File
}

func (s *System) newGate(what start) (*gate, error) {
	var pipes pipes
	read, open := pipes.open()
	outcome, write := pipes.open()
	if pipes.err != nil {
		pipes.close()
		return nil, errNoGate
	}
	n := len(what.Files)
	what.Env = append(what.Env[:len(what.Env):len(what.Env)], s.asRole(roleGate, strconv.Itoa(n), strconv.Itoa(n+1), what.Path))
	what.Files = append(what.Files[:n:n], read.Fd(), write.Fd())
	what.Path = s.program.path
	h, err := s.startChild(what)
	read.Close()
	write.Close()
	g := &gate{h: h, open: open, outcome: outcome}
	if err != nil {
		g.close()
		return nil, errNoGate
	}
	return g, nil
}

// close ends a gate that was not opened.
func (g *gate) close() {
	g.open.Close()
	g.outcome.Close()
}

// startGated starts a worker that the sentinel knows.
func (c *containment) startGated(what start) (*handle, error) {
	g, err := c.s.newGate(what)
	if err != nil {
		return nil, err
	}
	defer g.close()
	if c.sentinel.introduce(c.introduced(g.h)) != nil {
		c.dismissSentinel(false) // it may know the gate, and end it: that ends anyway
		g.h.Signal(proc.KILL)
		g.h.reap(true)
		g.h.Close()
		return nil, errNoGate
	}
	// If the worker is stopped in there, the watchdog goes on.
	g.outcome.SetReadDeadline(time.Now().Add(answerWithin))
	if err := pass(g.open, g.outcome); err != nil {
		g.h.reap(true)
		g.h.Close()
		c.sentinel.order(wire.Over, nil)
		return nil, err
	}
	return g.h, nil
}

// pass opens the gate. The error is that of execve(2): the gate writes it, and
// its end of the pipe is closed when there was none. One that comes too late
// shows in the worker's exit status.
func pass(open io.Writer, outcome io.Reader) error {
	if _, err := open.Write([]byte{1}); err != nil {
		return nil // it has ended, which is reported as the worker's end
	}
	text, err := io.ReadAll(outcome)
	if n, bad := strconv.Atoi(string(text)); err == nil && bad == nil {
		return syscall.Errno(n)
	}
	return nil
}

// pipes opens pipes, until one fails.
type pipes struct {
	files []*os.File
	err   error
}

func (p *pipes) open() (r, w *os.File) {
	if p.err == nil {
		r, w, p.err = os.Pipe()
		p.files = append(p.files, r, w)
	}
	return r, w
}

func (p *pipes) close() {
	for _, f := range p.files {
		f.Close() // nil is an error, and no more
	}
}
