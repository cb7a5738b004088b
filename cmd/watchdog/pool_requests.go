package main

import (
	"errors"
	"io"
	"time"

	"leash/internal/rpc"
	"leash/platform"
	"leash/watch"
)

// requests reads what the parent sends, in a goroutine of its own. It reads no further while
// the parent takes no answers.
type requests struct {
	in   chan incoming
	out  *rpc.Out
	gone chan struct{} // closed at the end-of-file
}

type incoming struct {
	rpc.Request
	failed *rpc.Error
	end    bool // the parent's end
}

// waiting is how many requests are read ahead.
const waiting = 64

// lookAgain is how often an end-of-file is looked for while nothing is read.
const lookAgain = 500 * time.Millisecond

func newRequests(in io.Reader, out *rpc.Out, poke func(), gone chan struct{}) *requests {
	r := &requests{in: make(chan incoming, waiting), out: out, gone: gone}
	go r.read(in, poke)
	return r
}

func (r *requests) read(in io.Reader, poke func()) {
	lines := rpc.NewLines(in)
	for {
		for r.out.Full() {
			if !r.out.WaitForRoom(lookAgain) && platform.HungUp(0) {
				close(r.gone)
				r.in <- incoming{end: true}
				poke()
				return
			}
		}
		line, err := lines.Next()
		var i incoming
		switch {
		case errors.Is(err, rpc.ErrTooLong):
			i.ID, i.failed = []byte("null"), rpc.Errorf(rpc.InvalidRequest, "%v", err)
		case err != nil:
			i.end = true
			close(r.gone)
		default:
			i.Request, i.failed = rpc.Decode(line)
		}
		r.in <- i
		poke()
		if i.end {
			return
		}
	}
}

// atOnce is how many requests are handled before events are looked for.
const atOnce = 16

// take handles the requests that have come. It returns true if there may be more.
func (r *requests) take(p *poolProgram) bool {
	for range atOnce {
		select {
		case i := <-r.in:
			if i.end {
				p.pool.ParentDied(watch.ParentDied{By: "lifeline"})
				return false
			}
			p.stopped = p.stopped || i.failed == nil && i.Method == "shutdown"
			p.pool.Request(i.Request, i.failed)
			if p.pool.Over() {
				return false
			}
		default:
			return false
		}
	}
	// Events of workers first, but without waiting for any.
	return p.pool.Poll() == nil
}

// refuse answers the requests that came too late.
func (r *requests) refuse(p *poolProgram) {
	for {
		select {
		case i := <-r.in:
			if !i.end {
				p.pool.Request(i.Request, i.failed)
			}
		default:
			return
		}
	}
}
