// Package orphan decides whether a process was given its parent by the system,
// after the one that started it had ended. No system says so.
package orphan

// Facts is what can be read of a process and its parent.
type Facts struct {
	PID, Session, Group int
	Parent              int
	ParentName          string
	// Of the parent. A session from outside a PID namespace is 0 (getsid(2)).
	ParentSession, ParentGroup int
	// ParentTerminal: it has a controlling terminal, so that it may be a shell
	// that gives its children groups.
	ParentTerminal bool
	// LeaderParent is the parent of the leader of the process's group, 0 if
	// there is none.
	LeaderParent int
	// Service: the parent is a service manager, and the environment says that it started
	// the process.
	Service bool
}

// Likely reports whether the parent probably did not start the process, so that its exit
// means nothing: it is PID 1, or a user's systemd, and there is no sign that it started
// the process.
//
// A session is inherited, so a process in the session of PID 1 was started by it. One that
// leads its own session may be either (setsid -f; an application that runs as PID 1 and
// starts its children so): it counts as likely, since a needless warning does less harm.
func Likely(f Facts) bool {
	switch {
	case f.Service:
		return false
	case f.Parent != 1:
		return f.ParentName == "systemd"
	case f.Session != f.ParentSession:
		return true
	case f.Group != f.PID && f.Group != f.ParentGroup: // in the group of a process that was between the two
		return !f.ParentTerminal || f.LeaderParent != f.Parent
	}
	return false
}
