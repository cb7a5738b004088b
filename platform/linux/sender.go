//go:build linux

package linux

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender is the process that sent a message, as the kernel reports it (unix(7)).
type sender struct {
	pid    int
	pidfd  int // -1 if the kernel gives none
	rights []int
}

// maxRights is the most descriptors that a message can bring (SCM_MAX_FD). The kernel closes
// those for which the buffer is too small within recvmsg(2), which may block for long.
const maxRights = 253

// senders caches which processes sent the last messages. The inode of a pidfd is not used
// again until reboot (pidfs, Linux 6.9). A stranger is inspected again soon: without free
// descriptors, for example, every sender seems to be one.
type senders struct {
	ours, stranger uint64
	until          time.Duration
}

const strangerFor = 100 * time.Millisecond

// readControl parses the control data of a message.
func readControl(b []byte) sender {
	s := sender{pidfd: -1}
	for len(b) >= unix.SizeofCmsghdr {
		head, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			break
		}
		b = rest
		switch {
		case head.Level != unix.SOL_SOCKET:
		case head.Type == unix.SCM_CREDENTIALS && len(data) >= unix.SizeofUcred:
			s.pid = int((*unix.Ucred)(unsafe.Pointer(&data[0])).Pid)
		case head.Type == unix.SCM_PIDFD && len(data) >= 4:
			s.pidfd = number32(data)
		case head.Type == unix.SCM_RIGHTS:
			for ; len(data) >= 4; data = data[4:] {
				s.rights = append(s.rights, number32(data))
			}
		}
	}
	return s
}

func number32(b []byte) int { return int(int32(binary.NativeEndian.Uint32(b))) }

// speaksForWorker reports whether the sender belongs to the worker's tree. It may have exited
// since; until it is reaped, it can still be inspected.
func (n *notifier) speaksForWorker(s *sender) bool {
	if s.pid <= 0 {
		return false
	}
	known, now, inode := &n.senders, n.s.Now(), uint64(0)
	if s.pidfd >= 0 && n.s.pidfs {
		inode = inodeOf(s.pidfd)
	}
	if inode != 0 { // nearly always decided here, without allocating
		switch {
		case inode == n.worker(), inode == known.ours:
			return true
		case inode == known.stranger && now < known.until:
			return false
		}
	}
	ours := n.verifySender(s)
	switch {
	case inode == 0:
	case ours:
		known.ours = inode
	default:
		known.stranger, known.until = inode, now+strangerFor
	}
	return ours
}

// worker is the inode of the worker's pidfd; 0 if it is not known.
func (n *notifier) worker() uint64 {
	if w, ok := n.beats.Worker().(*handle); ok && w != nil {
		return w.inode
	}
	return 0
}

func (n *notifier) verifySender(s *sender) bool {
	if s.pidfd >= 0 {
		return n.beats.Belongs(s.pid, n.s.wrap(s.pid, s.pidfd)) // the reader of the message closes it
	}
	h, err := n.s.open(s.pid)
	if err != nil {
		return false
	}
	defer h.Close()
	return n.beats.Belongs(s.pid, h)
}
