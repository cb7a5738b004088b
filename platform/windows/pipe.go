//go:build windows

package windows

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/heartbeat"
)

// connections is how many instances the pipe has: so many clients may be
// connected at once, or be waiting to be verified.
const connections = 32

// room is how many bytes a client may write before it must wait for us.
const room = 4 * heartbeat.MaxSize

// errInUse: another process listens there.
var errInUse = errors.New("another process listens there already: give each worker a pipe of its own")

// connection is one instance of the pipe. The system knows it by the addresses
// of its operations, so it is neither copied nor forgotten while one is under way.
type connection struct {
	n  *notifier
	h  win.Handle
	in operation // the wait for a client, then for its message
	// out is the answer to BARRIER=1.
	out operation
	buf []byte // made for the first client

	waiting   bool // in is under way
	connected bool
	answering bool // out is under way
	fate      fate
	serial    int           // counts the clients
	heard     time.Duration // when its client last sent, or came
	prepaid   bool          // verifying the client has counted as one message already
	tail      bool          // the rest of a message that was too long comes
}

// fate is what becomes of a connection after its client was sent away while an
// operation was under way: the system still tells when the operation has ended.
type fate int

const (
	kept fate = iota
	evicted
	dropped // with its message
)

// operation is an overlapped one ("OVERLAPPED structure"), which must be first.
type operation struct {
	o win.Overlapped
	c *connection
}

// finished is an operation that is under way no more.
type finished struct {
	op   *operation
	size uint32
	err  error
}

// newPipe makes all instances of a pipe for messages ("CreateNamedPipe
// function"). The process that has the first is alone with it, and no other
// process can add an instance. sids are the users that may connect, beside the
// system; none may from another machine.
func newPipe(name string, sids []string) ([]*connection, error) {
	sddl := "D:P(A;;GA;;;SY)"
	for _, sid := range sids {
		sddl += "(A;;GRGW;;;" + sid + ")"
	}
	sd, err := win.SecurityDescriptorFromString(sddl)
	if err != nil {
		return nil, err
	}
	at, err := win.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	sa := win.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(sa))
	var all []*connection
	flags := uint32(win.PIPE_ACCESS_DUPLEX | win.FILE_FLAG_OVERLAPPED | win.FILE_FLAG_FIRST_PIPE_INSTANCE)
	for range connections {
		h, err := win.CreateNamedPipe(at, flags, win.PIPE_TYPE_MESSAGE|win.PIPE_READMODE_MESSAGE|win.PIPE_REJECT_REMOTE_CLIENTS,
			connections, heartbeat.MaxSize, room, 0, &sa)
		if err != nil {
			closePipe(all)
			return nil, notListening(err)
		}
		c := &connection{h: h}
		c.in.c, c.out.c = c, c
		all = append(all, c)
		flags &^= win.FILE_FLAG_FIRST_PIPE_INSTANCE
	}
	return all, nil
}

func closePipe(all []*connection) {
	for _, c := range all {
		win.CloseHandle(c.h)
	}
}

func notListening(err error) error {
	if errors.Is(err, win.ERROR_ACCESS_DENIED) || errors.Is(err, win.ERROR_PIPE_BUSY) {
		return errInUse
	}
	return os.NewSyscallError("CreateNamedPipe", err)
}

// randomPipe is a name that no other can have taken.
func randomPipe() (string, error) {
	var b [8]byte
	if _, err := (Random{}).Read(b[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf(`%sleash-%d-%x`, pipePrefix, os.Getpid(), b), nil
}

// start begins the operation that is next. done: it ended at once, with this
// error, and no event of it will follow.
func (c *connection) start() (done bool, err error) {
	c.in.o = win.Overlapped{}
	if !c.connected {
		err = win.ConnectNamedPipe(c.h, &c.in.o)
		switch {
		case errors.Is(err, win.ERROR_PIPE_CONNECTED), errors.Is(err, win.ERROR_NO_DATA):
			return true, nil // it came before, and perhaps went
		}
	} else {
		if c.buf == nil {
			c.buf = make([]byte, heartbeat.MaxSize+1)
		}
		err = win.ReadFile(c.h, c.buf, nil, &c.in.o)
		if errors.Is(err, win.ERROR_MORE_DATA) { // a part of it is there
			err = nil
		}
	}
	if err == nil || errors.Is(err, win.ERROR_IO_PENDING) {
		c.waiting = true
		return false, nil
	}
	return true, err
}

// client is the number of the process that connected. It may have ended.
func (c *connection) client() (int, error) {
	var pid uint32
	err := win.GetNamedPipeClientProcessId(c.h, &pid)
	return int(pid), err
}

// answer tells the client that all before was handled. One that does not read
// has room for many, and when that is full, one waits.
func (c *connection) answer() {
	if c.answering {
		return
	}
	c.out.o = win.Overlapped{}
	err := win.WriteFile(c.h, barrier, nil, &c.out.o)
	c.answering = err == nil || errors.Is(err, win.ERROR_IO_PENDING)
}

var barrier = []byte("BARRIER=1")

// sidOf is the user of a process; empty if it cannot be read.
func sidOf(h win.Handle) string {
	var t win.Token
	if win.OpenProcessToken(h, win.TOKEN_QUERY, &t) != nil {
		return ""
	}
	defer t.Close()
	u, err := t.GetTokenUser()
	if err != nil {
		return ""
	}
	return strings.Clone(u.User.Sid.String())
}
