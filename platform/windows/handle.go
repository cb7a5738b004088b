//go:build windows

package windows

import (
	"errors"
	"fmt"
	"strings"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
	"leash/internal/runid"
	"leash/internal/stop"
	"leash/internal/system"
)

// handle is a process handle, the best that we may have.
type handle struct {
	k      *Kernel
	pid    int
	h      win.Handle
	rights uint32
	start  uint64
	ppid   int // never changes, even if that process is gone
	uid    uint32
	group  int // console process group, as far as known
	exe    string
	worker bool // never taken for a watchdog: it is to be guarded
	forced bool // we ended it

	entry *waited // by which its end is waited for; nil: it is not
	owner any     // is reported with its end
	told  bool    // its end was reported

	hold *containment // of the tree that it was opened for; nil: of none
	// job is what a hook is in, with all that it starts; nil: it is no hook.
	job *job
}

var _ system.Handle = (*handle)(nil)

// wanted are the sets of rights that are tried, the most first ("Process
// Security and Access Rights"). The limited right is granted where the full one
// is refused; without PROCESS_TERMINATE the process can only be watched.
var wanted = []uint32{
	win.SYNCHRONIZE | win.PROCESS_TERMINATE | win.PROCESS_QUERY_INFORMATION | win.PROCESS_VM_READ | win.PROCESS_SET_QUOTA,
	win.SYNCHRONIZE | win.PROCESS_TERMINATE | win.PROCESS_QUERY_INFORMATION,
	win.SYNCHRONIZE | win.PROCESS_TERMINATE | win.PROCESS_QUERY_LIMITED_INFORMATION,
	win.SYNCHRONIZE | win.PROCESS_QUERY_LIMITED_INFORMATION,
	win.PROCESS_QUERY_LIMITED_INFORMATION,
}

// Open takes a handle on the process that has the number now.
func (k *Kernel) Open(pid int) (stop.Handle, error) {
	h, err := k.openProgram(pid)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// openProgram takes the host of a console for no process: it ends with the last one of
// its console, and would take all others of it along if it were ended before.
func (k *Kernel) openProgram(pid int) (*handle, error) {
	h, err := k.open(pid)
	if err != nil {
		return nil, err
	}
	if isConsoleHost(h.exe) {
		h.Close()
		return nil, proc.ErrGone
	}
	return h, nil
}

func (k *Kernel) open(pid int) (*handle, error) { return k.openWith(pid, wanted) }

func (k *Kernel) openWith(pid int, wanted []uint32) (*handle, error) {
	if pid <= 0 || uint64(pid) > maxPID {
		return nil, proc.ErrGone
	}
	var err error
	for _, rights := range wanted {
		var h win.Handle
		if h, err = win.OpenProcess(rights, false, uint32(pid)); err == nil {
			return k.wrap(pid, h, rights)
		}
		if !errors.Is(err, win.ERROR_ACCESS_DENIED) {
			break
		}
	}
	switch {
	case errors.Is(err, win.ERROR_INVALID_PARAMETER): // no process has it ("OpenProcess function")
		return nil, proc.ErrGone
	case errors.Is(err, win.ERROR_ACCESS_DENIED):
		return nil, fmt.Errorf("process %d: %w", pid, proc.ErrDenied)
	}
	return nil, fmt.Errorf("process %d: %w", pid, err)
}

// maxPID: a process number is a DWORD.
const maxPID = 1<<32 - 1

// wrap reads the process that was opened. It closes h if it fails.
func (k *Kernel) wrap(pid int, h win.Handle, rights uint32) (*handle, error) {
	p := &handle{k: k, pid: pid, h: h, rights: rights}
	// The system rounds a number down to a multiple of four: that is another one.
	got, err := win.GetProcessId(h)
	if err != nil { // unknown is not gone
		p.Close()
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	if int(got) != pid || p.ended() { // only a handle that another holds keeps it there
		p.Close()
		return nil, proc.ErrGone
	}
	if p.start, err = createdAt(h); err != nil {
		p.Close()
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	p.ppid = parentOf(h)
	p.uid, p.exe = k.users.of(h), imageOf(h)
	return p, nil
}

// createdAt is when a process was created.
func createdAt(h win.Handle) (uint64, error) {
	var created, x win.Filetime
	err := win.GetProcessTimes(h, &created, &x, &x, &x)
	return ticks(created), err
}

func (h *handle) closed() bool { return h.h == 0 }

func (h *handle) may(right uint32) bool { return h.rights&right == right }

// ended reports whether the process has. Its object is signalled then, and
// stays so until the last handle is closed ("Terminating a Process").
func (h *handle) ended() bool {
	if h.may(win.SYNCHRONIZE) {
		ev, err := win.WaitForSingleObject(h.h, 0)
		return err == nil && ev == win.WAIT_OBJECT_0
	}
	var code uint32
	return win.GetExitCodeProcess(h.h, &code) == nil && code != stillActive
}

// stillActive is STILL_ACTIVE ("GetExitCodeProcess function"). A process that ends with
// this very code is taken to live where nothing better can be read.
const stillActive = 259

func (h *handle) Close() {
	if h.closed() {
		return
	}
	if h.entry != nil {
		h.k.forget(h)
	}
	win.CloseHandle(h.h)
	h.h = 0
	if h.job != nil {
		h.k.endHook(h)
	}
}

// Info returns what does not change, if the process still runs. There are no
// zombies: what has ended is gone, also if another process holds a handle to it.
func (h *handle) Info() (proc.Info, error) {
	if h.closed() || h.ended() {
		return proc.Info{}, proc.ErrGone
	}
	info := proc.Info{ID: proc.ID{PID: h.pid, Start: h.start}, State: 'S', UID: h.uid,
		PPID: h.parent(), PGID: h.console()}
	info.Leash = !h.worker && h.k.isLeash(h.exe)
	return info, nil
}

// parent is 0 once it has ended: the number may be another's then.
func (h *handle) parent() int {
	p, err := win.OpenProcess(win.SYNCHRONIZE|win.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(h.ppid))
	if errors.Is(err, win.ERROR_ACCESS_DENIED) {
		table, err := h.k.table()
		if start, ok := startIn(table, h.ppid); err != nil || ok && !younger(start, h.start, h.k.latest()) {
			return h.ppid
		}
		return 0
	}
	if err != nil {
		return 0
	}
	defer win.CloseHandle(p)
	parent := handle{h: p, rights: win.SYNCHRONIZE}
	start, err := createdAt(p)
	if parent.ended() || err != nil || younger(start, h.start, h.k.latest()) {
		return 0
	}
	return h.ppid
}

// console is the process group; 0 if it cannot be read.
func (h *handle) console() int {
	if h.group == 0 {
		h.group = h.k.group(h)
	}
	return h.group
}

// Signal kills the process, or sends it a stop signal by an event of its console.
func (h *handle) Signal(sig proc.Signal) error {
	if h.closed() || h.ended() {
		return proc.ErrGone
	}
	switch sig {
	case stop.STOP, stop.CONT:
		return errors.ErrUnsupported // there is no job control
	case proc.Signal{}:
		if !h.may(win.PROCESS_TERMINATE) {
			return proc.ErrDenied
		}
		return nil
	case proc.KILL:
		return h.terminate()
	}
	return h.k.sendEvent(h, sig)
}

func (h *handle) terminate() error {
	if !h.may(win.PROCESS_TERMINATE) {
		return proc.ErrDenied
	}
	h.forced = true
	err := win.TerminateProcess(h.h, killCode)
	switch {
	case err == nil:
		return nil
	case h.ended(): // that is refused too ("TerminateProcess function")
		return proc.ErrGone
	case errors.Is(err, win.ERROR_ACCESS_DENIED):
		return proc.ErrDenied
	}
	return err
}

// SignalGroup sends to the console process group that this process leads or led: its
// number is not given out anew while we hold the handle. A group cannot be killed; the
// job of a hook can.
func (h *handle) SignalGroup(sig proc.Signal) error {
	if h.closed() {
		return proc.ErrGone
	}
	if h.job != nil && sig == proc.KILL {
		h.forced = true
		return h.job.end()
	}
	if h.console() != h.pid || sig == proc.KILL {
		return errors.ErrUnsupported
	}
	switch sig {
	case proc.Signal{}:
		return nil
	case stop.STOP, stop.CONT:
		return errors.ErrUnsupported
	}
	return h.k.sendEvent(h, sig)
}

// Labels are read from the memory of the process.
func (h *handle) Labels() (run, worker string) {
	if h.closed() || h.ended() {
		return "", ""
	}
	env, err := h.environ()
	if err != nil {
		return "", ""
	}
	return runid.FromEnviron(env)
}

// Names are the run ID and the worker ID that its arguments and its environment say now.
func (h *handle) Names() (run, worker string) {
	run, worker = h.Labels()
	if h.closed() || h.ended() {
		return "", ""
	}
	if id := h.runInArgs(); id != "" {
		run = id
	}
	return run, worker
}

// Catches is not known here, and of no use without job control.
func (h *handle) Catches(proc.Signal) bool { return false }

// id is its identity.
func (h *handle) id() proc.ID { return proc.ID{PID: h.pid, Start: h.start} }

// Exit is how it ended, and whether it has.
func (h *handle) Exit() (exit proc.Exit, ended bool) {
	if h.closed() || !h.ended() {
		return proc.Exit{}, false
	}
	return h.exit(), true
}

// exit is how it ended, once it has.
func (h *handle) exit() proc.Exit {
	var code uint32
	if win.GetExitCodeProcess(h.h, &code) != nil {
		return proc.Exit{}
	}
	return exitOf(code, h.forced)
}

// imageOf is the path of its program; empty if it cannot be read.
func imageOf(h win.Handle) string {
	var b [1 << 10]uint16
	n := uint32(len(b))
	if win.QueryFullProcessImageName(h, 0, &b[0], &n) != nil {
		return ""
	}
	return win.UTF16ToString(b[:n])
}

func sameFold(a, b string) bool { return strings.EqualFold(a, b) }
