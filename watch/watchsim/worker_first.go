package watchsim

import (
	"fmt"
	"time"

	"leash/internal/proc"
)

// asking is where the stop signal is being sent.
type asking uint8

const (
	nothing asking = iota
	theTree
	theWorker
	itsGroup
)

// judgeOrder checks that with WorkerFirst no other process gets the stop signal while the
// worker lives, except its group if the signal is a Ctrl-C.
func (w *World) judgeOrder(p *Proc, sig proc.Signal, how string) {
	h := w.acting
	if h == nil || !h.cfg.WorkerFirst || h.asking == nothing || p == h.root || sig == contSignal {
		return
	}
	switch {
	case h.asking == theTree && h.root.phase == alive:
		w.fail(sig.Name+" "+how+" before the worker has ended, which comes first", p)
	case h.asking == theWorker:
		w.fail(sig.Name+" "+how+" to another process than the worker", p)
	case h.asking == itsGroup && p.group != h.root && p.joined < w.opAt:
		w.fail(sig.Name+" "+how+" to a process that is not in the worker's group", p)
	}
}

// judgeRest checks that the rest of the tree was signalled before the first SIGKILL if the
// worker ended early enough: a count, which finds that, comes at least once a second.
func (h *Host) judgeRest() {
	w := h.W
	if !h.cfg.WorkerFirst || h.askedAll || h.root.phase == alive || w.LookFails > 0 {
		return
	}
	since := max(h.root.endedAt, h.causeAt)
	if late := w.now - since - h.stalled; late > slack {
		w.fail(fmt.Sprintf("the worker had ended %v before, and the rest was never signalled", late.Round(time.Millisecond)), h.root)
	}
}

// judgeVerified checks that a proof is true, and that there is one where there can be: under
// the subreaper for every tree that ends, unless a watchdog below the worker lives on.
func (h *Host) judgeVerified(verified bool) {
	w := h.W
	leash, hold := false, h.hold.Hold()
	for _, p := range w.live {
		if p.Tree != h && !p.Leash || p.never || hold.Empty == nil && p.cgroup != h.hold {
			continue
		}
		if leash = leash || p.Leash; verified && p.phase == alive && p.Tree == h && !p.Leash {
			w.fail("lives, although it was proven that no process is left", p)
		}
	}
	if can := hold.Empty != nil || hold.Vacant != nil; verified && !can || !verified && can && h.survivors == 0 && !leash {
		w.fail(fmt.Sprintf("verified is %t, and a proof can be had: %t", verified, can), nil)
	}
}
