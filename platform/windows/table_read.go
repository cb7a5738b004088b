//go:build windows

package windows

import (
	"errors"
	"fmt"

	win "golang.org/x/sys/windows"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/program"
	"leash/internal/runid"
	"leash/scan"
)

var errBarred = fmt.Errorf("%w: it is another user's, elevated or protected", proc.ErrDenied)

// glance looks at one process of the table and says whether it may matter. What
// may not be opened is not judged; if a record names it, that is said. Who has
// the number by now and is not who stands in the table is found by the next look.
func (t *Table) glance(s *scan.Snapshot, e *listed) (p scan.Process, ok bool) {
	record, named := t.recorded[proc.ID{PID: e.pid, Start: e.start}]
	h, err := t.Kernel.open(e.pid)
	if err != nil {
		if Scarce(err) {
			s.Torn = err
		}
		return t.unopened(e, record), named && errors.Is(err, proc.ErrDenied)
	}
	defer h.Close()
	if h.start != e.start || isConsoleHost(h.exe) {
		return p, false
	}
	if !t.own(h) {
		p = t.unopened(e, record)
		p.Barred = t.barred(h)
		return p, named
	}
	s.Scanned++
	p, whole, err := t.read(h)
	if err != nil {
		return p, false
	}
	if !whole {
		s.Unread++
	}
	p.Memory = e.memory
	return p, named || p.Leash || len(p.EnvRuns) > 0 || len(p.ArgRuns) > 0
}

// child looks at a process that a member has started, be it one that says
// nothing of a run.
func (t *Table) child(e *listed) (p scan.Process, ok bool) {
	h, err := t.Kernel.open(e.pid)
	if err != nil {
		return t.unopened(e, nil), errors.Is(err, proc.ErrDenied)
	}
	defer h.Close()
	if h.start != e.start || isConsoleHost(h.exe) {
		return p, false
	}
	if !t.own(h) {
		p = t.unopened(e, nil)
		p.Barred = t.barred(h)
		return p, true
	}
	p, _, err = t.read(h)
	p.Memory = e.memory
	return p, err == nil
}

// unopened is a process of which the table alone tells. It is listed as that of
// the record, and as one that nothing may be done to.
func (t *Table) unopened(e *listed, r *ledger.Record) scan.Process {
	p := scan.Process{Info: proc.Info{ID: proc.ID{PID: e.pid, Start: e.start}, PPID: e.ppid, State: 'S', UID: nobody},
		Name: e.name, Memory: e.memory, Barred: errBarred.Error()}
	if r != nil {
		p.UID, p.PGID, p.SID = r.UID, r.Group, r.Session
	}
	return p
}

// own reports whether a process is of our own user, and open to us.
func (t *Table) own(h *handle) bool {
	return h.uid == t.uid && h.may(win.SYNCHRONIZE|win.PROCESS_TERMINATE|win.PROCESS_VM_READ)
}

// barred says why it is not judged; empty if it is.
func (t *Table) barred(h *handle) string {
	switch {
	case t.own(h):
		return ""
	case h.uid != 0 && h.uid != t.uid:
		return fmt.Sprintf("%v: it belongs to another user (%d)", proc.ErrDenied, h.uid)
	}
	return errBarred.Error()
}

// read reads what is wanted of a process that has been opened; proc.ErrGone if it
// has ended. whole: arguments and environment are not missing. Of a 32-bit process
// they are those that it was started with: the 64-bit copy, which it does not
// change.
func (t *Table) read(h *handle) (p scan.Process, whole bool, err error) {
	p.Info = proc.Info{ID: h.id(), PPID: h.ppid, State: 'S', UID: h.uid}
	if p.Name, p.Barred = baseOf(h.exe), t.barred(h); h.uid == 0 {
		p.UID = nobody
	}
	if r := t.recorded[p.ID]; r != nil {
		// Of others the group is no evidence: unlike elsewhere, its number may be
		// given out anew while members of it live.
		p.PGID = h.console()
	}
	args, unread := t.words(h, &p)
	p.Leash = t.Kernel.isLeash(h.exe) || leashNamed(p.Name) && (len(p.EnvRuns) == 0 || program.Marked(h.exe))
	if p.Leash {
		p.Guards = guardedPID(args)
	}
	if h.ended() {
		return p, false, proc.ErrGone
	}
	return p, unread == nil, nil
}

// words reads arguments and environment. Of most processes nothing speaks of a
// run, and nothing is decoded.
func (t *Table) words(h *handle, p *scan.Process) (args []string, err error) {
	at, err := h.parameters()
	if err != nil {
		return nil, err
	}
	line, err := h.commandLine(&at)
	if err == nil {
		args = split(line)
		p.Args = args
	}
	if holds(line, "-run-id") {
		p.ArgRuns = runid.AllFromArgs(cmdline(args))
	}
	env, err2 := h.environment(&at)
	if err2 == nil && holds(env, "_RUN_ID=") {
		l := runid.ReadEnviron(environ(env))
		p.EnvRuns, p.Worker, p.Owner = l.Runs, l.Worker, l.Owner
	}
	return args, errors.Join(err, err2)
}
