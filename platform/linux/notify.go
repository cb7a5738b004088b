//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/heartbeat"
	"leash/watch"
)

// notifier is the socket to which the worker and its tree speak (sd_notify(3)).
type notifier struct {
	fd, token int
	// A socket with a path: its folder, held open so that no other is touched
	// in the end, its name there and its inode.
	dir   int
	name  string
	inode uint64

	senders senders
	head    unix.Msghdr
	part    unix.Iovec
	buf     [heartbeat.MaxSize + 1]byte
	control [unix.SizeofCmsghdr*3 + 8*3 + 4*maxRights]byte
	// barriers are descriptors whose senders wait until they are closed.
	barriers []int
	closer   chan int
	closed   atomic.Int64  // by the closer
	moved    int64         // closed, when it was last seen to make progress
	stuck    time.Duration // since then, as far as we ran
	lookedAt time.Duration

	budget   heartbeat.Budget
	pausedAt time.Duration
	paused   bool
	deaf     bool // for good
	deafTold bool
}

// slice bounds one reading: who is far below others takes long to be known for
// a stranger, and meanwhile nobody looks at anything else.
const slice = 20 * time.Millisecond

// maxAddress is the longest path of a socket (unix(7)), less the NUL behind it.
const maxAddress = 107

// errInUse: another process listens there.
var errInUse = errors.New("another process listens there already: give each worker a socket of its own")

// ListenForBeats opens the socket: a path, @name for an abstract one, or of a
// random name if address is empty. It returns what NOTIFY_SOCKET must say.
// Without a path nothing is left behind, whatever happens to us. others: the
// senders may be of another user.
func (h *Host) ListenForBeats(address string, others bool) (string, error) {
	if address == "" {
		var b [8]byte
		if _, err := (Random{}).Read(b[:]); err != nil {
			return "", err
		}
		address = fmt.Sprintf("@leash-%d-%x", os.Getpid(), b)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return "", os.NewSyscallError("socket", err)
	}
	n := &notifier{fd: fd, dir: -1}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		unix.Close(fd)
		return "", os.NewSyscallError("setsockopt SO_PASSCRED", err)
	}
	// A pidfd of the sender comes with each message (Linux 6.5).
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1)
	if strings.HasPrefix(address, "@") {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: address})
	} else {
		err = n.bind(address, others)
	}
	if err == unix.EADDRINUSE {
		err = errInUse
	}
	if err == nil {
		n.token = h.loop.token()
		err = h.loop.add(fd, n.token)
	}
	if err != nil {
		n.close()
		return "", err
	}
	h.notifier = n
	return address, nil
}

// bind makes the socket file. One that nobody listens to any more is replaced;
// anything else of that name is left as it is.
func (n *notifier) bind(path string, others bool) error {
	dir, name := filepath.Split(path)
	var err error
	if n.dir, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("the folder %s: %w", dir, err)
	}
	mode := uint32(0o600)
	if others {
		mode = 0o666 // as systemd's; who speaks is known by credentials
	}
	// bind(2) takes the mode of the socket, less the umask.
	if err := unix.Fchmod(n.fd, mode); err != nil {
		return err
	}
	defer unix.Umask(unix.Umask(0))
	here := fmt.Sprintf("/proc/self/fd/%d/%s", n.dir, name)
	if len(here) > maxAddress { // and what was given fits
		here = path
	}
	err = unix.Bind(n.fd, &unix.SockaddrUnix{Name: here})
	if err == unix.EADDRINUSE {
		if err = n.removeStale(here, name); err == nil {
			err = unix.Bind(n.fd, &unix.SockaddrUnix{Name: here})
		}
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(n.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	n.name, n.inode = name, st.Ino
	return nil
}

func (n *notifier) removeStale(here, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(n.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("there is something else of that name: remove it, or give another path")
	}
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(probe)
	if err := unix.Connect(probe, &unix.SockaddrUnix{Name: here}); err != unix.ECONNREFUSED {
		return errInUse
	}
	return unix.Unlinkat(n.dir, name, 0)
}

func (n *notifier) close() {
	if n.dir >= 0 {
		// While it is open, nobody takes it for stale and no other has its inode.
		var st unix.Stat_t
		if n.name != "" && unix.Fstatat(n.dir, n.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Ino == n.inode {
			unix.Unlinkat(n.dir, n.name, 0)
		}
		unix.Close(n.dir)
	}
	unix.Close(n.fd)
}

// release lets those go on who wait until all that they said was handled.
func (h *Host) release() {
	for _, fd := range h.notifier.barriers {
		h.discard(fd)
	}
	h.notifier.barriers = h.notifier.barriers[:0]
}

// readBeats reads what was said, as long as the budget lasts.
func (h *Host) readBeats() {
	n := h.notifier
	now := h.Now()
	n.budget.Refill(now)
	for ; n.budget.Left() && h.Now()-now < slice && !h.choked(now); n.budget.Spend() {
		if !h.readBeat() {
			return
		}
	}
	if !n.deaf {
		h.pauseBeats(now)
	}
}

// pauseBeats leaves the socket alone for a moment.
func (h *Host) pauseBeats(now time.Duration) {
	n := h.notifier
	h.loop.remove(n.fd)
	n.paused, n.pausedAt = true, now
	h.events = append(h.events, watch.Drowned{})
}

// untilBeats is when the socket is to be listened to again, if it is not.
func (h *Host) untilBeats() (at time.Duration, paused bool) {
	if n := h.notifier; n != nil && n.paused && !n.deaf {
		return n.pausedAt + heartbeat.Pause, true
	}
	return 0, false
}

func (h *Host) listenAgain(now time.Duration) {
	if n := h.notifier; n != nil && n.deaf && !n.deafTold {
		n.deafTold = true
		h.events = append(h.events, watch.Deafened{})
	}
	if at, paused := h.untilBeats(); paused && now >= at {
		h.notifier.paused = false
		h.loop.add(h.notifier.fd, h.notifier.token)
	}
}

// readBeat reads one message; false if there is none.
func (h *Host) readBeat() bool {
	n := h.notifier
	size, control, flags, err := n.receive()
	if err == unix.EINTR {
		return true
	}
	if err != 0 {
		return false
	}
	from := readControl(n.control[:control])
	m, ok := heartbeat.Parse(n.buf[:size])
	ok = ok && flags&unix.MSG_TRUNC == 0 && h.speaksForWorker(&from)
	if from.pidfd >= 0 {
		unix.RawSyscall(unix.SYS_CLOSE, uintptr(from.pidfd), 0, 0)
	}
	if ok && m.Barrier && len(from.rights) == 1 {
		n.barriers, from.rights = append(n.barriers, from.rights[0]), nil
	}
	for _, fd := range from.rights {
		h.discard(fd)
	}
	switch {
	case !ok:
	case m == plainBeat.Message:
		h.events = append(h.events, beat) // nothing to allocate
	default:
		h.events = append(h.events, watch.Heard{Message: m})
	}
	return true
}

// beat is what nearly every message says.
var (
	plainBeat             = watch.Heard{Message: heartbeat.Message{Beat: heartbeat.Alive}}
	beat      watch.Event = plainBeat
)

// receive is recvmsg(2), in which nothing blocks (see loop).
func (n *notifier) receive() (size, control, flags int, err unix.Errno) {
	n.part.Base = &n.buf[0]
	n.part.SetLen(len(n.buf))
	n.head = unix.Msghdr{Iov: &n.part, Control: &n.control[0]}
	n.head.SetIovlen(1)
	n.head.SetControllen(len(n.control))
	got, _, err := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(n.fd), uintptr(unsafe.Pointer(&n.head)),
		unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	return int(got), int(n.head.Controllen), int(n.head.Flags), err
}

// discard closes a descriptor that somebody sent. close(2) may wait for as long
// as a file system, or a socket that lingers (socket(7)), pleases. So all but
// pipes, whose end nothing holds up, are closed by a goroutine of its own.
func (h *Host) discard(fd int) {
	n := h.notifier
	if h.Kernel.isPipe(fd) {
		unix.Close(fd)
		return
	}
	if n.closer == nil {
		n.closer = make(chan int, maxClosing)
		go func() {
			for fd := range n.closer {
				unix.Close(fd)
				n.closed.Add(1)
			}
		}()
	}
	select {
	case n.closer <- fd:
	default: // deaf by now: it stays open
	}
}

const (
	// maxClosing descriptors may wait to be closed.
	maxClosing = 4 * maxRights
	// stuckAfter is how long none of them is closed before we give up.
	stuckAfter = 2 * time.Second
)

// choked reports whether no more descriptors can be taken for now. If those that
// we have cannot be closed, nobody is listened to any more: silence means
// nothing then. The socket is closed, or who speaks would wait for us for ever.
func (h *Host) choked(now time.Duration) bool {
	n := h.notifier
	// While we stood still, so did the closer: of a long gap little counts.
	n.stuck += min(now-n.lookedAt, 2*heartbeat.Pause)
	n.lookedAt = now
	if closed := n.closed.Load(); closed != n.moved || len(n.closer) == 0 {
		n.moved, n.stuck = closed, 0
	}
	if cap(n.closer)-len(n.closer) >= 2*maxRights || n.closer == nil {
		return false
	}
	if n.stuck >= stuckAfter && !n.deaf {
		n.deaf = true
		h.loop.remove(n.fd)
		fd := n.fd
		n.fd = -1
		go unix.Close(fd) // it may hold such descriptors itself
	}
	return true
}

// isPipe asks no file system.
func (k *Kernel) isPipe(fd int) bool {
	n, err := unix.Readlink("/proc/self/fd/"+itoa(fd), k.link[:])
	return err == nil && strings.HasPrefix(string(k.link[:n]), "pipe:[")
}

// dropBeats forgets what an earlier worker said.
func (h *Host) dropBeats() {
	n := h.notifier
	if n == nil {
		return
	}
	n.senders = senders{}
	for range heartbeat.Burst {
		if n.deaf || h.choked(h.Now()) || !h.readBeat() {
			break
		}
	}
	h.release()
	h.events = h.events[:0]
}
