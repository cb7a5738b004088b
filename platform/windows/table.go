//go:build windows

package windows

import (
	"errors"
	"fmt"
	"os"
	"time"

	win "golang.org/x/sys/windows"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
)

// Table is the process table as the reaper reads it. An administrator is no superuser
// here: only processes of the caller's own user are judged.
type Table struct {
	Kernel *Kernel

	uid      uint32
	never    []proc.Info
	recorded map[proc.ID]*ledger.Record // at the last scan
	waits    waits
	told     chan happening
	waited   map[*waited]*tableHandle
	open     map[int]*tableHandle
	blind    bool // not every end is noticed: Wait returns soon, and its caller reads again
	start    uint64
}

// NewTable prepares to read the process table.
func NewTable(k *Kernel) (*Table, error) {
	me, err := userSID()
	if err != nil {
		return nil, err
	}
	t := &Table{Kernel: k, uid: k.users.number(me), never: k.ancestors(), start: unbiased(), told: make(chan happening, 64),
		waited: make(map[*waited]*tableHandle), open: make(map[int]*tableHandle)}
	t.waits.out = t.told
	k.forget, k.oneByOne = t.forget, true
	k.mine = func(pid int) bool { return t.open[pid] != nil }
	return t, nil
}

// UID is the number of our own user.
func (t *Table) UID() uint32 { return t.uid }

// Take reads every process of our own user, those that records name, and what they
// started. One call gives the whole table; arguments and environment are read behind
// a handle on each process.
func (t *Table) Take(records []ledger.Record, held []snapshot.Held) (*snapshot.Snapshot, error) {
	t.recorded = recorded(records)
	s := &snapshot.Snapshot{Boot: everyBoot, UID: t.uid, Tick: t.Kernel.Tick(), Records: records, Held: held, Protected: t.never}
	l, err := t.list()
	if err != nil {
		return nil, fmt.Errorf("NtQuerySystemInformation: %w", err)
	}
	known := make(map[int]bool)
	for i := range l.all {
		if p, ok := t.inspect(s, &l.all[i]); ok {
			known[p.PID] = true
			s.Procs = append(s.Procs, p)
		}
	}
	for i := 0; i < len(s.Procs); i++ { // grows while it is read
		if s.Procs[i].Denied != "" {
			continue
		}
		for _, e := range l.childrenOf(s.Procs[i].ID) {
			if known[e.pid] {
				continue
			}
			known[e.pid] = true
			if p, ok := t.child(e); ok {
				s.Procs = append(s.Procs, p)
			}
		}
	}
	t.addParents(s, l)
	s.FillLives(t.Life)
	return s, nil
}

func (t *Table) list() (*listing, error) {
	var all []listed
	err := t.Kernel.each(func(r row) {
		if e := r.entry(); e.pid != idlePID && e.pid != systemPID {
			all = append(all, listed{e, r.name()})
		}
	})
	l := newListing(all)
	l.latest = t.Kernel.latest()
	return l, err
}

// idlePID is no process.
const idlePID = 0

// addParents reads the parents that a verdict may depend on.
func (t *Table) addParents(s *snapshot.Snapshot, l *listing) {
	s.Parents = make(map[int]snapshot.Process)
	for i := range s.Procs {
		p := &s.Procs[i]
		if _, ok := s.Parents[p.PPID]; !ok && p.NeedsParent() {
			s.Parents[p.PPID] = l.parent(p.PPID, t.ended)
		}
	}
}

// ended reports whether a process of the table has ended for certain: it stays there
// for as long as any process holds a handle on it.
func (t *Table) ended(pid int) bool {
	h, err := t.Kernel.openWith(pid, wanted[3:])
	if err == nil {
		h.Close()
	}
	return errors.Is(err, proc.ErrGone)
}

// Life reports whether a process is alive. One that cannot be read is not dead.
func (t *Table) Life(id proc.ID) snapshot.Life {
	h, err := t.Kernel.openWith(id.PID, wanted[3:])
	switch {
	case errors.Is(err, proc.ErrGone):
		return snapshot.Dead
	case err == nil:
		defer h.Close()
		return lifeOf(id, h.start)
	case !errors.Is(err, proc.ErrDenied):
		return snapshot.Unknown
	}
	// Every user may read the creation times of all processes.
	table, err := t.Kernel.table()
	if start, ok := startIn(table, id.PID); err == nil && ok {
		return lifeOf(id, start)
	}
	return snapshot.Unknown
}

// lifeOf compares the process that was named with the one that has its PID.
func lifeOf(id proc.ID, start uint64) snapshot.Life {
	if id.Match(proc.ID{PID: id.PID, Start: start}) == proc.Different {
		return snapshot.Dead
	}
	return snapshot.Alive
}

// Tick is the present in the unit of proc.ID.Start.
func (t *Table) Tick() uint64 { return t.Kernel.Tick() }

// Age is how long ago a process was created.
func (t *Table) Age(start uint64) time.Duration {
	now := t.Kernel.Tick()
	return time.Duration(now-min(start, now)) * 100
}

// Now stands still while the machine sleeps.
func (t *Table) Now() time.Duration { return time.Duration(unbiased()-t.start) * 100 }

// Read reads one process; proc.ErrGone if there is none.
func (t *Table) Read(pid int) (snapshot.Process, error) {
	h, err := t.Kernel.open(pid)
	if errors.Is(err, proc.ErrDenied) {
		err = errDenied
	}
	if err != nil {
		return snapshot.Process{}, err
	}
	defer h.Close()
	p, _, err := t.read(h)
	return p, err
}

// Scarce reports whether an error says that handles or memory are lacking.
func Scarce(err error) bool {
	for _, e := range []error{win.ERROR_TOO_MANY_OPEN_FILES, win.ERROR_NOT_ENOUGH_MEMORY, win.ERROR_OUTOFMEMORY,
		win.ERROR_NO_SYSTEM_RESOURCES, win.ERROR_NOT_ENOUGH_QUOTA, win.ERROR_COMMITMENT_LIMIT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// StateDirs opens the folder of the ledger if it exists, and makes none. One
// that cannot be trusted is one of the problems.
func StateDirs() (dirs []*os.File, problems []error) {
	dir, named, err := stateDir()
	if err != nil {
		return nil, []error{err}
	}
	user, err := userSID()
	if err != nil {
		return nil, []error{err}
	}
	f, err := openPrivate(dir, user)
	switch {
	case err == nil:
		return []*os.File{f}, nil
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case named:
		err = fmt.Errorf("LEASH_STATE_DIR: %w", err)
	}
	return nil, []error{err}
}
