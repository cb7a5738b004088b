package darwin

import (
	"errors"
	"syscall"

	"leash/internal/proc"
	"leash/internal/runid"
	"leash/internal/system"
)

// handle stands for one process: its PID and its start time, compared before each
// use. It is as good as a pidfd but for the moment between the check and kill(2) (see
// the package comment). No two processes have the same PID and microsecond: a PID is
// given out again only after all the others.
type handle struct {
	k       *Kernel
	pid     int
	start   uint64
	session int // as last seen, for the time as a zombie
	// worker is never taken for a watchdog: it was named as the one to guard.
	worker bool
	closed bool

	watched bool // the queue tells of its end
	ended   bool // its end was reported: nothing of it runs, though it may be no zombie yet
	owner   any  // named in what is reported
	waited  bool // and it is counted among those of the owner
	onEnd   func()

	exit   proc.Exit // if it is known
	exited bool      // Exit has said that it has ended
	// launcher has started it; nil: it is no child of ours. reaped: and reaped it.
	launcher launcher
	reaped   bool
}

var _ system.Handle = (*handle)(nil)

// entry is that of this very process; proc.ErrGone if the PID is no process's or
// another's by now.
func (h *handle) entry() (entry, error) {
	if h.closed {
		return entry{}, proc.ErrGone
	}
	e, err := h.k.process(h.pid)
	if err == nil && e.Start != h.start {
		err = proc.ErrGone
	}
	return e, err
}

func (h *handle) id() proc.ID { return proc.ID{PID: h.pid, Start: h.start} }

// Info implements stop.Handle.
func (h *handle) Info() (proc.Info, error) {
	e, err := h.entry()
	if errors.Is(err, proc.ErrGone) {
		return proc.Info{}, err
	}
	if err != nil {
		return proc.Info{ID: h.id()}, err
	}
	if sid := h.k.session(e); sid != 0 {
		h.session = sid
	}
	info := e.info(h.session)
	if h.ended {
		info.State = 'Z'
	}
	if !h.worker && h.k.named(e.Name) {
		if p, err := h.k.procArgs(h.pid); err == nil {
			info.Leash = h.k.beside(p)
		}
	}
	// What was read by number alone was read of this process if it is there yet.
	if _, err := h.entry(); errors.Is(err, proc.ErrGone) {
		return proc.Info{}, err
	}
	return info, nil
}

// Signal sends nothing to a process that cannot be read.
func (h *handle) Signal(sig proc.Signal) error {
	if _, err := h.entry(); err != nil {
		return err
	}
	return signalError(h.k.sys.Kill(h.pid, sig.Num))
}

// SignalGroup uses the number of the group only while its leader holds it, alive or as
// a zombie.
func (h *handle) SignalGroup(sig proc.Signal) error {
	e, err := h.entry()
	if err != nil || e.PGID != h.pid || h.pid <= 1 {
		return errors.ErrUnsupported
	}
	err = h.k.sys.Kill(-h.pid, sig.Num)
	if err == syscall.EPERM && h.k.emptyGroup(h.pid) {
		// kill(2) says so too of a group in which only zombies are.
		return proc.ErrGone
	}
	return signalError(err)
}

// emptyGroup reports whether no process of a group is alive.
func (k *Kernel) emptyGroup(group int) bool {
	all, err := k.sys.Processes()
	if err != nil {
		return false
	}
	for i := range all {
		if all[i].PGID == group && !all[i].over() {
			return false
		}
	}
	return true
}

func signalError(err error) error {
	switch err {
	case syscall.ESRCH:
		return proc.ErrGone
	case syscall.EPERM:
		return proc.ErrDenied
	}
	return err
}

// args are what kern.procargs2 holds of this very process.
func (h *handle) args() (procArgs, bool) {
	p, err := h.k.procArgs(h.pid)
	if err != nil {
		return procArgs{}, false
	}
	if _, err := h.entry(); err != nil {
		return procArgs{}, false
	}
	return p, true
}

// Labels implements stop.Handle. Programs that System Integrity Protection restricts
// have none.
func (h *handle) Labels() (run, worker string) {
	p, ok := h.args()
	if !ok {
		return "", ""
	}
	return runid.FromEnviron(p.Env)
}

// Names are those of arguments and environment; the arguments come first.
func (h *handle) Names() (run, worker string) {
	p, ok := h.args()
	if !ok {
		return "", ""
	}
	run, worker = runid.FromEnviron(p.Env)
	if id := runid.FromArgs(p.Args); id != "" {
		run = id
	}
	return run, worker
}

// Catches reads the mask of caught signals (p_sigcatch).
func (h *handle) Catches(s proc.Signal) bool {
	e, err := h.entry()
	return err == nil && e.catches(s.Num)
}

// over reports whether its end is certain: what cannot be read may be alive.
func (h *handle) over() bool {
	e, err := h.entry()
	return errors.Is(err, proc.ErrGone) || err == nil && e.over()
}

// gone takes only a reaped process or a zombie for dead, or one with an event of its end.
func (h *handle) gone() bool {
	if h.ended {
		return true
	}
	e, err := h.entry()
	return errors.Is(err, proc.ErrGone) || err == nil && e.Stat == statZombie
}

// Exit is how the process ended, by the queue's event or by its zombie. A child of ours is
// reaped here only if there is no other source: as long as it is a zombie its PID is not
// reused, nor is that of a group, so that the group can be signalled.
func (h *handle) Exit() (exit proc.Exit, ended bool) {
	if h.exited {
		return h.exit, true
	}
	if !h.gone() {
		return proc.Exit{}, false
	}
	h.exited = true
	if e, err := h.entry(); !h.exit.Known && err == nil && e.Stat == statZombie {
		h.exit = h.k.sys.WaitStatus(e.Status)
	}
	if !h.exit.Known {
		h.reap(true)
	}
	return h.exit, true
}

// reap collects a child of ours. With wait its end must be certain: it may become a
// zombie only a moment later.
func (h *handle) reap(wait bool) {
	if h.launcher == nil || h.reaped {
		return
	}
	exit, ended := h.launcher.Reap(h.pid, wait)
	if h.reaped = ended; ended && !h.exit.Known {
		h.exit = exit
	}
}

// Notify makes Table.Wait wait for its end.
func (h *handle) Notify() {
	if h.k.notify != nil && !h.closed {
		h.k.notify(h)
	}
}

// Close implements stop.Handle. It reaps a child of ours that has ended.
func (h *handle) Close() {
	if h.closed {
		return
	}
	if h.k.forget != nil {
		h.k.forget(h)
	}
	h.reap(h.ended || h.exited)
	h.closed = true
}
