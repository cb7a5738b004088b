package darwin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"leash/internal/proc"
	"leash/internal/runid"
)

// inner starts this program anew, as a part of ours.
type inner struct {
	path string
	// same reports whether that is still the program that we are.
	same func() bool
}

// asRole is the variable for a child of ours.
func (h *Host) asRole(words ...string) string {
	return roleVariable + "=" + strconv.Itoa(h.Kernel.sys.Self()) + " " + strings.Join(words, " ")
}

// sentry is our side of the sentinel.
type sentry struct {
	h               *handle
	orders, answers *os.File
}

// answerWithin is how long a sentinel may take. It is ready long before, unless
// somebody has stopped it.
// Tests have more of it.
var answerWithin = 5 * time.Second

// maxSentinels is how often one is started, should they be killed.
const maxSentinels = 4

// postSentinel starts one if there is none. Without any the watch goes on.
func (h *Host) postSentinel() error {
	switch {
	case h.sentry != nil:
		return nil
	case h.NoSentinel || h.inner.path == "" || h.sentinels == maxSentinels || !h.inner.same():
		return errors.ErrUnsupported
	}
	h.sentinels++
	var pipes pipes
	read, orders := pipes.open()
	answers, write := pipes.open()
	null, err := os.Open(os.DevNull)
	if err = errors.Join(err, pipes.err); err != nil {
		pipes.close()
		return err
	}
	// It holds nothing of the worker's or the parent's, or its readers would wait
	// for it, and no folder either.
	pid, err := h.launcher.Start(start{Path: h.inner.path, Dir: "/", Args: []string{"watchdog", "(sentinel)"},
		Env:   []string{h.asRole(roleSentinel), "GOMAXPROCS=1", "GOGC=25"},
		Files: []uintptr{read.Fd(), write.Fd(), null.Fd()}, Session: true})
	read.Close()
	write.Close()
	null.Close()
	s := &sentry{orders: orders, answers: answers}
	if err == nil {
		s.h, err = h.opened(pid)
	}
	if err != nil {
		s.close()
		return err
	}
	h.sentry = s
	h.notify(s.h)
	return nil
}

// tell introduces a worker. Without an error the sentinel guards it.
func (s *sentry) tell(id proc.ID, run, worker string) error {
	if err := s.order(workerLine(id, run, worker)); err != nil {
		return err
	}
	s.answers.SetReadDeadline(time.Now().Add(answerWithin))
	b := make([]byte, len(understood))
	if _, err := io.ReadFull(s.answers, b); err != nil || string(b) != understood {
		return fmt.Errorf("the sentinel answers %q (%v)", b, err)
	}
	return nil
}

// order has time of its own for each, or the deadline of one long ago would hold.
func (s *sentry) order(text string) error {
	s.orders.SetWriteDeadline(time.Now().Add(answerWithin))
	_, err := io.WriteString(s.orders, text)
	return err
}

func (s *sentry) close() {
	s.orders.Close()
	s.answers.Close()
	if s.h != nil {
		s.h.Close()
	}
}

// dismiss lets it end. over: nothing is left for it to do.
func (h *Host) dismiss(over bool) {
	if s := h.sentry; s != nil {
		if over {
			s.order(allOver)
		}
		s.close()
		h.sentry = nil
		h.launcher.Reap(s.h.pid, false) // else launchd does
	}
}

// relieve is called when the sentinel has ended: somebody has killed it. Another
// takes its place.
func (h *Host) relieve() {
	h.reap(h.sentry.h)
	h.sentry.close()
	h.sentry = nil
	if h.worker != nil && !h.exited && h.postSentinel() == nil && h.sentry.tell(h.worker.id(), h.runID, h.workerID) != nil {
		h.dismiss(true)
	}
}

// fork starts a worker, behind a gate where a sentinel can be told of it first.
func (h *Host) fork(s start) (*handle, error) {
	h.runID, h.workerID = runid.FromEnviron([]byte(strings.Join(s.Env, "\x00")))
	if h.postSentinel() == nil {
		if hd, err := h.forkGated(s); err != errNoGate {
			return hd, err
		}
		h.dismiss(true)
	}
	pid, err := h.launcher.Start(s)
	if err != nil {
		return nil, err
	}
	return h.opened(pid)
}

// errNoGate says that no worker was started, and not because of the worker.
var errNoGate = errors.New("no gate")

// gate is a worker that may not begin yet.
type gate struct {
	h             *handle
	open, outcome *os.File
}

func (h *Host) newGate(s start) (*gate, error) {
	var pipes pipes
	read, open := pipes.open()
	outcome, write := pipes.open()
	if pipes.err != nil {
		pipes.close()
		return nil, errNoGate
	}
	n := len(s.Files)
	s.Env = append(s.Env[:len(s.Env):len(s.Env)], h.asRole(roleGate, strconv.Itoa(n), strconv.Itoa(n+1), s.Path))
	s.Files = append(s.Files[:n:n], read.Fd(), write.Fd())
	s.Path = h.inner.path
	g := &gate{open: open, outcome: outcome}
	pid, err := h.launcher.Start(s)
	read.Close()
	write.Close()
	if err != nil {
		g.close()
		return nil, errNoGate
	}
	if g.h, err = h.opened(pid); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// close ends whoever waits behind the gate.
func (g *gate) close() {
	g.open.Close()
	g.outcome.Close()
}

func (h *Host) forkGated(s start) (*handle, error) {
	g, err := h.newGate(s)
	if err != nil {
		return nil, err
	}
	defer g.close()
	if h.sentry.tell(g.h.id(), h.runID, h.workerID) != nil {
		h.dismiss(false) // it may know the gate, and end it: that ends anyway
		g.h.Signal(proc.KILL)
		h.reap(g.h)
		g.h.Close()
		return nil, errNoGate
	}
	// Whoever has stopped it in there does not stop us.
	g.outcome.SetReadDeadline(time.Now().Add(answerWithin))
	if err := pass(g.open, g.outcome); err != nil {
		h.reap(g.h)
		g.h.Close()
		h.sentry.order(allOver)
		return nil, err
	}
	return g.h, nil
}

// pass opens the gate. The error is that of execve(2): the gate writes it, and
// its end of the pipe is closed when there was none. Of one that comes too late
// the worker's exit status tells.
func pass(open io.Writer, outcome io.Reader) error {
	if _, err := open.Write([]byte{1}); err != nil {
		return nil // it has ended: as the worker's that will be told
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
