package darwin

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"leash/internal/proc"
)

// world is a macOS of our own: calls, launcher and queue. Its queue has the
// peculiarities of the real one (filt_procattach, filt_procevent, filt_proctouch in
// bsd/kern/kern_event.c): a registration is of the process that has the number
// then; a second one of the same number changes nothing, whichever process has it now.
type world struct {
	t      *testing.T
	procs  map[int]*fake
	knotes map[uint64]*knote // by number
	inputs map[uint64]bool   // descriptors that are waited for
	ready  []kevent
	clock  uint64
	sent   []sent

	// onKill is called for a process that is sent SIGKILL and not denied.
	onKill func(*fake)
	// listed is called before each Processes.
	listed func()
	// reading is called before each Process.
	reading func(pid int)
	// unreadable is what Process says of a PID instead.
	unreadable map[int]error
	// tableError is what Processes says.
	tableError error
	// refused are the errors of the next changes; broken are those of the next
	// calls of kevent(2) themselves.
	refused, broken []error
	// children are what Start gives, in turn.
	children []*fake
	started  []start
	reaped   []int
	tell     func(proc.Signal)
	stopped  int
	pauses   func() // is called in each pause
	kinds    map[int]inputKind
	endless  bool
}

type fake struct {
	entry
	session int
	args    [][]byte // what the next reads of kern.procargs2 give; the last stays
	// argsError is given instead.
	argsError error
	denied    bool
}

type knote struct {
	of     *fake
	status bool
	fired  bool
}

type sent struct{ pid, sig int }

const self = 50

func newWorld(t *testing.T) *world {
	w := &world{t: t, procs: make(map[int]*fake), knotes: make(map[uint64]*knote), inputs: make(map[uint64]bool),
		clock: 1_700_000_000_000_000, unreadable: make(map[int]error), kinds: make(map[int]inputKind),
		pauses: func() {}}
	w.born(1, 0)
	w.born(self, 1)
	return w
}

func (w *world) kernel() *Kernel {
	k, err := newKernel(w)
	if err != nil {
		w.t.Fatal(err)
	}
	k.dir, k.name = "/opt/leash/", "darwin.test"
	return k
}

func (w *world) system(backend string) *System {
	s, err := newSystem(w.kernel(), w, w, backend)
	if err != nil {
		w.t.Fatal(err)
	}
	s.pause = func(time.Duration) { w.pauses() }
	return s
}

// born has a process begin, in a session and group of its own.
func (w *world) born(pid, parent int) *fake {
	w.clock += 10
	p := &fake{entry: entry{PID: pid, PPID: parent, PGID: pid, UID: 501, Real: 501, Saved: 501, Start: w.clock, Stat: statRuns}, session: pid}
	w.clock += 10
	w.procs[pid] = p
	return p
}

// exit begins its end: the queue tells of it before it is a zombie.
func (w *world) exit(p *fake, status int) {
	p.Flags |= flagExiting
	p.Status = status
	k := w.knotes[uint64(p.PID)]
	if k == nil || k.of != p {
		return
	}
	k.fired = true
	e := kevent{Ident: uint64(p.PID), Filter: filterProc, Flags: evClear | evEOF, Fflags: noteExit}
	if k.status {
		e.Fflags |= noteExitStatus
		e.Data = int64(status)
	}
	w.ready = append(w.ready, e)
}

func (w *world) zombie(p *fake) { p.Stat = statZombie }

// end is all of it, but for reaping.
func (w *world) end(p *fake, status int) {
	w.exit(p, status)
	w.zombie(p)
}

func (w *world) reap(p *fake) {
	if w.procs[p.PID] == p {
		delete(w.procs, p.PID)
	}
}

func (w *world) Process(pid int) (entry, error) {
	if f := w.reading; f != nil {
		w.reading = nil
		f(pid)
		if w.reading == nil {
			w.reading = f
		}
	}
	if err := w.unreadable[pid]; err != nil {
		return entry{}, err
	}
	if p := w.procs[pid]; p != nil {
		return p.entry, nil
	}
	return entry{}, proc.ErrGone
}

func (w *world) Processes() ([]entry, error) {
	if w.listed != nil {
		w.listed()
	}
	if w.tableError != nil {
		return nil, w.tableError
	}
	var all []entry
	for pid := range 1000 {
		if p := w.procs[pid]; p != nil {
			all = append(all, p.entry)
		}
	}
	return all, nil
}

func (w *world) Session(pid int) (int, error) {
	if p := w.procs[pid]; p != nil && p.Stat != statZombie {
		return p.session, nil
	}
	return 0, syscall.ESRCH
}

func (w *world) ProcArgs(pid int) ([]byte, error) {
	p := w.procs[pid]
	if p != nil && p.argsError != nil {
		return nil, p.argsError
	}
	if p == nil || p.over() || len(p.args) == 0 {
		return nil, syscall.EINVAL
	}
	b := p.args[0]
	if len(p.args) > 1 {
		p.args = p.args[1:]
	}
	return b, nil
}

// Kill is kill(2) with its answer for a group of zombies.
func (w *world) Kill(pid, sig int) error {
	w.sent = append(w.sent, sent{pid, sig})
	if pid >= 0 {
		switch p := w.procs[pid]; {
		case p == nil:
			return syscall.ESRCH
		case p.denied:
			return syscall.EPERM
		}
		w.kill(w.procs[pid], sig)
		return nil
	}
	err := error(syscall.ESRCH)
	for _, p := range w.procs {
		switch {
		case p.PGID != -pid:
		case p.Stat == statZombie || p.denied:
			if err != nil {
				err = syscall.EPERM
			}
		default:
			w.kill(p, sig)
			err = nil
		}
	}
	return err
}

func (w *world) kill(p *fake, sig int) {
	if sig == proc.KILL.Num && w.onKill != nil && p.Stat != statZombie {
		w.onKill(p)
	}
}

func (w *world) Clock() uint64         { w.clock++; return w.clock }
func (w *world) Boot() (string, error) { return "8D0C9A6E-1111-4222-8333-ABCDEF012345", nil }
func (w *world) Self() int             { return self }

var errHang = errors.New("nothing will ever happen, and it waits")

func (w *world) Kevent(changes, events []kevent, timeout time.Duration) (int, error) {
	if len(w.broken) > 0 {
		err := w.broken[0]
		w.broken = w.broken[1:]
		return 0, err
	}
	n := 0
	for _, c := range changes {
		err := w.change(c)
		if c.Flags&evReceipt != 0 {
			c.Flags, c.Data = evError, int64(err)
			events[n] = c
			n++
		}
	}
	if n > 0 || len(changes) > 0 {
		return n, nil
	}
	for len(w.ready) > 0 && n < len(events) {
		e := w.ready[0]
		w.ready = w.ready[1:]
		if e.Filter == filterProc && e.Flags&evEOF != 0 {
			delete(w.knotes, e.Ident) // one shot
		}
		events[n] = e
		n++
	}
	if n == 0 && timeout < 0 {
		return 0, errHang
	}
	return n, nil
}

func (w *world) change(c kevent) syscall.Errno {
	if c.Filter != filterUser && len(w.refused) > 0 {
		err := w.refused[0]
		w.refused = w.refused[1:]
		if err != nil {
			return err.(syscall.Errno)
		}
	}
	switch {
	case c.Filter == filterUser:
		if c.Fflags&noteTrigger != 0 {
			w.ready = append(w.ready, kevent{Ident: c.Ident, Filter: filterUser})
		}
	case c.Filter == filterRead:
		w.inputs[c.Ident] = c.Flags&evAdd != 0
	case c.Flags&evDelete != 0:
		if w.knotes[c.Ident] == nil {
			return syscall.ENOENT
		}
		delete(w.knotes, c.Ident)
		for i := 0; i < len(w.ready); i++ {
			if w.ready[i].Ident == c.Ident && w.ready[i].Filter == filterProc {
				w.ready = append(w.ready[:i], w.ready[i+1:]...)
				i--
			}
		}
	case w.knotes[c.Ident] != nil: // touched, not attached anew
	default:
		p := w.procs[int(c.Ident)]
		if p == nil || p.Stat == statZombie {
			return syscall.ESRCH
		}
		w.knotes[c.Ident] = &knote{of: p, status: c.Fflags&noteExitStatus != 0}
	}
	return 0
}

func (w *world) Close() {}

func (w *world) Start(s start) (int, error) {
	w.started = append(w.started, s)
	if len(w.children) == 0 {
		return 0, syscall.ENOENT
	}
	p := w.children[0]
	w.children = w.children[1:]
	w.procs[p.PID] = p
	return p.PID, nil
}

func (w *world) Resident(pid int) uint64 { return uint64(pid) << 20 }

func (w *world) Usage(pid int) proc.Usage {
	return proc.Usage{Known: w.procs[pid] != nil, Peak: 1 << 20}
}

func (w *world) Reap(pid int, wait bool) (proc.Exit, bool) {
	p := w.procs[pid]
	switch {
	case p == nil:
		return proc.Exit{}, true
	case !p.over() && wait:
		w.t.Errorf("it waits for %d, which lives", pid)
		fallthrough
	case p.Stat != statZombie && !wait:
		return proc.Exit{}, false
	}
	w.reaped = append(w.reaped, pid)
	w.reap(p)
	return w.WaitStatus(p.Status), true
}

func (w *world) Listen(tell func(proc.Signal)) error { w.tell = tell; return nil }
func (w *world) StopSelf()                           { w.stopped++ }
func (w *world) Drain(int) bool                      { return !w.endless }

func (w *world) Input(fd int) (inputKind, error) {
	kind, ok := w.kinds[fd]
	if !ok {
		return 0, syscall.EBADF
	}
	return kind, nil
}

func (w *world) WaitStatus(status int) proc.Exit {
	if sig := status & 0x7f; sig != 0 {
		return proc.Exit{Known: true, Signal: proc.Signal{Num: sig, Name: "SIG"}}
	}
	return proc.Exit{Known: true, Code: status >> 8}
}
