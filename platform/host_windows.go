package platform

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"leash/internal/proc"
	"leash/platform/windows"
)

type host struct{ *windows.Host }

// Holds: run can lose nobody of the worker's tree (job object).
const Holds = true

// Sentinels: the job object ends with the watchdog.
const Sentinels = false

// AsksAlone: a console event reaches a whole group, so that --kill-mode is always group.
const AsksAlone = false

// New returns the host of this system. The backend is auto, event or poll.
func New(backend string, interval time.Duration) (Host, error) {
	k, err := windows.NewKernel()
	if err != nil {
		return nil, err
	}
	if backend == "auto" { // every process handle can be waited for
		backend = "event"
	}
	h, err := windows.NewHost(k, backend, interval)
	if err != nil {
		return nil, err
	}
	return host{h}, nil
}

func (h host) Start(c Command) (proc.Info, error) {
	return h.Host.Start(c.Path, c.Args, c.Env, c.Keep)
}

// CheckWorker says why a process must not be guarded, if so.
func (h host) CheckWorker(pid int) error { return h.Kernel.CheckWorker(pid) }

// UseSentinel fails: the job object ends with the watchdog.
func (h host) UseSentinel(int, int) error { return errors.ErrUnsupported }

// CloseFDs has nothing to do: the worker inherits what it is told to, and no copy is kept.
func CloseFDs([]int) {}

// StateDir opens the directory of the ledger.
func (h host) StateDir() (*os.File, error) { return windows.StateDir() }

// RunHook starts the command of a hung worker's last words. Its arguments are
// joined as they are: cmd.exe does not read its line as other programs do.
func (h host) RunHook(c Command) error {
	return h.Hook(c.Path, strings.Join(c.Args, " "), c.Env)
}

// CheckBeatAddress says what is wrong with an address for heartbeats.
func CheckBeatAddress(address string) error { return windows.CheckPipe(address) }

// Replace fails: no process can execute another program in place.
func Replace([]string) error { return errors.ErrUnsupported }

// HearRumours has nothing to do: a parent's end is told by its handle.
func HearRumours() error { return nil }

// CheckPID says what is wrong with a PID that somebody gave us, if anything.
func CheckPID(pid int) error { return windows.CheckPID(pid) }

// CheckFD says what is wrong with a descriptor that somebody gave us.
func CheckFD(fd int, write bool) error { return windows.CheckFD(fd, write) }

// CheckKeptFD says what is wrong with a descriptor that the worker is to keep.
func CheckKeptFD(fd int) error { return windows.CheckKeptFD(fd) }

// CloseOthers has nothing to do: a worker inherits only what it is given.
func CloseOthers([]int) {}

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) { return windows.ParseSignal(s) }

// Random is the system's source of random bytes.
var Random io.Reader = windows.Random{}

// Sink returns a writer that never waits long for its reader.
func Sink(fd int) (io.Writer, error) { return windows.Sink(fd) }

// TellManager fails: there is no manager here that listens.
func TellManager(_, _ string) error {
	return errors.New("on Windows nobody listens there: remove the variable")
}

// CheckView has nothing to find: there is one view of the processes.
func CheckView() error { return nil }

// CheckProgram has nothing to find: a process that may not be opened is refused elsewhere.
func CheckProgram(int) error { return nil }

// Orphaned is never so: the parent that the system names is the one that started us.
func (h host) Orphaned(int) (string, bool) { return "", false }
