package hosttest

import (
	"fmt"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
)

// asking is to what the stop signal is being sent.
type asking uint8

const (
	nobody asking = iota
	theTree
	theWorker
	itsGroup
)

// Ask is watch.Host's, and so are those that follow.
func (h *Host) Ask(s proc.Signal) []stop.Sent {
	h.begin("► ask", s.Name)
	h.begun()
	h.asked, h.askedAll, h.knownAt = true, true, h.opAt
	return h.while(theTree, func() []stop.Sent { return h.Tree.Ask(s) })
}

func (h *Host) AskNew(s proc.Signal) []stop.Sent {
	// It acts on what the count before it saw.
	h.W.Trace.said(h.W.now, "► ask new", s.Name, nil)
	return h.while(theTree, func() []stop.Sent { return h.Tree.AskNew(s) })
}

func (h *Host) AskWorker(s proc.Signal, group bool) []stop.Sent {
	h.begin("► ask the worker", s.Name)
	h.begun()
	h.asked, h.knownAt = true, h.opAt
	if !h.cfg.WorkerFirst {
		h.W.fail("the worker was asked first, and was not to be", nil)
	}
	who := theWorker
	if group {
		who = itsGroup
	}
	return h.while(who, func() []stop.Sent { return h.Tree.AskWorker(s, group) })
}

func (h *Host) while(who asking, send func() []stop.Sent) []stop.Sent {
	h.asking = who
	defer func() { h.asking = nobody }()
	return send()
}

// judgeOrder: where the worker comes first, nobody else is sent the polite signal
// while it lives, but its group if the signal is a Ctrl-C.
func (w *World) judgeOrder(p *Proc, sig proc.Signal, how string) {
	h := w.host
	if !h.cfg.WorkerFirst || h.asking == nobody || p == w.Worker || sig == contSignal {
		return
	}
	switch {
	case h.asking == theTree && w.Worker.phase == alive:
		w.fail(sig.Name+" "+how+" while the worker lives, which comes first", p)
	case h.asking == theWorker:
		w.fail(sig.Name+" "+how+" to another than the worker", p)
	case h.asking == itsGroup && p.group != w.Worker && p.joined < h.opAt:
		w.fail(sig.Name+" "+how+" to one who is not of the worker's group", p)
	}
}

// judgeRest: what the worker left behind in time was asked before the first
// SIGKILL. A count comes at least once a second, and finds that the worker has ended.
func (h *Host) judgeRest() {
	w := h.W
	if !h.cfg.WorkerFirst || h.askedAll || w.Worker.phase == alive || w.LookFails > 0 {
		return
	}
	since := max(w.Worker.endedAt, h.causeAt)
	if late := w.now - since - h.stalled; late > slack {
		w.fail(fmt.Sprintf("the worker had ended %v before, and the rest was never asked", late.Round(time.Millisecond)), w.Worker)
	}
}

// judgeVerified: what was proven is true, and all that can be proven is: under the
// subreaper everything that ends, unless a watchdog below the worker goes on.
func (h *Host) judgeVerified(verified bool) {
	w := h.W
	leash := false
	for _, p := range w.live {
		if !p.Tree && !p.Leash || p.never {
			continue
		}
		if leash = leash || p.Leash; verified && p.phase == alive && p.Tree && !p.Leash {
			w.fail("lives, and it was proven that nothing is left", p)
		}
	}
	if can := h.Tree.Empty != nil; verified && !can || !verified && can && h.survivors == 0 && !leash {
		w.fail(fmt.Sprintf("verified is %t, and a proof can be had: %t", verified, can), nil)
	}
}
