// Package system defines what watching and ending workers needs of an operating system.
// One System serves any number of workers. It is not safe for concurrent use: one goroutine
// calls it.
package system

import (
	"time"

	"leash/internal/heartbeat"
	"leash/internal/proc"
	"leash/internal/stop"
)

// System is one operating system.
type System interface {
	// Open, Children and Tick are those of the process table.
	stop.Kernel
	// Now is the time since any fixed moment, on a clock that stands still while the
	// machine is suspended.
	Now() time.Duration
	// Backend is how ends of processes are noticed: event or poll.
	Backend() string
	// Means is the mechanism of the backend event: pidfd, kqueue or handle.
	Means() string

	// OpenParent opens a process at whose exit a worker is ended. It returns
	// proc.ErrGone if the process has been reaped, or if its PID was certainly reused.
	OpenParent(pid int) (stop.Handle, error)
	// OpenWorker opens a process that is to be guarded, and that is never taken for a
	// watchdog. If it belongs to another user the error says what to do.
	OpenWorker(pid int) (Handle, error)
	// StartHook starts a command in a process group or job of its own, without standard
	// input and with its output on standard error. What is left of its group or job when
	// it ends is killed. SignalGroup of its handle reaches all of it.
	StartHook(Command) (Handle, error)
	// Contain prepares to keep one worker's process tree together.
	Contain(Options) Containment
	// Ancestors are this process and its ancestors, this one first.
	Ancestors() []proc.Info
	// Self is the identity of this process.
	Self() (proc.ID, error)
	// Here is the ID of this boot and, on Linux, the inode of the PID namespace; 0
	// elsewhere.
	Here() (boot string, namespace uint64, err error)
	// Created is when a process was started.
	Created(proc.ID) time.Time

	// Watch makes Wait report the end of a process, once, also if it has ended already.
	// An error means that it will not be reported. Closing the handle undoes it. With
	// the backend poll there are no reports, and that is no error.
	Watch(h stop.Handle, owner any) error
	// Waiting is how many watched processes of an owner have not been reported yet.
	Waiting(owner any) int
	// WatchFD makes Wait report the end-of-file of a descriptor, which is not read. It
	// returns false if the end-of-file has come already.
	WatchFD(fd int, owner any) (open bool, err error)
	// FDEnded reports whether the end-of-file of such a descriptor has come, even if Wait
	// has not reported it yet.
	FDEnded(fd int) bool
	// Listen makes Wait report signals. With forward they are meant for a worker too.
	Listen(forward bool) error
	// ListenForBeats opens a socket or pipe for heartbeats.
	ListenForBeats(Beats) (Ears, error)
	// Wait blocks until there is something to report or, if timed, until the deadline, a
	// time of Now. The result, which may be empty, is valid until the next Wait.
	Wait(deadline time.Duration, timed bool) ([]Wake, error)
	// Suspend stops this process until it is continued. It returns at once if unless,
	// asked a moment later, says so, or if it was continued meanwhile.
	Suspend(unless func() bool)

	Close()
}

// Handle refers to a worker, or to another child of this process.
type Handle interface {
	stop.Handle
	// Exit is the exit status of the process, if the system has it, and whether it has
	// ended. A child of this process is reaped.
	Exit() (exit proc.Exit, ended bool)
	// Names are the run ID and the worker ID in its arguments and its environment; empty
	// if they are absent or unreadable.
	Names() (run, worker string)
	// Catches reports whether the process handles a signal itself.
	Catches(proc.Signal) bool
}

// Command is a program to start.
type Command struct {
	Path string
	Args []string // the name first
	Env  []string
	// Keep lists the descriptors above 2 that it inherits.
	Keep []int
	// Stdio, if not nil, are its standard input, output and error instead of ours.
	Stdio []uintptr
	// Dir is its working folder; empty: ours.
	Dir string
	// Sentinel: start the worker by a sentinel, a second process that ends the worker's
	// tree if this one is killed. It is ignored where the system does that itself.
	Sentinel bool
	// Last: no other worker follows.
	Last bool
}

// Options are the settings of a Containment.
type Options struct {
	// Owner is Wake.Owner in what Wait reports about it.
	Owner any
	// Changed is called when Hold has changed, at any time.
	Changed func()
	// SentinelFD and SentinelPID are those of a sentinel that was started before; PID 0:
	// none.
	SentinelFD, SentinelPID int
	// Shared: the workers of this system that have this set share one sentinel.
	Shared bool
}

// Shares is a System whose workers can share one sentinel.
type Shares interface {
	// Poke makes Wait return soon. Any goroutine may call it.
	Poke()
	// Prepare prepares for such workers, with a sentinel if one is wanted, and names the
	// mechanisms that will hold their trees, strongest first.
	Prepare(sentinel bool) []string
	// EndRest ends, without a grace period, what workers that shared a sentinel left and
	// what could be attributed to none of them. It waits for a short time, and reports
	// whether nothing is left.
	EndRest() bool
}

// Containment keeps one worker's process tree together as the system can: by a cgroup, a
// subreaper and a sentinel on Linux, a sentinel on macOS, a job object on Windows. One that
// is a stop.Kernel too opens and lists the processes of its tree itself.
type Containment interface {
	// Start starts a worker: the first, or the next after Forget. It has no child yet
	// that could be missed, and its PID is not reused before Started was called.
	Start(Command) (Handle, error)
	// Started is called when the watchdog has read the worker's identity: the worker may
	// go on.
	Started() error
	// Adopt takes a worker that was running already.
	Adopt(Handle) error
	// AdoptGone reports whether the tree of a worker that was reaped can be searched for.
	AdoptGone(pid int) (Handle, bool)
	// Kill kills a worker that was started but whose identity could not be read.
	Kill()
	// Hold is how the tree is kept together now.
	Hold() stop.Hold
	// Search lists candidates from the whole process table that may belong to the tree
	// although following it does not find them; nil where following it finds all. An
	// error means that some may be missing.
	Search() func(*stop.Tree) ([]int, error)
	// Names are the mechanisms, strongest first: cgroup, subreaper, sentinel, job.
	Names() []string
	// Cgroup is the path of the tree's cgroup; empty if it has none.
	Cgroup() string
	// Holds reports whether a process is certainly in the tree, because it is in a
	// cgroup that only the tree uses: neither this process nor one of others is in it.
	Holds(h stop.Handle, others []stop.Handle) bool
	// LostSentinel reports once that the sentinel was killed.
	LostSentinel() bool
	// HookStarted is called when a hook was started: its orphans may become children of
	// this process.
	HookStarted()
	// Forget releases the worker, whose tree has ended, before the next one is started.
	Forget()
	// Close releases everything; living is how many processes of the tree lived at the
	// last count.
	Close(living int)
}

// Beats says where heartbeats are read, and from which processes.
type Beats struct {
	// Address is a path, @ and a name on Linux, or a pipe on Windows; empty: a new one is
	// made.
	Address string
	// Others: senders may belong to another user.
	Others bool
	// Owner is Wake.Owner in what Wait reports.
	Owner any
	// Worker returns the worker, nil while there is none.
	Worker func() Handle
	// Belongs reports whether a process is in the worker's tree.
	Belongs func(pid int, h stop.Handle) bool
}

// Ears is an open socket or pipe for heartbeats.
type Ears interface {
	// Address is the value for the worker's environment.
	Address() string
	// Drop discards the messages of a worker that has ended.
	Drop()
	Close()
}

// Kind is the kind of a Wake.
type Kind uint8

const (
	// Ended: the process of Handle has ended.
	Ended Kind = iota
	// Unwatched: the end of the process of Handle will not be reported after all.
	Unwatched
	// FDEnded: the end-of-file of a descriptor has come.
	FDEnded
	// Signalled: this process got Signal.
	Signalled
	// Heard: Message came from the worker or its tree.
	Heard
	// Overflowed: messages exceed the rate limit, so some may have been lost.
	Overflowed
	// Deaf: messages cannot be read any more.
	Deaf
	// Changed: the worker's exit status or the end of its sentinel is known now.
	Changed
)

// Wake is one report of Wait.
type Wake struct {
	Kind    Kind
	Owner   any // as given to Watch, WatchFD, Contain or ListenForBeats; nil for Signalled
	Handle  stop.Handle
	Signal  proc.Signal
	Message heartbeat.Message
}
