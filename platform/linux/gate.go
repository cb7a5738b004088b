//go:build linux

package linux

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"leash/internal/wire"
)

// A service to which systemd passes sockets checks whether LISTEN_PID is its own PID
// (sd_listen_fds(3)). No parent knows the PID of a child before fork(2). So such a worker
// starts as a gate, the same program as the watchdog, which sets the variable and executes the
// command.

const (
	listenPID = "LISTEN_PID"
	// listenID is the inode of the process's pidfd, which systemd sets beside the PID since
	// version 258. sd_listen_fds does not require it.
	listenID = "LISTEN_PIDFDID"
)

// cutListenPID removes the variable if it names this process.
func cutListenPID(env []string) (rest []string, ours bool) {
	if !hasEntry(env, listenPID+"="+strconv.Itoa(os.Getpid())) {
		return env, false
	}
	for _, e := range env {
		if name, _, _ := strings.Cut(e, "="); name != listenPID && name != listenID {
			rest = append(rest, e)
		}
	}
	return rest, true
}

func hasEntry(env []string, entry string) bool {
	for _, e := range env {
		if e == entry {
			return true
		}
	}
	return false
}

// forkGate starts the worker of an order behind a gate. The error is that of execve(2), as
// without a gate.
func forkGate(o *wire.Order, attr *syscall.ProcAttr) (pid int, err error) {
	conn, pid, err := startRole(roleGate, attr)
	if err != nil {
		return 0, err
	}
	defer unix.Close(conn)
	send(conn, wire.Bytes(wire.Start, o.Encode()), nil, nil) // if it has ended, its status says why
	var failed [4]byte
	if _, err := io.ReadFull(blocking(conn), failed[:]); err != nil { // execve(2) has closed the other end
		return pid, nil
	}
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			break
		}
	}
	return 0, syscall.Errno(binary.NativeEndian.Uint32(failed[:]))
}

// passGate executes the worker's command in place.
func passGate(conn int) (status int) {
	_, b, err := wire.Read(blocking(conn))
	if err != nil {
		return exitFailed // the watchdog or sentinel was killed
	}
	o, err := wire.DecodeOrder(b)
	if err != nil {
		fmt.Fprintln(os.Stderr, "watchdog:", err)
		return exitFailed
	}
	env := append(o.Env, listenPID+"="+strconv.Itoa(os.Getpid()))
	failed, _ := syscall.Exec(o.Path, o.Args, env).(syscall.Errno)
	unix.Write(conn, binary.NativeEndian.AppendUint32(nil, uint32(failed)))
	return exitFailed
}
