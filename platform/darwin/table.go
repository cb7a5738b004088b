package darwin

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/program"
	"leash/internal/runid"
	"leash/internal/snapshot"
)

// Table is the process table as the reaper reads it.
type Table struct {
	Kernel *Kernel

	boot  string
	uid   uint32
	never []proc.Info
	loop  *loop
	exits *exits
	blind bool // not every end is noticed: Wait returns soon, and its caller reads again
	start time.Time
}

func newTable(k *Kernel, q queue, uid uint32) (*Table, error) {
	t := &Table{Kernel: k, uid: uid, never: k.ancestors(), loop: &loop{q: q}, start: time.Now()}
	t.exits = newExits(t.loop)
	k.notify = func(h *handle) {
		if t.exits.add(h) != nil {
			t.blind = true
		}
	}
	k.forget = t.exits.drop
	var err error
	t.boot, err = k.here()
	return t, err
}

// maxArgs bounds what is kept of a process's arguments for people.
const maxArgs = 32 << 10

// Take reads every process that may be judged. One sysctl gives the whole table, with
// parents and groups; arguments and environment are read one by one.
func (t *Table) Take(records []ledger.Record, held []snapshot.Held) (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{Boot: t.boot, UID: t.uid, Tick: t.Kernel.Tick(), Records: records, Held: held, Protected: t.never}
	all, err := t.Kernel.sys.Processes()
	if err != nil {
		return nil, fmt.Errorf("kern.proc.all: %w", err)
	}
	x := s.Extras()
	known := make(map[int]bool)
	children := make(map[int][]*entry)
	byPID := make(map[int]*entry, len(all))
	for i := range all {
		e := &all[i]
		if e.PID < 1 || e.Flags&flagSystem != 0 {
			continue
		}
		byPID[e.PID] = e
		children[e.PPID] = append(children[e.PPID], e)
		hit := x.PIDs[e.PID] || x.Groups[e.PGID] || len(x.Sessions) > 0 && x.Sessions[t.Kernel.session(*e)]
		if !hit && t.uid != 0 && e.UID != t.uid {
			continue
		}
		s.Scanned++
		p, matters := t.read(s, e)
		if hit || matters {
			known[e.PID] = true
			s.Procs = append(s.Procs, p)
		}
	}
	t.addDescendants(s, known, children)
	s.Parents = make(map[int]snapshot.Process)
	for i := range s.Procs {
		p := &s.Procs[i]
		if e := byPID[p.PPID]; e != nil && p.NeedsParent() {
			parent := snapshot.Process{Info: e.info(t.Kernel.session(*e)), Name: e.Name}
			// A process that loses its parent is given to launchd, and start times are
			// times of day: a parent that seems younger than its child is the parent.
			parent.Start = 0
			s.Parents[p.PPID] = parent
		}
	}
	s.FillLives(t.Life)
	return s, nil
}

// addDescendants takes in the descendants of the processes that are in already.
func (t *Table) addDescendants(s *snapshot.Snapshot, known map[int]bool, children map[int][]*entry) {
	for i := 0; i < len(s.Procs); i++ { // grows while it is read
		for _, e := range children[s.Procs[i].PID] {
			if !known[e.PID] {
				known[e.PID] = true
				p, _ := t.read(nil, e)
				s.Procs = append(s.Procs, p)
			}
		}
	}
}

// read completes what the table says of a process. It reports whether arguments or
// environment name a run, or it is a program of ours. What cannot be read is noted in
// the snapshot, if there is one. If the PID is another process's since the table was
// read, that process started after the scan began, and a handle on it says so.
func (t *Table) read(s *snapshot.Snapshot, e *entry) (p snapshot.Process, matters bool) {
	p.Info, p.Name, p.Mixed = e.info(t.Kernel.session(*e)), e.Name, e.mixed()
	if e.over() {
		return p, false
	}
	args, err := t.argsOf(e)
	if err != nil && s != nil {
		if e.UID == t.uid && !errors.Is(err, proc.ErrGone) {
			s.Unread++
		}
		if Scarce(err) {
			s.Incomplete = fmt.Errorf("kern.procargs2 of %d: %w", e.PID, err)
		}
	}
	if err == nil {
		if args.Hidden && s != nil {
			s.Hidden++
		}
		l := runid.ReadEnviron(args.Env)
		p.EnvRuns, p.Worker, p.Owner = l.Runs, l.Worker, l.Owner
		p.ArgRuns = runid.AllFromArgs(args.Args)
		p.Args = snapshot.SplitArgs(args.Args[:min(len(args.Args), maxArgs)])
		p.Leash = t.Kernel.named(e.Name) && t.Kernel.beside(args)
	}
	// The name is enough for one that is installed elsewhere, unless its environment
	// names a run. Then the file must prove it.
	p.Leash = p.Leash || leashNamed(e.Name) && (len(p.EnvRuns) == 0 || filepath.IsAbs(args.Path) && program.Marked(args.Path))
	if p.Leash {
		p.Guards = snapshot.GuardedPID(snapshot.SplitArgs(args.Args))
	}
	return p, p.Leash || len(p.EnvRuns) > 0 || len(p.ArgRuns) > 0
}

// argsOf reads twice only what matters: labels that are torn off in front by an
// execve(2) in between are seen when the process is read anew behind a handle.
func (t *Table) argsOf(e *entry) (procArgs, error) {
	b, err := t.Kernel.sys.ProcArgs(e.PID)
	if err != nil {
		if now, gone := t.Kernel.sys.Process(e.PID); errors.Is(gone, proc.ErrGone) || gone == nil && (now.over() || now.Start != e.Start) {
			err = proc.ErrGone
		}
		return procArgs{}, err
	}
	p, err := parseProcArgs2(b)
	if err == nil && (bytes.Contains(b, runVariable) || bytes.Contains(b, runFlag)) {
		return t.Kernel.procArgs(e.PID)
	}
	return p, err
}

var (
	runVariable = []byte("_RUN_ID=")
	runFlag     = []byte("-run-id")
)

// Scarce reports whether an error says that descriptors or memory are lacking.
func Scarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// Life reports whether a process is alive. One that cannot be read is not dead.
func (t *Table) Life(id proc.ID) snapshot.Life {
	e, err := t.Kernel.process(id.PID)
	switch {
	case errors.Is(err, proc.ErrGone):
		return snapshot.Dead
	case err != nil:
		return snapshot.Unknown
	case e.Stat == statZombie || id.Match(proc.ID{PID: e.PID, Start: e.Start}) == proc.Different:
		return snapshot.Dead
	}
	return snapshot.Alive
}

// Tick is the present in the unit of proc.ID.Start.
func (t *Table) Tick() uint64 { return t.Kernel.Tick() }

// Age is how long ago a process started, by the time of day.
func (t *Table) Age(start uint64) time.Duration {
	now := t.Kernel.Tick()
	return time.Duration(now-min(start, now)) * time.Microsecond
}

// Now stands still while the machine sleeps.
func (t *Table) Now() time.Duration { return time.Since(t.start) }

// Wait returns true when all processes that are waited for have ended, and false at the
// deadline.
func (t *Table) Wait(until time.Duration) (quiet bool, err error) {
	waiting := t.waiting()
	for {
		t.exits.take() // their handles know it
		left := until - t.Now()
		switch {
		case waiting && !t.waiting():
			return true, nil
		case left <= 0:
			return false, nil
		}
		blind := t.blind
		if blind {
			left = min(left, endingPoll)
		}
		waiting = t.waiting()
		if err := t.loop.wait(left, true, t.happened); err != nil {
			return false, err
		}
		if blind {
			return true, nil
		}
	}
}

func (t *Table) waiting() bool { return len(t.exits.waited) > 0 || len(t.exits.told) > 0 }

func (t *Table) happened(e kevent) {
	if e.Filter == filterProc {
		_, lost := t.exits.event(e, func(int) proc.Exit { return proc.Exit{} })
		t.blind = t.blind || len(lost) > 0
	}
}

// tableHandle is snapshot.Handle.
type tableHandle struct {
	*handle
	t *Table
}

// Open takes a handle on the process that has the PID now; proc.ErrGone if none has.
func (t *Table) Open(pid int) (snapshot.Handle, error) {
	h, err := t.Kernel.open(pid)
	if err != nil {
		return nil, err
	}
	return &tableHandle{h, t}, nil
}

// Same reports whether the handle's process is one that a scan found which began
// at that tick.
func (h *tableHandle) Same(p *snapshot.Process, tick uint64) bool {
	if p.Start >= tick || p.Start != h.handle.start || p.PID != h.pid {
		return false
	}
	_, err := h.entry()
	return err == nil
}

// Read reads anew what is known of the process, and of no other.
func (h *tableHandle) Read() (snapshot.Process, error) {
	e, err := h.entry()
	if err != nil {
		return snapshot.Process{}, err
	}
	p, _ := h.t.read(nil, &e)
	_, err = h.entry()
	return p, err
}

// Inode is none: macOS has no pidfds.
func (h *tableHandle) Inode() uint64 { return 0 }

// Over reports whether Wait has noticed its end.
func (h *tableHandle) Over() bool { return h.ended }

// Read reads one process; proc.ErrGone if there is none.
func (t *Table) Read(pid int) (snapshot.Process, error) {
	h, err := t.Open(pid)
	if err != nil {
		return snapshot.Process{}, err
	}
	defer h.Close()
	return h.Read()
}
