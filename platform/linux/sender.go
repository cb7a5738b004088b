//go:build linux

package linux

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender is who sent a message, as the kernel says (unix(7)).
type sender struct {
	pid    int
	pidfd  int // -1 if the kernel gives none
	rights []int
}

// maxRights is the most that a message can bring (SCM_MAX_FD). What finds no room
// the kernel closes within recvmsg(2), and that may take as long as it likes.
const maxRights = 253

// senders remembers whom the last messages came from. The inode of a pidfd is
// that of no other process until reboot (pidfs, Linux 6.9). A stranger is soon
// looked at anew: for want of descriptors, say, anybody looks like one.
type senders struct {
	ours, stranger uint64
	until          time.Duration
}

const strangerFor = 100 * time.Millisecond

// readControl takes apart what came with a message.
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

// speaksForWorker reports whether the sender is of the worker's tree. It may
// have exited since; until somebody reaps it, it is looked at as ever.
func (h *Host) speaksForWorker(s *sender) bool {
	if h.worker == nil || s.pid <= 0 {
		return false
	}
	known, now, inode := &h.notifier.senders, h.Now(), uint64(0)
	if s.pidfd >= 0 && h.Kernel.pidfs {
		inode = inodeOf(s.pidfd)
	}
	if inode != 0 { // nearly all end here, without garbage
		switch {
		case inode == h.worker.inode, inode == known.ours:
			return true
		case inode == known.stranger && now < known.until:
			return false
		}
	}
	ours := h.lookAtSender(s)
	switch {
	case inode == 0:
	case ours:
		known.ours = inode
	default:
		known.stranger, known.until = inode, now+strangerFor
	}
	return ours
}

func (h *Host) lookAtSender(s *sender) bool {
	if s.pidfd >= 0 {
		return h.belongs(h.Kernel.wrap(s.pid, s.pidfd)) // closed by who read it
	}
	hd, err := h.Kernel.open(s.pid)
	if err != nil {
		return false
	}
	defer hd.Close()
	return h.belongs(hd)
}

func (h *Host) belongs(hd *handle) bool {
	if hd.pid == h.hook.pid {
		return false
	}
	return h.tree.Contains(hd) || h.inCgroup(hd)
}

// inCgroup reports whether a process is, or was when it was reaped, in a cgroup
// that only the worker's tree is in: the one that we made for it, or the
// worker's if neither we nor a parent are in that. For the dead it takes
// Linux 6.15.
func (h *Host) inCgroup(hd *handle) bool {
	id := cgroupID(hd)
	if id == 0 {
		return false
	}
	if h.cgroup != nil {
		var st unix.Stat_t
		return unix.Fstat(h.cgroup.fd, &st) == nil && st.Ino == id
	}
	if cgroupID(h.worker) != id {
		return false
	}
	for _, p := range h.parents {
		if other := cgroupID(p.h); other == 0 || other == id {
			return false
		}
	}
	own, err := h.Kernel.open(unix.Getpid())
	if err != nil {
		return false
	}
	defer own.Close()
	return cgroupID(own) != id
}

// cgroupID is the inode of a process's directory in the v2 hierarchy; 0 if the
// kernel does not tell (PIDFD_GET_INFO, Linux 6.13).
func cgroupID(hd *handle) uint64 {
	if hd.dir {
		return 0
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_CGROUPID | unix.PIDFD_INFO_EXIT}
	if unix.IoctlPidfdInfo(hd.fd, &info) != nil || info.Mask&unix.PIDFD_INFO_CGROUPID == 0 {
		return 0
	}
	return info.Cgroupid
}
