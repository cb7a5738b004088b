package platform

import (
	"errors"
	"fmt"
	"io"
	"time"

	"leash/internal/proc"
	"leash/platform/linux"
	"leash/platform/posix"
)

type host struct{ *linux.Host }

// Holds: run can lose nobody of the worker's tree (subreaper, PR_SET_CHILD_SUBREAPER).
const Holds = true

// Sentinels: run has a second process that ends the tree of a killed watchdog.
const Sentinels = true

// AsksAlone: one process can be sent the stop signal without its group.
const AsksAlone = true

// New returns the host of this system. The backend is auto, event or poll.
func New(backend string, interval time.Duration) (Host, error) {
	k, err := linux.NewKernel()
	if err != nil {
		return nil, err
	}
	switch {
	case backend == "auto" && !linux.HasEpoll():
		backend = "poll"
	case backend == "auto" && k.PIDFDs:
		backend = "event"
	case backend == "auto":
		backend = "poll"
	case backend == "event" && !k.PIDFDs:
		return nil, errors.New("--backend event: the system refuses pidfds (Linux 5.3, or a seccomp filter); use auto or poll")
	}
	h, err := linux.NewHost(k, backend, interval)
	if errors.Is(err, linux.ErrEpoll) {
		return nil, fmt.Errorf("--backend event: %w; use auto or poll", err)
	}
	if err != nil {
		return nil, err
	}
	return host{h}, nil
}

func (h host) Start(c Command) (proc.Info, error) {
	return h.Host.Start(linux.Command{Path: c.Path, Args: c.Args, Env: c.Env, Keep: c.Keep, Sentinel: c.Sentinel, Last: c.Last})
}

func (h host) RunHook(c Command) error { return h.Host.Hook(c.Path, c.Args, c.Env) }

// CheckWorker says why a process must not be guarded, if so.
func (h host) CheckWorker(pid int) error { return h.Kernel.CheckWorker(pid) }

// Replace executes this program anew in place, and returns only if it cannot.
func Replace(env []string) error { return linux.Replace(env) }

// HearRumours asks the system to tell the calling thread of its parent's end.
func HearRumours() error { return linux.HearRumours() }

// CheckPID says what is wrong with a PID that somebody gave us, if anything.
func CheckPID(pid int) error { return linux.CheckPID(pid) }

// CheckFD says what is wrong with a descriptor that somebody gave us.
func CheckFD(fd int, write bool) error { return linux.CheckFD(fd, write) }

// CloseOthers lets no descriptor above 2 be inherited but those kept.
func CloseOthers(keep []int) { linux.CloseOthers(keep) }

// ParseSignal reads TERM, SIGTERM or 15.
func ParseSignal(s string) (proc.Signal, bool) { return linux.ParseSignal(s) }

// Random is the system's source of random bytes.
var Random io.Reader = linux.Random{}

// Sink returns a writer that never waits for its reader.
func Sink(fd int) (io.Writer, error) { return posix.Sink(fd) }

// CheckKeptFD says what is wrong with a descriptor that the worker is to keep.
func CheckKeptFD(fd int) error { return linux.CheckKeptFD(fd) }

// TellManager sends a message to a NOTIFY_SOCKET, without waiting.
func TellManager(address, text string) error { return posix.TellManager(address, text) }

// CheckView says why what the system shows of processes must not be acted on.
func CheckView() error { return linux.CheckView() }

// CheckProgram says that a process is no program, if so.
func CheckProgram(pid int) error { return linux.CheckProgram(pid) }

// Orphaned is Host's.
func (h host) Orphaned(parent int) (string, bool) { return h.Kernel.Orphaned(parent) }
