//go:build linux

package linux

import (
	"bytes"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"

	"leash/internal/wire"
)

// Several workers below one sentinel have orphans that all become children of the sentinel.
// Each orphan must be taken for its own worker's, and for no other's. What tells them apart is
// a mark that every process inherits, through fork(2), execve(2), setsid(2) and a change of
// user, and that nothing changes by accident: the soft limit RLIMIT_RTTIME (getrlimit(2)), the
// processor time that a process under a real-time policy may use without blocking. As a mark
// it is a number of microseconds above 100,000 years, so that it limits nothing, and everybody
// may read it in /proc/PID/limits.

// markBase is in every mark, and no limit that anybody sets to limit something.
const markBase = 1 << 62

// newMarks returns the mark before the first of this process: a random number of 30 bits tells
// those of several pools apart.
func newMarks() uint64 {
	var b [4]byte
	Random{}.Read(b[:])
	return markBase | uint64(binary.NativeEndian.Uint32(b[:])>>2)<<32
}

// sameMarks reports whether two marks are of one pool.
func sameMarks(a, b uint64) bool { return a>>32 == b>>32 }

// setMark gives this process a mark, for the children that it starts. It reports whether they
// will have it: a hard limit may be lower.
func setMark(mark uint64) bool {
	var l unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_RTTIME, nil, &l) != nil || l.Max < mark {
		return false
	}
	l.Cur = mark
	return unix.Prlimit(0, unix.RLIMIT_RTTIME, &l, nil) == nil
}

// unmark takes the mark away again.
func unmark(was uint64) {
	var l unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_RTTIME, nil, &l) == nil {
		l.Cur = was
		unix.Prlimit(0, unix.RLIMIT_RTTIME, &l, nil)
	}
}

// marks reports whether the system has such marks.
func (k *Kernel) hasMarks() bool {
	var l unix.Rlimit
	if !k.children || unix.Prlimit(0, unix.RLIMIT_RTTIME, nil, &l) != nil {
		return false
	}
	mark := newMarks()
	if !setMark(mark) {
		return false
	}
	read, err := k.markOf(os.Getpid())
	unmark(l.Cur)
	return err == nil && read == mark
}

// markOf reads a process's mark; 0 if it has none.
func (k *Kernel) markOf(pid int) (uint64, error) {
	b, err := k.readRecord(unix.AT_FDCWD, pathIn(pid, "limits"))
	if err != nil {
		return 0, err
	}
	return parseMark(b), nil
}

// parseMark reads proc_pid_limits(5): "Max realtime timeout", the soft limit, the hard limit.
func parseMark(b []byte) uint64 {
	for line := range bytes.Lines(b) {
		rest, ok := bytes.CutPrefix(line, []byte("Max realtime timeout "))
		if !ok {
			continue
		}
		if f := bytes.Fields(rest); len(f) > 0 {
			if n, ok := number(f[0]); ok && n >= markBase && n < 2*markBase {
				return n
			}
		}
		break
	}
	return 0
}

// marked lists our children with this mark, and reports whether no process with it can be
// below us but them and their descendants. Without a worker that lives, an orphan is always
// below such a child: a process that lost its parent became ours.
//
// The list is complete. It loses an entry only where a child is reaped while it is read
// (proc_pid_task(5)), and only we reap them; and what becomes our child is
// added at its end (forget_original_parent in kernel/exit.c).
//
// skip names children whose mark is known to be another.
func (k *Kernel) marked(mark uint64, skip func(pid int) bool, reap func() bool) (pids []int, all bool) {
	for range 8 {
		if reap() {
			return nil, true
		}
		children, err := k.Children(os.Getpid(), nil)
		if all = err == nil; !all {
			return nil, false
		}
		pids = pids[:0]
		ended := false
		for _, pid := range children {
			if skip(pid) {
				continue
			}
			m, err := k.markOf(pid)
			switch {
			case err != nil || !sameMarks(m, mark):
				all = false
			case m != mark:
			default:
				// Children that it had came after we read the list, or before.
				if info, err := k.statOf(pid); err == nil && info.Dead() {
					ended = true
				} else {
					pids = append(pids, pid)
				}
			}
		}
		if !ended {
			return pids, all
		}
	}
	return pids, false
}

// list answers which children have a mark.
func (s *sentinel) list(b []byte) error {
	token, mark, err := wire.DecodeMarked(b)
	if err != nil {
		return err
	}
	pids, all := s.k.marked(mark, func(pid int) bool {
		m, worker := s.marks[pid]
		return worker && m != mark
	}, s.reap)
	for _, pid := range pids {
		if err := s.tell(wire.Child, int32(pid), 0); err != nil {
			return err
		}
	}
	kind := byte(wire.Some)
	if all {
		kind = wire.None
	}
	return s.tell(kind, token, 0)
}

// done forgets a worker of which nothing is left.
func (s *sentinel) done(b []byte) error {
	mark, err := wire.DecodeMark(b)
	delete(s.leaves, mark)
	return err
}

// killLeaves kills the trees of all workers that have a cgroup.
func (s *sentinel) killLeaves() (any bool) {
	for _, path := range s.leaves {
		if c := openCgroup(path); c != nil {
			any = c.kill() || any
			unix.Close(c.fd)
		}
	}
	return any
}

// readHead reads the head of an order, and the descriptors that come with it.
func readHead(conn int, head []byte) (files []int, err error) {
	oob := make([]byte, unix.CmsgSpace(3*4))
	for first := true; len(head) > 0; {
		n, oobn, _, _, err := unix.Recvmsg(conn, head, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return files, err
		case n == 0:
			return files, wire.ErrOrder
		}
		if first && oobn > 0 {
			if all, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
				for i := range all {
					fds, _ := unix.ParseUnixRights(&all[i])
					files = append(files, fds...)
				}
			}
		}
		first, head = false, head[n:]
	}
	return files, nil
}
