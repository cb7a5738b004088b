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
	"leash/internal/snapshot"
)

var errDenied = fmt.Errorf("%w: it is another user's, elevated or protected", proc.ErrDenied)

// inspect reads one process of the table and says whether it may matter. One that may
// not be opened is not judged; if a record names it, it is reported. If the PID is
// another process's by now, the next scan finds that one.
func (t *Table) inspect(s *snapshot.Snapshot, e *listed) (p snapshot.Process, ok bool) {
	record, named := t.recorded[proc.ID{PID: e.pid, Start: e.start}]
	h, err := t.Kernel.open(e.pid)
	if err != nil {
		if Scarce(err) {
			s.Incomplete = err
		}
		return t.unopened(e, record), named && errors.Is(err, proc.ErrDenied)
	}
	defer h.Close()
	p, own, whole, ok := t.readEntry(h, e, record)
	if !own {
		return p, ok && named
	}
	s.Scanned++
	if ok && !whole {
		s.Unread++
	}
	return p, ok && (named || p.Leash || len(p.EnvRuns) > 0 || len(p.ArgRuns) > 0)
}

// readEntry reads the process of an entry of the table behind its handle. own: it is our
// own user's. ok: it is the process of the entry, and could be read.
func (t *Table) readEntry(h *handle, e *listed, record *ledger.Record) (p snapshot.Process, own, whole, ok bool) {
	if h.start != e.start || isConsoleHost(h.exe) {
		return p, false, false, false
	}
	if !t.own(h) {
		p = t.unopened(e, record)
		p.Denied = t.denied(h)
		return p, false, false, true
	}
	p, whole, err := t.read(h)
	return p, true, whole, err == nil
}

// child reads a process that a member has started, also one that names no run.
func (t *Table) child(e *listed) (p snapshot.Process, ok bool) {
	h, err := t.Kernel.open(e.pid)
	if err != nil {
		return t.unopened(e, nil), errors.Is(err, proc.ErrDenied)
	}
	defer h.Close()
	p, _, _, ok = t.readEntry(h, e, nil)
	return p, ok
}

// unopened is a process that is known from the table only. It is listed as the record's
// worker, and as one that may not be ended.
func (t *Table) unopened(e *listed, r *ledger.Record) snapshot.Process {
	p := snapshot.Process{Info: proc.Info{ID: proc.ID{PID: e.pid, Start: e.start}, PPID: e.ppid, State: 'S', UID: nobody},
		Name: e.name, Denied: errDenied.Error()}
	if r != nil {
		p.UID, p.PGID, p.SID = r.UID, r.Group, r.Session
	}
	return p
}

// own reports whether a process is of our own user, and open to us.
func (t *Table) own(h *handle) bool {
	return h.uid == t.uid && h.may(win.SYNCHRONIZE|win.PROCESS_TERMINATE|win.PROCESS_VM_READ)
}

// denied says why it is not judged; empty if it is.
func (t *Table) denied(h *handle) string {
	switch {
	case t.own(h):
		return ""
	case h.uid != 0 && h.uid != t.uid:
		return fmt.Sprintf("%v: it belongs to another user (%d)", proc.ErrDenied, h.uid)
	}
	return errDenied.Error()
}

// read reads what a snapshot holds of a process that was opened; proc.ErrGone if it
// has ended. whole: arguments and environment are not missing. Of a 32-bit process
// they are those that it was started with: it does not change the 64-bit copy.
func (t *Table) read(h *handle) (p snapshot.Process, whole bool, err error) {
	p.Info = proc.Info{ID: h.id(), PPID: h.ppid, State: 'S', UID: h.uid}
	if p.Name, p.Denied = baseOf(h.exe), t.denied(h); h.uid == 0 {
		p.UID = nobody
	}
	if r := t.recorded[p.ID]; r != nil {
		// Of other processes the group is no evidence: unlike elsewhere, its number may
		// be given out anew while members of it live.
		p.PGID = h.console()
	}
	args, unread := t.readArgs(h, &p)
	p.Leash = t.Kernel.isLeash(h.exe) || leashNamed(p.Name) && (len(p.EnvRuns) == 0 || program.Marked(h.exe))
	if p.Leash {
		p.Guards = snapshot.GuardedPID(args)
	}
	if h.ended() {
		return p, false, proc.ErrGone
	}
	return p, unread == nil, nil
}

// readArgs reads arguments and environment. Most processes name no run in them, and
// nothing is decoded.
func (t *Table) readArgs(h *handle, p *snapshot.Process) (args []string, err error) {
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
