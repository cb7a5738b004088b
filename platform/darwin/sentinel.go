package darwin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/wire"
)

// A watchdog that is killed by SIGKILL can end nothing any more, and macOS has nothing
// that would do it instead. So run has a sentinel beside it: one more process of the
// same program, which holds the reading end of a pipe. At its end-of-file the watchdog
// is dead, because no other process has the writing end; and if it has not said before
// that all is over, the sentinel ends the worker's tree at once, as the watchdog would:
// open, verify, signal.
//
// The worker must not run before the sentinel knows it: see gate.go.

// sentinel is the one process.
type sentinel struct {
	k     *Kernel
	root  *handle
	tree  *stop.Tree
	ended uint64 // the tick at which the watchdog was found dead
	pause func(time.Duration)
}

// serve returns when no worker is left to guard.
func (s *sentinel) serve(orders io.Reader, answers io.Writer) error {
	for {
		kind, body, err := wire.Read(orders)
		switch {
		case err == io.EOF:
			return s.end()
		case err != nil: // then it is not known whether the watchdog is dead
			return err
		case kind == wire.Over:
			s.forget()
			continue
		}
		answer := wire.Answer{Kind: wire.Refused}
		if w, err := wire.DecodeWorker(body); kind == wire.Guard && err == nil && s.take(w) == nil {
			answer = guarding(w)
		}
		answers.Write(answer.Encode())
	}
}

func guarding(w wire.Worker) wire.Answer { return wire.Answer{Kind: wire.Guarding, N: int32(w.PID)} }

// take opens the worker first, then verifies that it is the right process.
func (s *sentinel) take(w wire.Worker) error {
	s.forget()
	h, err := s.k.open(w.PID)
	if err != nil {
		return err
	}
	h.worker = true
	tree := &stop.Tree{Kernel: s.k, Root: h, Protected: s.k.ancestors(), RunID: w.RunID, WorkerID: w.WorkerID}
	info, err := tree.Adopt()
	if err == nil && (info.Start != w.Start || info.Dead()) {
		err = proc.ErrGone
	}
	if err != nil {
		h.Close()
		return err
	}
	s.root, s.tree = h, tree
	tree.Search = func() ([]int, error) { return s.k.search(tree, s.mayBelong) }
	return nil
}

func (s *sentinel) forget() {
	if s.tree != nil {
		s.tree.Close()
		s.root.Close()
	}
	s.tree, s.root = nil, nil
}

// mayBelong spares the next worker of the same name, which another watchdog has started
// since: that watchdog is younger than our worker, and so is every process with a parent
// in the new tree. A process that lost its parent is launchd's child. Start times are
// times of day: if our worker's is in the future, the clock was set back, and none
// proves anything.
func (s *sentinel) mayBelong(e, parent *entry) bool {
	began := s.tree.Worker().Start
	return began < s.ended && e.Start < s.ended && parent != nil && parent.Start < began
}

// end ends the tree of a watchdog that is dead.
func (s *sentinel) end() error {
	if s.tree == nil {
		return nil
	}
	s.ended = s.k.Tick()
	return stop.EndNow(s.tree, s.pause)
}

// sentinelConn is the watchdog's side of it.
type sentinelConn struct {
	h               *handle
	orders, answers *os.File
}

// answerWithin is how long a sentinel may take. It is ready long before, unless it was
// stopped. Tests give it more.
var answerWithin = 5 * time.Second

// maxSentinels is how often one is started, if they are killed.
const maxSentinels = 4

// needSentinel starts one if there is to be one. Without one the watch goes on.
func (c *containment) needSentinel() error {
	switch {
	case c.sentinel != nil:
		return nil
	case !c.wanted || c.sentinels == maxSentinels:
		return errors.ErrUnsupported
	}
	c.sentinels++
	conn, err := c.s.startSentinel()
	if err != nil {
		return err
	}
	c.sentinel = conn
	c.s.whenEnded(conn.h, c.owner, c.sentinelEnded)
	return nil
}

func (s *System) startSentinel() (*sentinelConn, error) {
	if s.program.path == "" || !s.program.same() {
		return nil, errors.ErrUnsupported
	}
	var pipes pipes
	read, orders := pipes.open()
	answers, write := pipes.open()
	null, err := os.Open(os.DevNull)
	if err = errors.Join(err, pipes.err); err != nil {
		pipes.close()
		return nil, err
	}
	// It holds nothing of the worker's or the parent's, or what reads from that would
	// wait for the sentinel, and no folder either.
	h, err := s.startChild(start{Path: s.program.path, Dir: "/", Args: []string{"watchdog", "(sentinel)"},
		Env:   []string{s.asRole(roleSentinel), "GOMAXPROCS=1", "GOGC=25"},
		Files: []uintptr{read.Fd(), write.Fd(), null.Fd()}, Session: true})
	read.Close()
	write.Close()
	null.Close()
	conn := &sentinelConn{h: h, orders: orders, answers: answers}
	if err != nil {
		conn.close()
		return nil, err
	}
	return conn, nil
}

// introduce tells of a worker. Without an error the sentinel guards it.
func (s *sentinelConn) introduce(w wire.Worker) error {
	if err := s.order(wire.Guard, w.Encode()); err != nil {
		return err
	}
	s.answers.SetReadDeadline(time.Now().Add(answerWithin))
	b := make([]byte, wire.AnswerSize)
	if _, err := io.ReadFull(s.answers, b); err != nil || wire.DecodeAnswer(b) != guarding(w) {
		return fmt.Errorf("the sentinel answers %q (%v)", b, err)
	}
	return nil
}

// introduced is what the sentinel is told of a worker.
func (c *containment) introduced(h *handle) wire.Worker {
	return wire.Worker{PID: h.pid, Start: h.start, RunID: c.runID, WorkerID: c.workerID}
}

// order has a deadline of its own for each, or that of one long ago would hold.
func (s *sentinelConn) order(kind byte, body []byte) error {
	s.orders.SetWriteDeadline(time.Now().Add(answerWithin))
	_, err := s.orders.Write(wire.Bytes(kind, body))
	return err
}

// close reaps the sentinel if it has ended; if not, launchd does.
func (s *sentinelConn) close() {
	s.orders.Close()
	s.answers.Close()
	if s.h != nil {
		s.h.Close()
	}
}

// dismissSentinel lets it end. over: nothing of the tree is left.
func (c *containment) dismissSentinel(over bool) {
	if s := c.sentinel; s != nil {
		if over {
			s.order(wire.Over, nil)
		}
		s.close()
		c.sentinel = nil
	}
}

// sentinelEnded starts another in place of a sentinel that was killed.
func (c *containment) sentinelEnded() {
	c.sentinel.close()
	c.sentinel = nil
	if c.worker == nil || c.worker.exited || c.needSentinel() != nil {
		return
	}
	if c.sentinel.introduce(c.introduced(c.worker)) != nil {
		c.dismissSentinel(true)
	}
}
