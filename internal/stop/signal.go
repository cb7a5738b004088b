package stop

import (
	"errors"
	"slices"

	"leash/internal/proc"
)

// SignalAll sends the stop signal to the whole tree, then SIGCONT, so that a stopped
// process handles it too. After SignalWorker it goes to those that have not had it.
func (t *Tree) SignalAll(sig proc.Signal) []Sent {
	t.asking()
	t.Scan(false)
	if t.awaitsWorker {
		t.awaitsWorker, t.searched = false, false
		if slices.ContainsFunc(t.list, func(m *member) bool { return m.asked }) {
			return t.SignalNew(sig)
		}
	}
	t.sent = t.sent[:0]
	for _, s := range []proc.Signal{sig, CONT} {
		t.toAll(s)
	}
	t.markAsked()
	return t.sent
}

// SignalWorker sends the stop signal to the worker alone or, with group, to its
// process group, as a terminal does; then SIGCONT to the whole tree. SignalAll sends
// the stop signal to the rest later.
func (t *Tree) SignalWorker(sig proc.Signal, group bool) []Sent {
	t.asking()
	t.Scan(false) // find the worker's children before they become orphans
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

func (t *Tree) asking() {
	if t.BeforeSignals != nil {
		t.BeforeSignals()
	}
}

// SignalNew sends the stop signal, then SIGCONT, to processes that were found since.
func (t *Tree) SignalNew(sig proc.Signal) []Sent {
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

// notify asks for an event at the end of every process of the tree.
func (t *Tree) notify() {
	if t.Watch == nil {
		return
	}
	t.Watch(t.Root)
	for _, m := range t.list {
		if m.counts() {
			t.Watch(m.h)
		}
	}
}

// Forward sends a signal to the worker's group, or to the worker alone where it
// leads none. A watchdog in the group does not get it.
func (t *Tree) Forward(sig proc.Signal) []Sent {
	t.asking()
	t.sent = t.sent[:0]
	t.Scan(false)
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

// Kill sends SIGKILL to every process of the tree that can be found, by KillAll
// first if there is one.
func (t *Tree) Kill() []Sent {
	t.sent = t.sent[:0]
	t.Scan(false)
	if t.KillAll != nil && !t.leashInside() && t.KillAll() {
		t.sent = append(t.sent, Sent{Signal: proc.KILL, Target: t.Means, PID: t.root.PID})
	}
	t.follow(true)
	t.toAll(proc.KILL)
	if known := len(t.list); t.Search != nil { // after the kill, since a search may block
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

// toAll signals the group at once where the worker leads it, and every other
// process singly.
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
	err := h.Signal(sig)
	if errors.Is(err, errors.ErrUnsupported) && (sig == CONT || sig == STOP) {
		return // no job control here
	}
	if !errors.Is(err, proc.ErrGone) {
		t.sent = append(t.sent, Sent{Signal: sig, Target: "process", PID: pid, Err: err})
	}
}
