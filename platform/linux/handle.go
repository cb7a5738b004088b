//go:build linux

package linux

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/runid"
	"leash/internal/stop"
)

// handle is a race-free reference to a process: a pidfd (Linux 5.3), or where that is refused
// the open directory /proc/PID, whose files fail with ESRCH once the process is gone, even if
// another process has the PID by then.
type handle struct {
	k     *Kernel
	pid   int
	fd    int
	dir   bool // fd is /proc/PID
	inode uint64
	token int  // in the wait loop, 0 if not there
	ended bool // reported by the wait loop
	owner any  // for which the wait loop reports the exit

	// child: we or our sentinel started it. Once it was reaped exit is how it ended; collect
	// reaps it, and onReaped is called then.
	child, reaped bool
	exit          proc.Exit
	collect       func()
	onReaped      func()

	// worker is never taken for a watchdog: a user wants it guarded.
	worker bool
}

var _ stop.Handle = (*handle)(nil)

// Open opens a handle on the process that has the PID now. It fails with proc.ErrGone if there
// is none.
func (k *Kernel) Open(pid int) (stop.Handle, error) { return k.open(pid) }

func (k *Kernel) open(pid int) (*handle, error) {
	if !k.PIDFDs {
		return k.openDir(pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, openError(pid, err)
	}
	return k.wrap(pid, fd), nil
}

func (k *Kernel) openDir(pid int) (*handle, error) {
	dir := pathIn(pid, "")
	fd, err := openRetry(unix.AT_FDCWD, &dir, unix.O_DIRECTORY)
	if err == unix.ENOENT && unix.Kill(pid, 0) == unix.EPERM {
		// /proc hides it (hidepid), but it is alive.
		return nil, fmt.Errorf("process %d: %w", pid, proc.ErrDenied)
	}
	if err != nil {
		return nil, openError(pid, err)
	}
	return &handle{k: k, pid: pid, fd: fd, dir: true}, nil
}

func (k *Kernel) wrap(pid, fd int) *handle {
	h := &handle{k: k, pid: pid, fd: fd}
	if k.pidfs {
		h.inode = inodeOf(fd)
	}
	return h
}

func inodeOf(fd int) uint64 {
	var st unix.Stat_t
	if _, _, e := unix.RawSyscall(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(&st)), 0); e != 0 { // see pollOnce
		return 0
	}
	return st.Ino
}

func openError(pid int, err error) error {
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		return proc.ErrGone
	}
	return fmt.Errorf("process %d: %w", pid, err)
}

func (h *handle) Close() {
	if h.fd >= 0 {
		if h.token != 0 {
			h.k.forget(h)
		}
		unix.Close(h.fd)
		h.fd = -1
	}
}

// Info reads first and probes the handle afterwards: if the process has not been reaped by
// then, what was read was its own.
func (h *handle) Info() (proc.Info, error) {
	info, err := h.stat()
	if gone := h.probe(); gone != nil {
		return proc.Info{}, gone
	}
	if err != nil {
		return proc.Info{ID: proc.ID{PID: h.pid, Inode: h.inode}}, err
	}
	info.Inode = h.inode
	return info, nil
}

func (h *handle) stat() (proc.Info, error) {
	b, err := h.k.readRecord(h.at(), h.path("stat"))
	if err != nil {
		return proc.Info{}, err
	}
	info, err := ParseStat(b)
	if err != nil || info.PID != h.pid {
		return proc.Info{}, errStat
	}
	info.UID = ownerOf(h.at(), h.home())
	info.Leash = !h.worker && h.k.isLeash(h.at(), h.path("exe"))
	return info, nil
}

// at and path name a file of the process's directory.
func (h *handle) at() int {
	if h.dir {
		return h.fd
	}
	return unix.AT_FDCWD
}

func (h *handle) path(name string) path {
	if h.dir {
		return pathOf(name)
	}
	return pathIn(h.pid, name)
}

// home names the process's directory itself.
func (h *handle) home() path {
	if h.dir {
		return pathOf(".")
	}
	return pathIn(h.pid, "")
}

// probe returns proc.ErrGone once the process has been reaped. EPERM means that it is alive.
func (h *handle) probe() error {
	if h.fd < 0 { // closed: it stands for no process
		return proc.ErrGone
	}
	if !h.dir {
		if unix.PidfdSendSignal(h.fd, 0, nil, 0) == unix.ESRCH {
			return proc.ErrGone
		}
		return nil
	}
	_, err := h.k.readRecord(h.fd, pathOf("stat"))
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return proc.ErrGone
	}
	return nil
}

func (h *handle) Signal(sig proc.Signal) error {
	if h.fd < 0 {
		return proc.ErrGone
	}
	if !h.dir {
		return signalError(unix.PidfdSendSignal(h.fd, unix.Signal(sig.Num), nil, 0))
	}
	// The PID is checked through the handle, then used at once.
	if err := h.probe(); err != nil {
		return err
	}
	return signalError(unix.Kill(h.pid, unix.Signal(sig.Num)))
}

// SignalGroup signals the process group that this very process leads or led
// (PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9): a later group with the same number is another one.
// On older kernels the number is used as long as its leader exists.
func (h *handle) SignalGroup(sig proc.Signal) error {
	if h.k.groupFlag {
		return signalError(unix.PidfdSendSignal(h.fd, unix.Signal(sig.Num), nil, unix.PIDFD_SIGNAL_PROCESS_GROUP))
	}
	info, err := h.Info()
	if err != nil || info.PGID != h.pid {
		return errors.ErrUnsupported
	}
	return signalError(unix.Kill(-h.pid, unix.Signal(sig.Num)))
}

func signalError(err error) error {
	switch err {
	case nil:
		return nil
	case unix.ESRCH:
		return proc.ErrGone
	case unix.EPERM:
		return proc.ErrDenied
	}
	return err
}

func (h *handle) Labels() (run, worker string) {
	if !h.k.sameNamespace(h.at(), h.path("status")) {
		return "", ""
	}
	env, err := h.k.readFile(h.at(), h.path("environ"))
	if err != nil {
		return "", ""
	}
	run, worker = runid.FromEnviron(env)
	if h.probe() != nil {
		return "", ""
	}
	return run, worker
}

// Names are the run ID and the worker ID that arguments and environment name now.
func (h *handle) Names() (run, worker string) {
	run, worker = h.Labels()
	if id := runid.FromArgs(h.args()); id != "" {
		run = id
	}
	return run, worker
}

// args are the arguments, each terminated by NUL.
func (h *handle) args() []byte {
	b, err := h.k.readFile(h.at(), h.path("cmdline"))
	b = bytes.Clone(b) // probe may read too
	if err != nil || h.probe() != nil {
		return nil
	}
	return b
}

// settled waits for a process in the middle of execve(2), which for a moment has neither
// arguments nor environment.
func (h *handle) settled() {
	for range 20 {
		if len(h.args()) > 0 || h.probe() != nil {
			return
		}
		pause(time.Millisecond)
	}
}

func (h *handle) Notify() {
	if h.k.notify != nil {
		h.k.notify(h)
	}
}
