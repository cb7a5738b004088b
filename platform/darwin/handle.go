package darwin

import (
	"errors"
	"syscall"

	"leash/internal/proc"
	"leash/internal/runid"
	"leash/internal/stop"
)

// handle stands for one process: its number and its start time, compared before
// each use. It is as good as a pidfd but for the moment between the look and
// kill(2) (see the package comment). Two processes of the same number and
// microsecond there are not: the number comes round only after all the others.
type handle struct {
	k       *Kernel
	pid     int
	start   uint64
	session int  // as last seen, for the time as a zombie
	watched bool // its end will be told
	ended   bool // its end was told: nothing of it runs, though it may be no zombie yet
	closed  bool
	exit    proc.Exit // with ended, if it was told
	// worker is never taken for a watchdog: somebody wants it guarded.
	worker bool
}

var _ stop.Handle = (*handle)(nil)

// entry is that of this very process; proc.ErrGone if the number is nobody's or
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

// Look is stop.Handle's.
func (h *handle) Look() (proc.Info, error) {
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
	// What was asked by number alone was asked of this process if it is there yet.
	if _, err := h.entry(); errors.Is(err, proc.ErrGone) {
		return proc.Info{}, err
	}
	return info, nil
}

// Signal sends nothing to whom it cannot look at.
func (h *handle) Signal(sig proc.Signal) error {
	if _, err := h.entry(); err != nil {
		return err
	}
	return signalError(h.k.sys.Kill(h.pid, sig.Num))
}

// SignalGroup uses the number of the group only while its leader holds it, be it
// as a zombie.
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

// emptyGroup reports whether nobody in a group is alive.
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

// args are what kern.procargs2 tells of this very process.
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

// Labels is stop.Handle's. Programs that System Integrity Protection restricts
// have none.
func (h *handle) Labels() (run, worker string) {
	p, ok := h.args()
	if !ok {
		return "", ""
	}
	return runid.FromEnviron(p.Env)
}

// Notify is stop.Handle's.
func (h *handle) Notify() {
	if h.k.notify != nil && !h.closed {
		h.k.notify(h)
	}
}

// Close is stop.Handle's.
func (h *handle) Close() {
	if !h.closed && h.k.forget != nil {
		h.k.forget(h)
	}
	h.closed = true
}
