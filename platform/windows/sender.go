//go:build windows

package windows

import (
	"time"

	win "golang.org/x/sys/windows"
)

// speaksForWorker reports whether the process that connected is of the worker's tree.
// The system tells its number only, which may be another's once it has ended. So the
// process that has it now is opened, and verified then; one that was created after the
// connection was noticed, as far as the clock tells (Kernel.latest), is another. What
// remains is that one ended and another of the same number came between the connection
// and our check: both would be of this user, and the latter of the worker's tree.
func (n *notifier) speaksForWorker(c *connection) bool {
	noticed, w := n.s.latest(), n.worker()
	pid, err := c.client()
	switch {
	case err != nil || w == nil || w.closed() || w.hold == nil || w.hold.tree == nil:
		return false
	case w.hold.tree.has(pid): // held, so the number is no other's
		return true
	case pid == n.stranger && n.s.Now() < n.until:
		return false
	}
	if n.verifySender(w.hold, pid, noticed) {
		return true
	}
	n.stranger, n.until = pid, n.s.Now()+strangerFor
	return false
}

// strangerFor is how long a stranger is not checked again, since that may cost a scan
// of all processes. After that its number may be another's.
const strangerFor = 100 * time.Millisecond

// verifySender opens and verifies the process that has the number.
func (n *notifier) verifySender(hold *containment, pid int, noticed uint64) bool {
	p, err := win.OpenProcess(win.PROCESS_QUERY_INFORMATION, false, uint32(pid)) // Wine 8 wants it for a job
	if err != nil {
		p, err = win.OpenProcess(win.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	}
	if err != nil {
		return false
	}
	defer win.CloseHandle(p)
	if start, err := createdAt(p); err != nil || start > noticed {
		return false
	}
	switch {
	case n.s.inHook(p):
		return false
	case hold.job != nil && hold.job.has(p):
		return true
	}
	return !hold.child && n.descends(hold, pid) // else what is not in the job is a stranger
}

// descends reports whether a process that no job tells of descends from the worker, which
// was running before its watchdog.
func (n *notifier) descends(hold *containment, pid int) bool {
	if hold.tree.hasNow(pid) {
		return true
	}
	h, err := n.s.open(pid)
	if err != nil {
		return false
	}
	defer h.Close()
	return n.beats.Belongs(pid, h)
}
