package platform

import (
	"crypto/rand"
	"errors"
	"io"
	"time"

	"leash/internal/proc"
	"leash/platform/darwin"
	"leash/platform/posix"
)

type host struct{ *darwin.Host }

// Holds: run loses who leaves group and tree between two looks; there is no subreaper.
const Holds = false

// Sentinels: run has a second process that ends the tree of a killed watchdog.
const Sentinels = true

// AsksAlone: one process can be sent the stop signal without its group.
const AsksAlone = true

// New returns the host of this system. The backend is auto, event or poll.
func New(backend string, interval time.Duration) (Host, error) {
	k, err := darwin.NewKernel()
	if err != nil {
		return nil, err
	}
	if backend == "auto" {
		backend = "event"
	}
	h, err := darwin.NewHost(k, backend, interval)
	if err != nil {
		return nil, err
	}
	return host{h}, nil
}

func (h host) Start(c Command) (proc.Info, error) {
	h.Host.NoSentinel = !c.Sentinel
	return h.Host.Start(c.Path, c.Args, c.Env, c.Keep)
}

// UseSentinel fails: the host starts its own.
func (h host) UseSentinel(int, int) error { return errors.ErrUnsupported }

// StartSentinel fails: the host starts its own.
func StartSentinel([]int) (conn, pid int, err error) { return -1, 0, errors.ErrUnsupported }

// GivenFDs lists the descriptors above 2 that this program was given.
func GivenFDs() []int { return darwin.GivenFDs() }

// CloseFDs closes descriptors that were meant for the worker alone.
func CloseFDs(fds []int) { darwin.CloseFDs(fds) }

func (h host) RunHook(c Command) error { return h.Host.RunHook(c.Path, c.Args, c.Env) }

// CheckWorker says why a process must not be guarded, if so.
func (h host) CheckWorker(pid int) error { return h.Kernel.CheckWorker(pid) }

// Replace executes this program anew in place, and returns only if it cannot.
func Replace(env []string) error { return darwin.Replace(env) }

// TakeRole does not return if this process was started as a part of a watchdog.
func TakeRole() { darwin.TakeRole() }

// HearRumours has signals that would be deadly too early ignored.
func HearRumours() error { return darwin.HearRumours() }

// CheckPID says what is wrong with a PID that somebody gave us, if anything.
func CheckPID(pid int) error { return darwin.CheckPID(pid) }

// CheckFD says what is wrong with a descriptor that somebody gave us.
func CheckFD(fd int, write bool) error { return darwin.CheckFD(fd, write) }

// CheckKeptFD says what is wrong with a descriptor that the worker is to keep.
func CheckKeptFD(fd int) error { return darwin.CheckKeptFD(fd) }

// CloseOthers lets no descriptor above 2 be inherited but those kept.
func CloseOthers(keep []int) { darwin.CloseOthers(keep) }

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) { return darwin.ParseSignal(s) }

// Random is the system's source of random bytes.
var Random io.Reader = rand.Reader

// Sink returns a writer that never waits for its reader.
func Sink(fd int) (io.Writer, error) { return posix.Sink(fd) }

// TellManager sends a message to a NOTIFY_SOCKET, without waiting.
func TellManager(address, text string) error { return posix.TellManager(address, text) }

// CheckView has nothing to find: there is one view of the processes.
func CheckView() error { return nil }

// CheckProgram has nothing to find: the kernel's threads are those of PID 0.
func CheckProgram(int) error { return nil }

// Orphaned is Host's.
func (h host) Orphaned(parent int) (string, bool) { return h.Kernel.Orphaned(parent) }
