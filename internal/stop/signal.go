package stop

import (
	"errors"
	"slices"

	"leash/internal/proc"
)

// Ask sends the polite signal to the whole tree, then SIGCONT, so that who is
// stopped hears it too. After AskWorker it goes to those who have not had it.
func (t *Tree) Ask(sig proc.Signal) []Sent {
	t.Survey(false)
	if t.awaitsWorker {
		t.awaitsWorker, t.searched = false, false
		if slices.ContainsFunc(t.list, func(m *member) bool { return m.asked }) {
			return t.AskNew(sig)
		}
	}
	t.sent = t.sent[:0]
	for _, s := range []proc.Signal{sig, CONT} {
		t.toAll(s)
	}
	t.markAsked()
	return t.sent
}

// AskWorker sends the polite signal to the worker alone or, with group, to its
// process group, as a terminal does; then SIGCONT to the whole tree. Ask sends it to the rest later.
func (t *Tree) AskWorker(sig proc.Signal, group bool) []Sent {
	t.Survey(false) // what loses its parent when the worker ends must be known before
	t.awaitsWorker = true
	t.sent = t.sent[:0]
	switch {
	case group:
		t.toGroup(sig)
		for _, m := range t.list {
			m.asked = m.asked || t.Leads() && m.info.PGID == t.root.PID
		}
	case !t.rootDead:
		t.one(t.Root, t.root.PID, sig)
	}
	t.toAll(CONT)
	t.notify()
	return t.sent
}

// AskNew sends it to those who were found since.
func (t *Tree) AskNew(sig proc.Signal) []Sent {
	t.sent = t.sent[:0]
	for _, m := range t.list {
		if m.counts() && !m.asked {
			t.one(m.h, m.info.PID, sig)
			t.one(m.h, m.info.PID, CONT)
		}
	}
	t.markAsked()
	return t.sent
}

func (t *Tree) markAsked() {
	for _, m := range t.list {
		m.asked = true
	}
	t.notify()
}

// notify has the end of everyone who is waited for wake the host.
func (t *Tree) notify() {
	t.Root.Notify()
	for _, m := range t.list {
		if m.counts() {
			m.h.Notify()
		}
	}
}

// Forward sends a signal to the worker's group, or to the worker alone where
// it leads none. A watchdog in the group is passed over.
func (t *Tree) Forward(sig proc.Signal) []Sent {
	t.sent = t.sent[:0]
	t.Survey(false)
	t.toGroup(sig)
	return t.sent
}

func (t *Tree) toGroup(sig proc.Signal) {
	if t.Leads() && !t.leashInGroup() && t.group(sig) {
		return
	}
	if !t.rootDead {
		t.one(t.Root, t.root.PID, sig)
	}
	for _, m := range t.list {
		if t.Leads() && m.counts() && m.info.PGID == t.root.PID {
			t.one(m.h, m.info.PID, sig)
		}
	}
}

// Force ends everyone that can be found.
func (t *Tree) Force() []Sent {
	t.sent = t.sent[:0]
	t.Survey(false)
	if t.KillAll != nil && !t.leashInside() && t.KillAll() {
		t.sent = append(t.sent, Sent{Signal: proc.KILL, Target: "cgroup", PID: t.root.PID})
	}
	t.follow(true)
	t.toAll(proc.KILL)
	if known := len(t.list); t.Search != nil { // which may have to wait for others
		if t.search(); len(t.list) > known {
			t.follow(true)
			t.toAll(proc.KILL)
		}
	}
	t.markAsked()
	return t.sent
}

func (t *Tree) leashInside() bool {
	for _, m := range t.list {
		if m.info.Leash {
			return true
		}
	}
	return false
}

// toAll signals the group in one stroke where the worker leads it, and
// everyone else one by one.
func (t *Tree) toAll(sig proc.Signal) {
	grouped := t.Leads() && !t.leashInGroup() && t.group(sig)
	if !grouped && !t.rootDead {
		t.one(t.Root, t.root.PID, sig)
	}
	for _, m := range t.list {
		if m.counts() && !(grouped && m.info.PGID == t.root.PID) {
			t.one(m.h, m.info.PID, sig)
		}
	}
}

func (t *Tree) leashInGroup() bool {
	for _, m := range t.list {
		if m.info.Leash && m.info.PGID == t.root.PID {
			return true
		}
	}
	return false
}

// group reports whether the group was signalled as a whole.
func (t *Tree) group(sig proc.Signal) bool {
	err := t.Root.SignalGroup(sig)
	if err == nil {
		t.sent = append(t.sent, Sent{Signal: sig, Target: "group", PID: t.root.PID})
	}
	return err == nil
}

func (t *Tree) one(h Handle, pid int, sig proc.Signal) {
	if err := h.Signal(sig); !errors.Is(err, proc.ErrGone) {
		t.sent = append(t.sent, Sent{Signal: sig, Target: "process", PID: pid, Err: err})
	}
}
