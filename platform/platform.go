// Package platform chooses the host of the system that we are built for.
package platform

import (
	"os"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Host guards one worker: watch.Host but for its Log, and what sets it up.
type Host interface {
	Now() time.Duration
	Wait(deadline time.Duration, timed bool) ([]watch.Event, error)
	Ask(proc.Signal) []stop.Sent
	AskNew(proc.Signal) []stop.Sent
	AskWorker(s proc.Signal, group bool) []stop.Sent
	Force() []stop.Sent
	Count() stop.Census
	Exit() (proc.Exit, bool)
	Survey()
	Forward(proc.Signal) []stop.Sent
	Suspend(proc.Signal) []stop.Sent
	EndHook()
	Shock(proc.Signal) []stop.Sent

	// RunHook starts the command of a hung worker's last words.
	RunHook(Command) error
	// ListenForBeats opens the socket for heartbeats, one of its own making if
	// address is empty, and returns what NOTIFY_SOCKET must say. others: the
	// worker may be of another user.
	ListenForBeats(address string, others bool) (string, error)
	// Backend is how ends are noticed: event or poll.
	Backend() string
	// AddParent watches a process; false if it is dead already.
	AddParent(pid int) (alive bool, err error)
	// AddLifeline watches a descriptor; false if it has ended already.
	AddLifeline(fd int) (alive bool, err error)
	// Listen has signals come in, to be forwarded or not.
	Listen(forward bool) error
	// CheckWorker says why a process must not be guarded, if so.
	CheckWorker(pid int) error
	// Adopt takes a running worker, or a zombie; proc.ErrGone if there is none.
	Adopt(pid int) (proc.Adopted, error)
	// AdoptGone takes one of which only its labels are left; false where that
	// cannot be done.
	AdoptGone(pid int) bool
	// Labels are what the worker says of itself now; empty if it says nothing.
	Labels() (run, worker string)
	// Start starts a worker: the first, or one after the last was ended.
	Start(Command) (proc.Info, error)
	// UseSentinel takes a sentinel that StartSentinel has started.
	UseSentinel(conn, pid int) error
	// Label sets the labels by which the worker's strays are known.
	Label(run, worker string)
	Containment() string
	// Orphaned reports whether the parent that we have most likely is not the
	// one that started us, and its name.
	Orphaned(parent int) (name string, orphaned bool)
	Leads() bool
	// Created is when the process began.
	Created(proc.ID) time.Time
	// Owner is the identity of the first parent, for the worker's environment.
	Owner() string
	// Record is what the ledger is to say of the watch, but for its labels.
	Record() (ledger.Record, error)
	// Refresh brings a record up to date. It reports whether, as it was, it does
	// not cover the tree any more.
	Refresh(*ledger.Record) (stale bool)
	// StateDir opens the directory of the ledger.
	StateDir() (*os.File, error)
	Survivors() []stop.Left
	Close()
}

// Command is a worker to start.
type Command struct {
	Path string
	Args []string // the name first
	Env  []string
	// Keep lists descriptors above 2 that it inherits.
	Keep []int
	// Sentinel: another process of ours is to end the worker's tree if this one is
	// killed. Where the system does that by itself it is passed over.
	Sentinel bool
	// Last: no other worker follows.
	Last bool
}
