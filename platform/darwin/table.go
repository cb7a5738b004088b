package darwin

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/program"
	"leash/internal/runid"
	"leash/scan"
)

// Table is the process table as the reaper sees it.
type Table struct {
	Kernel *Kernel

	boot  string
	uid   uint32
	never []proc.Info
	loop  *loop
	exits *exits
	blind bool // nobody tells of somebody's end: look again and again
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

// maxArgs bounds what is kept of somebody's arguments, for people to read.
const maxArgs = 32 << 10

// extras are processes that are taken in though nothing in their arguments or
// environment speaks for it.
type extras struct{ pids, groups, sessions map[int]bool }

func extrasOf(s *scan.Snapshot) extras {
	w := extras{make(map[int]bool), make(map[int]bool), make(map[int]bool)}
	for i := range s.Records {
		if r := &s.Records[i]; r.Boot == s.Boot && r.NS == s.NS {
			w.pids[r.Worker.PID], w.pids[r.Watchdog.PID] = true, true
			group, session := r.Leads()
			w.groups[r.Group] = w.groups[r.Group] || group
			w.sessions[r.Session] = w.sessions[r.Session] || session
		}
	}
	for _, h := range s.Held {
		w.groups[h.Group] = w.groups[h.Group] || h.Group == h.PID
		w.sessions[h.Session] = w.sessions[h.Session] || h.Session == h.PID
	}
	return w
}

// Take looks at every process that we may judge. One sysctl gives the whole
// table, with parents and groups; arguments and environment are read one by one.
func (t *Table) Take(records []ledger.Record, held []scan.Held) (*scan.Snapshot, error) {
	s := &scan.Snapshot{Boot: t.boot, UID: t.uid, Tick: t.Kernel.Tick(), Records: records, Held: held, Never: t.never}
	all, err := t.Kernel.sys.Processes()
	if err != nil {
		return nil, fmt.Errorf("kern.proc.all: %w", err)
	}
	w := extrasOf(s)
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
		hit := w.pids[e.PID] || w.groups[e.PGID] || len(w.sessions) > 0 && w.sessions[t.Kernel.session(*e)]
		if !hit && t.uid != 0 && e.UID != t.uid {
			continue
		}
		s.Scanned++
		p, spoken := t.read(s, e)
		if hit || spoken {
			known[e.PID] = true
			s.Procs = append(s.Procs, p)
		}
	}
	t.takeKin(s, known, children)
	s.Parents = make(map[int]scan.Process)
	for i := range s.Procs {
		p := &s.Procs[i]
		if e := byPID[p.PPID]; e != nil && scan.AskedForParent(p) {
			parent := scan.Process{Info: e.info(t.Kernel.session(*e)), Name: e.Name}
			// Who loses his parent is given to launchd, and starts are times of day:
			// one who seems younger than his child is its parent all the same.
			parent.Start = 0
			s.Parents[p.PPID] = parent
		}
	}
	s.Lives = make(map[proc.ID]scan.Life)
	for _, id := range s.Named() {
		if _, ok := s.Lives[id]; !ok {
			s.Lives[id] = t.Life(id)
		}
	}
	return s, nil
}

// takeKin adds who descends from those who are in already.
func (t *Table) takeKin(s *scan.Snapshot, known map[int]bool, children map[int][]*entry) {
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

// read completes what the table says of a process. It reports whether arguments
// or environment speak of a run, or it is one of ours. What is amiss is noted in
// the snapshot, if there is one. If the number changed hands since the table was
// read, the new owner started after the look began, and whoever opens him sees it.
func (t *Table) read(s *scan.Snapshot, e *entry) (p scan.Process, spoken bool) {
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
			s.Torn = fmt.Errorf("kern.procargs2 of %d: %w", e.PID, err)
		}
	}
	if err == nil {
		if args.Hidden && s != nil {
			s.Hidden++
		}
		l := runid.ReadEnviron(args.Env)
		p.EnvRuns, p.Worker, p.Owner = l.Runs, l.Worker, l.Owner
		p.ArgRuns = runid.AllFromArgs(args.Args)
		p.Args = splitArgs(args.Args[:min(len(args.Args), maxArgs)])
		p.Leash = t.Kernel.named(e.Name) && t.Kernel.beside(args)
	}
	// The name of one installed elsewhere is taken for it, unless its environment says
	// that it is of a run. Then the file must prove it.
	p.Leash = p.Leash || leashNamed(e.Name) && (len(p.EnvRuns) == 0 || filepath.IsAbs(args.Path) && program.Marked(args.Path))
	if p.Leash {
		p.Guards = guardedPID(args.Args)
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

// Scarce reports whether an error says that we have too little of something.
func Scarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// splitArgs makes strings of a block.
func splitArgs(b []byte) []string {
	args := []string{}
	for len(b) > 0 {
		var arg []byte
		arg, b, _ = bytes.Cut(b, []byte{0})
		args = append(args, string(arg))
	}
	return args
}

// guardedPID is the worker that a watchdog's arguments name, 0 if none.
func guardedPID(args []byte) int {
	list := splitArgs(args)
	for i, arg := range list {
		value, ok := "", false
		if arg == "--worker-pid" && i+1 < len(list) {
			value, ok = list[i+1], true
		} else if rest, cut := bytes.CutPrefix([]byte(arg), []byte("--worker-pid=")); cut {
			value, ok = string(rest), true
		}
		if n, err := strconv.ParseUint(value, 10, 31); ok && err == nil {
			return int(n)
		}
	}
	return 0
}

// Life says whether somebody named lives. What cannot be read is not dead.
func (t *Table) Life(id proc.ID) scan.Life {
	e, err := t.Kernel.process(id.PID)
	switch {
	case errors.Is(err, proc.ErrGone):
		return scan.Dead
	case err != nil:
		return scan.Unknown
	case e.Stat == statZombie || id.Match(proc.ID{PID: e.PID, Start: e.Start}) == proc.Different:
		return scan.Dead
	}
	return scan.Alive
}

// Tick is the present in the unit of proc.ID.Start.
func (t *Table) Tick() uint64 { return t.Kernel.Tick() }

// Age is how long ago a process started.
func (t *Table) Age(start uint64) time.Duration {
	now := t.Kernel.Tick()
	return time.Duration(now-min(start, now)) * time.Microsecond
}

// Now stands still while the machine sleeps.
func (t *Table) Now() time.Duration { return time.Since(t.start) }

// Wait returns true when the last whose end is waited for has ended, and false
// at the deadline.
func (t *Table) Wait(until time.Duration) (quiet bool, err error) {
	waiting := t.waiting()
	for {
		t.exits.take() // they know it themselves
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

// TableHandle stands for one process and never for a later one of its number.
type TableHandle struct {
	*handle
	t *Table
}

// Open takes a handle on whoever has the number now.
func (t *Table) Open(pid int) (*TableHandle, error) {
	h, err := t.Kernel.open(pid)
	if err != nil {
		return nil, err
	}
	return &TableHandle{h, t}, nil
}

// Same looks whether it is still the process of a scan that began at a tick
// before which that one had started.
func (h *TableHandle) Same(p *scan.Process, tick uint64) bool {
	if p.Start >= tick || p.Start != h.handle.start || p.PID != h.pid {
		return false
	}
	_, err := h.entry()
	return err == nil
}

// Read reads anew what is known of the process, and of no other.
func (h *TableHandle) Read() (scan.Process, error) {
	e, err := h.entry()
	if err != nil {
		return scan.Process{}, err
	}
	p, _ := h.t.read(nil, &e)
	_, err = h.entry()
	return p, err
}

// Inode is none: macOS has no pidfds.
func (h *TableHandle) Inode() uint64 { return 0 }

// Over reports whether Wait has heard of its end.
func (h *TableHandle) Over() bool { return h.ended }

// Read reads one process; proc.ErrGone if there is none.
func (t *Table) Read(pid int) (scan.Process, error) {
	h, err := t.Open(pid)
	if err != nil {
		return scan.Process{}, err
	}
	defer h.Close()
	return h.Read()
}
