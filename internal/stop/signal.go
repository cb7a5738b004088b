package stop

import (
	"errors"

	"leash/internal/proc"
)

// Ask sends the polite signal to the whole tree, then SIGCONT, so that who is
// stopped hears it too.
func (t *Tree) Ask(sig proc.Signal) []Sent {
	t.Survey(false)
	t.sent = t.sent[:0]
	for _, s := range []proc.Signal{sig, CONT} {
		t.toAll(s)
	}
	t.markAsked()
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
	if t.Leads() && !t.leashInGroup() && t.group(sig) {
		return t.sent
	}
	if !t.rootDead {
		t.one(t.Root, t.root.PID, sig)
	}
	for _, m := range t.list {
		if t.Leads() && m.counts() && m.info.PGID == t.root.PID {
			t.one(m.h, m.info.PID, sig)
		}
	}
	return t.sent
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
