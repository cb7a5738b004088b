//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/heartbeat"
	"leash/internal/system"
)

// notifier is the socket to which the worker's tree sends notifications (sd_notify(3)).
type notifier struct {
	s         *System
	beats     system.Beats
	address   string
	fd, token int
	// A socket with a path: its folder, held open so that Close removes the name from that
	// very folder, its name there and its inode.
	dir   int
	name  string
	inode uint64

	senders senders
	head    unix.Msghdr
	part    unix.Iovec
	buf     [heartbeat.MaxSize + 1]byte
	control [unix.SizeofCmsghdr*3 + 8*3 + 4*maxRights]byte
	// barriers are descriptors whose senders wait until they are closed
	// (sd_notify_barrier(3)).
	barriers []int
	closer   chan int
	closed   atomic.Int64  // how many descriptors the closer has closed
	moved    int64         // the value of closed when it last changed
	stuck    time.Duration // how long ago that was, without the time that we did not run
	lookedAt time.Duration

	limit    heartbeat.RateLimit
	pausedAt time.Duration
	paused   bool
	deaf     bool // reading has been given up
	deafTold bool
}

// slice bounds the time of one read. Whether a sender that is deep in another process tree
// belongs to the worker takes long to find out, and nothing else is done meanwhile.
const slice = 20 * time.Millisecond

// maxAddress is the longest path of a socket in bytes (unix(7)), without the terminating NUL.
const maxAddress = 107

// errInUse says that another process listens on the socket.
var errInUse = errors.New("another process listens there already: give each worker a socket of its own")

// ListenForBeats opens the socket: a path, @name for an abstract one, or a random abstract
// name if the address is empty. An abstract socket leaves no file behind, even if this process
// is killed.
func (s *System) ListenForBeats(o system.Beats) (system.Ears, error) {
	address := o.Address
	if address == "" {
		var b [8]byte
		if _, err := (Random{}).Read(b[:]); err != nil {
			return nil, err
		}
		address = fmt.Sprintf("@leash-%d-%x", os.Getpid(), b)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	n := &notifier{s: s, beats: o, address: address, fd: fd, dir: -1}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt SO_PASSCRED", err)
	}
	// Each message comes with a pidfd of its sender (Linux 6.5).
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1)
	if strings.HasPrefix(address, "@") {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: address})
	} else {
		err = n.bind(address, o.Others)
	}
	if err == unix.EADDRINUSE {
		err = errInUse
	}
	if err == nil {
		n.token = s.loop.token()
		err = s.loop.add(fd, n.token)
	}
	if err != nil {
		n.close()
		return nil, err
	}
	s.ready[n.token] = n.readBeats
	return n, nil
}

// Address is the value for NOTIFY_SOCKET.
func (n *notifier) Address() string { return n.address }

// Close closes the socket and removes its file.
func (n *notifier) Close() {
	delete(n.s.ready, n.token)
	if n.fd >= 0 && !n.paused {
		n.s.loop.remove(n.fd)
	}
	n.s.attend = slices.DeleteFunc(n.s.attend, func(other *notifier) bool { return other == n })
	n.release()
	n.close()
}

// bind makes the socket file. A socket on which no process listens any more is replaced; any
// other file of that name is left alone.
func (n *notifier) bind(path string, others bool) error {
	dir, name := filepath.Split(path)
	var err error
	if n.dir, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("the folder %s: %w", dir, err)
	}
	mode := uint32(0o600)
	if others {
		mode = 0o666 // as systemd's; senders are identified by their credentials
	}
	// bind(2) applies the umask to the mode of the socket.
	if err := unix.Fchmod(n.fd, mode); err != nil {
		return err
	}
	defer unix.Umask(unix.Umask(0))
	here := fmt.Sprintf("/proc/self/fd/%d/%s", n.dir, name)
	if len(here) > maxAddress { // and the path as given fits
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
		// While it is open, no process takes the socket for stale and no other file has its
		// inode.
		var st unix.Stat_t
		if n.name != "" && unix.Fstatat(n.dir, n.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Ino == n.inode {
			unix.Unlinkat(n.dir, n.name, 0)
		}
		unix.Close(n.dir)
	}
	unix.Close(n.fd)
}

// release closes the barriers: all that was sent before them has been handled.
func (n *notifier) release() {
	for _, fd := range n.barriers {
		n.discard(fd)
	}
	n.barriers = n.barriers[:0]
}

func (n *notifier) tell(w system.Wake) {
	w.Owner = n.beats.Owner
	n.s.wake(w)
}

// readBeats reads messages, as long as the rate limit allows.
func (n *notifier) readBeats() {
	now := n.s.Now()
	n.limit.Refill(now)
	for ; n.limit.Left() && n.s.Now()-now < slice && !n.choked(now); n.limit.Spend() {
		if !n.readBeat() {
			return
		}
	}
	if !n.deaf {
		n.pauseBeats(now)
	}
}

// pauseBeats stops reading the socket for a while.
func (n *notifier) pauseBeats(now time.Duration) {
	n.s.loop.remove(n.fd)
	n.paused, n.pausedAt = true, now
	n.needAttention()
	n.tell(system.Wake{Kind: system.Overflowed})
}

// needAttention registers the socket for the next Wait. Of a thousand sockets most need none.
func (n *notifier) needAttention() {
	if !slices.Contains(n.s.attend, n) {
		n.s.attend = append(n.s.attend, n)
	}
}

func (s *System) release() {
	for _, n := range s.attend {
		n.release()
	}
}

// untilBeats is when reading from a paused socket resumes, if there is one.
func (s *System) untilBeats() (at time.Duration, paused bool) {
	for _, n := range s.attend {
		if next := n.pausedAt + heartbeat.Pause; n.paused && !n.deaf && (!paused || next < at) {
			at, paused = next, true
		}
	}
	return at, paused
}

func (s *System) listenAgain() {
	s.attend = slices.DeleteFunc(s.attend, func(n *notifier) bool {
		if n.deaf && !n.deafTold {
			n.deafTold = true
			n.tell(system.Wake{Kind: system.Deaf})
		}
		if n.paused && !n.deaf && s.Now() >= n.pausedAt+heartbeat.Pause {
			n.paused = false
			s.loop.add(n.fd, n.token)
		}
		return (!n.paused || n.deaf) && len(n.barriers) == 0
	})
}

// readBeat reads one message; false if there is none.
func (n *notifier) readBeat() bool {
	size, control, flags, err := n.receive()
	if err == unix.EINTR {
		return true
	}
	if err != 0 {
		return false
	}
	from := readControl(n.control[:control])
	m, ok := heartbeat.Parse(n.buf[:size])
	ok = ok && flags&unix.MSG_TRUNC == 0 && n.speaksForWorker(&from)
	if from.pidfd >= 0 {
		unix.RawSyscall(unix.SYS_CLOSE, uintptr(from.pidfd), 0, 0)
	}
	if ok && m.Barrier && len(from.rights) == 1 {
		n.barriers, from.rights = append(n.barriers, from.rights[0]), nil
		n.needAttention()
	}
	for _, fd := range from.rights {
		n.discard(fd)
	}
	if ok {
		n.tell(system.Wake{Kind: system.Heard, Message: m})
	}
	return true
}

// receive is recvmsg(2) into our own buffers, because unix.Recvmsg allocates an address. It does
// not block: see pollOnce.
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

// discard closes a descriptor that a message brought. close(2) may block for long on a file
// system, or on a socket that lingers (socket(7)). So a goroutine closes all but pipes, for
// which close(2) does not block.
func (n *notifier) discard(fd int) {
	if n.s.isPipe(fd) {
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
	default: // reading has been given up: it stays open
	}
}

const (
	// maxClosing is how many descriptors may wait to be closed.
	maxClosing = 4 * maxRights
	// stuckAfter is how long none of them is closed before reading is given up.
	stuckAfter = 2 * time.Second
)

// choked reports whether no more descriptors can be taken for now. If those that we have
// cannot be closed, reading is given up, and missing heartbeats mean nothing from then on. The
// socket is closed, or senders would block for ever.
func (n *notifier) choked(now time.Duration) bool {
	// While this process did not run, neither did the closer: a long gap counts little.
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
		n.needAttention()
		n.s.loop.remove(n.fd)
		fd := n.fd
		n.fd = -1
		go unix.Close(fd) // its queue may hold such descriptors too
	}
	return true
}

// isPipe reads the link in /proc, which accesses no other file system.
func (k *Kernel) isPipe(fd int) bool {
	n, err := unix.Readlink("/proc/self/fd/"+itoa(fd), k.link[:])
	return err == nil && strings.HasPrefix(string(k.link[:n]), "pipe:[")
}

// Drop discards what an earlier worker sent.
func (n *notifier) Drop() {
	n.senders = senders{}
	told := len(n.s.wakes)
	for range heartbeat.Burst {
		if n.deaf || n.choked(n.s.Now()) || !n.readBeat() {
			break
		}
	}
	n.s.wakes = n.s.wakes[:told]
	n.release()
}
