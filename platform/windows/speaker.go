//go:build windows

package windows

import (
	"time"

	win "golang.org/x/sys/windows"
)

// speaksForWorker reports whether the process that connected is of the worker's
// tree. The system tells its number only, which may be another's once it has
// ended. So whoever has it now is opened, and looked at then; one who came after
// the connection was noticed, as far as the clock tells (Kernel.latest), is another. What remains is that one ended and
// another of the same number came between the connection and our look: both
// would be of this user, and the latter of the worker's tree.
func (h *Host) speaksForWorker(c *connection) bool {
	noticed, n := h.Kernel.latest(), h.notifier
	pid, err := c.client()
	switch {
	case err != nil || h.worker == nil || h.worker.closed():
		return false
	case pid == h.worker.pid, h.kin.held[pid] != nil: // held, so nobody else has the number
		return true
	case pid == n.stranger && h.Now() < n.until:
		return false
	}
	if h.lookAtSpeaker(pid, noticed) {
		return true
	}
	n.stranger, n.until = pid, h.Now()+strangerFor
	return false
}

// strangerFor is how long one is not looked at again, since that may cost a look
// at all processes. He is soon looked at anew: his number may be another's.
const strangerFor = 100 * time.Millisecond

// lookAtSpeaker looks at whoever has the number.
func (h *Host) lookAtSpeaker(pid int, noticed uint64) bool {
	p, err := win.OpenProcess(win.PROCESS_QUERY_INFORMATION, false, uint32(pid)) // Wine 8 wants it for a job
	if err != nil {
		p, err = win.OpenProcess(win.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	}
	if err != nil {
		return false
	}
	defer win.CloseHandle(p)
	var created, x win.Filetime
	if win.GetProcessTimes(p, &created, &x, &x, &x) != nil || ticks(created) > noticed {
		return false
	}
	switch {
	case h.hook.job != nil && h.hook.job.has(p):
		return false
	case h.job != nil && h.job.has(p):
		return true
	}
	return !h.child && h.descends(pid) // else whoever is not in the job is a stranger
}

// descends looks at a process whose job tells nothing: the worker was running
// when we came.
func (h *Host) descends(pid int) bool {
	h.kin.list = nil // look now
	h.kin.living()
	if h.kin.held[pid] != nil {
		return true
	}
	hd, err := h.Kernel.open(pid)
	if err != nil {
		return false
	}
	defer hd.Close()
	return h.tree.Contains(hd)
}
