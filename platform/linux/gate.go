//go:build linux

package linux

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A service to which systemd passes sockets checks whether LISTEN_PID is its own PID
// (sd_listen_fds(3)). No parent knows the PID of a child before fork(2). So such a worker
// starts as a gate, the same program as the watchdog, which sets the variable and executes the
// command. So does one with an oom_score_adj of its own, which nothing but the process itself
// can have from its first instruction on without another having it for a moment.

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
func forkGate(o *order, attr *syscall.ProcAttr) (pid int, err error) {
	conn, pid, err := startRole(roleGate, attr)
	if err != nil {
		return 0, err
	}
	defer unix.Close(conn)
	b := o.encode()
	for b = append(binary.NativeEndian.AppendUint32(nil, uint32(len(b))), b...); len(b) > 0; {
		n, err := unix.SendmsgN(conn, b, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			break // it has ended: its status says why
		}
		b = b[n:]
	}
	var failed [4]byte
	if readFull(conn, failed[:]) != nil { // execve(2) has closed the other end
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
	var head [4]byte
	if readFull(conn, head[:]) != nil {
		return exitFailed // the watchdog or sentinel was killed
	}
	n := binary.NativeEndian.Uint32(head[:])
	if n > maxOrder {
		return exitFailed
	}
	b := make([]byte, n)
	if readFull(conn, b) != nil {
		return exitFailed
	}
	o, err := decodeOrder(b)
	if err != nil {
		fmt.Fprintln(os.Stderr, "watchdog:", err)
		return exitFailed
	}
	env := o.Env
	if o.Listens {
		env = append(env, listenPID+"="+strconv.Itoa(os.Getpid()))
	}
	failed := takeOn(&o)
	if failed == 0 {
		failed, _ = syscall.Exec(o.Path, o.Args, env).(syscall.Errno)
	}
	unix.Write(conn, binary.NativeEndian.AppendUint32(nil, uint32(failed)))
	return exitFailed
}

// takeOn gives this process what the worker must have before its first instruction. Writing the
// PID 0 moves the process that writes (cgroups(7)). A failure is not the command's: EAGAIN.
func takeOn(o *order) syscall.Errno {
	var err error
	if o.Scored {
		err = writeFile(scoreFile, strconv.Itoa(o.Score))
	}
	if err == nil && o.Enter != "" {
		err = writeFile(o.Enter+"/cgroup.procs", "0")
	}
	if err != nil {
		return unix.EAGAIN
	}
	return 0
}
