package watchsim

import (
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
)

var (
	stopSignal = stop.STOP
	contSignal = stop.CONT

	abortSignal = proc.Signal{Num: 6, Name: "SIGABRT"}
)

// How a signal reached a process.
const (
	alone   = "alone"
	inGroup = "in its group"
	inAll   = "with its cgroup"
)

// send delivers a signal from the watchdog, and checks that it was right.
func (w *World) send(p *Proc, sig proc.Signal, how string) {
	if sig.Num == 0 {
		return
	}
	w.judge(p, sig, how)
	w.judgeOrder(p, sig, how)
	w.deliver(p, sig)
}

// judge fails if the signal must not have been sent to this process.
func (w *World) judge(p *Proc, sig proc.Signal, how string) {
	switch {
	case p == w.Self:
		w.fail(sig.Name+" "+how+" to the watchdog itself", p)
	case p.PID <= 1:
		w.fail(sig.Name+" "+how+" to PID 1", p)
	case p.never:
		w.fail(sig.Name+" "+how+" to an ancestor of the watchdog", p)
	case p.Leash && max(p.leashAt, p.joined) >= w.opAt, p.Leash && w.LookFails > 0:
		// A process that became one, or joined, since this action began cannot be recognized.
		w.System.stats.UnknownLeash++
	case p.Leash && p.open > 0 && p.leashLooks > 0:
		w.fail(sig.Name+" "+how+" to a watchdog or reaper that was known as one", p)
	case p.Leash && how == alone && p.looked > p.leashAt:
		w.fail(sig.Name+" "+how+" to a watchdog or reaper", p)
	case p.Leash && p.phase == alive:
		w.System.stats.UnknownLeash++
	case p.Tree == nil && !p.Leash:
		w.fail(sig.Name+" "+how+" to a bystander", p)
	case w.acting != nil && p.Tree != nil && p.Tree != w.acting:
		w.fail(sig.Name+" "+how+" to the tree of another worker", p)
	}
	if how == inGroup && w.Self.group == p.group {
		w.fail(sig.Name+" to the watchdog's own group", p)
	}
}

// deliver does what the system does with a signal.
func (w *World) deliver(p *Proc, sig proc.Signal) {
	if p.phase != alive {
		return
	}
	switch sig.Name {
	case "SIGKILL":
		w.kill(p)
	case "SIGSTOP":
		if !p.stopped {
			p.stopped, p.stopAt = true, w.calls
		}
	case "SIGABRT":
		if p.canAct() {
			w.lastWords(p)
		}
	case "SIGCONT":
		p.stopped = false
		if p.pendTerm && p.canAct() {
			w.terminate(p)
		}
	case "SIGTERM", "SIGINT", "SIGQUIT":
		if p.termAt == 0 {
			p.termAt = max(w.calls, 1)
		}
		if p.stopped || p.sleep {
			p.pendTerm = true
		} else if p.canAct() {
			w.terminate(p)
		}
	}
}

func (w *World) kill(p *Proc) {
	if p.pendKill {
		return
	}
	p.pendKill, p.killAt = true, w.calls
	if w.firstKill == 0 {
		w.firstKill = max(w.calls, 1)
	}
	if p.sleep {
		return
	}
	if p.temper.slow == 0 {
		w.exit(p, proc.Exit{Known: true, Signal: proc.KILL})
		return
	}
	w.after(p.temper.slow, timerExit, p)
}

// terminate is how a process handles the stop signal.
func (w *World) terminate(p *Proc) {
	p.pendTerm = false
	switch p.temper.onTerm {
	case dies:
		w.exit(p, proc.Exit{Known: true, Signal: proc.TERM})
	case diesLate:
		w.after(w.Between(0, 4e9), timerExit, p)
	case forksAndDies, forksAndStays:
		for range 1 + w.N(2) {
			w.Fork(p)
		}
		if p.temper.onTerm == forksAndDies {
			w.after(w.soon(), timerExit, p)
		}
	}
}

// lastWords is how a process handles the hang signal.
func (w *World) lastWords(p *Proc) {
	switch n := w.N(100); {
	case n < 50:
		w.exit(p, proc.Exit{Known: true, Signal: abortSignal})
	case n < 75: // it writes for long
		w.after(w.Between(0, 4*time.Second), timerExit, p)
	}
}

// soon is at once, or a little later.
func (w *World) soon() time.Duration {
	if w.Chance(40) {
		return 0
	}
	return w.Between(0, 300*time.Millisecond)
}
