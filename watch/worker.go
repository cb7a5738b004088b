package watch

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
)

// Worker is one worker and its process tree on a system: its parents, its handle, its
// heartbeats, its hang command. It performs the machine's actions, and turns what
// System.Wait returns into the machine's events.
type Worker struct {
	Sys system.System
	// Interval is how often processes are polled where the system has no events for them.
	Interval time.Duration

	tree    stop.Tree
	hold    system.Containment
	parents []*parent
	// blind: there will be no event at the end of some process, so all are polled.
	blind bool
	// member: the system serves other workers too.
	member bool

	worker system.Handle
	child  bool // this process started it
	exit   proc.Exit
	exited bool
	told   bool // WorkerExited was returned
	ending bool
	living int // at the last count
	closed bool

	lifeline int           // -1: none, or its end-of-file was reported
	cut      bool          // its end-of-file was reported
	nextPoll time.Duration // 0: not set
	polled   time.Duration
	// events were not taken yet; spare has the memory of those taken last.
	events, spare []Event
	ears          system.Ears // nil: no heartbeats are read
	hook          *hook
	tallied
}

// endingPoll is the interval of polls while a tree is being ended.
const endingPoll = 20 * time.Millisecond

// NewWorker prepares to watch; nothing is watched yet. sentinelPID, if not 0, is a
// sentinel that was started before, sentinelFD the descriptor connected to it.
func NewWorker(sys system.System, interval time.Duration, sentinelFD, sentinelPID int) *Worker {
	w := &Worker{Sys: sys, Interval: interval, lifeline: -1}
	w.tree.Protected = sys.Ancestors()
	w.prepare(system.Options{SentinelFD: sentinelFD, SentinelPID: sentinelPID})
	return w
}

// NewMember prepares to watch one of several workers of a system. shared: it has one sentinel
// with the others. above are this process and its ancestors.
func NewMember(sys system.System, interval time.Duration, shared bool, above []proc.Info) *Worker {
	w := &Worker{Sys: sys, Interval: interval, lifeline: -1, member: true}
	w.tree.Protected = above
	w.prepare(system.Options{SentinelFD: -1, Shared: shared})
	return w
}

func (w *Worker) prepare(o system.Options) {
	o.Owner, o.Changed = w, w.contain
	w.tree.Kernel, w.hold = w.Sys, w.Sys.Contain(o)
	if k, ok := w.hold.(stop.Kernel); ok {
		w.tree.Kernel = k
	}
}

// Processes is how many processes of the tree were found alive.
func (w *Worker) Processes() int {
	w.tree.Scan(false)
	return w.tree.Living()
}

// Backend is how ends of processes are noticed: event or poll.
func (w *Worker) Backend() string { return w.Sys.Backend() }

// Listen makes signals to the watchdog events. With forward they are meant for the worker
// too.
func (w *Worker) Listen(forward bool) error { return w.Sys.Listen(forward) }

// watch asks for an event at the end of a process of the tree.
func (w *Worker) watch(h stop.Handle) {
	if w.Sys.Watch(h, w) != nil {
		w.blind = true
	}
}

// contain takes over how the system keeps the tree together now.
func (w *Worker) contain() {
	if w.worker == nil {
		return
	}
	w.tree.Hold = w.hold.Hold()
	w.tree.Watch = w.watch
	w.tree.Search = nil
	if search := w.hold.Search(); search != nil {
		w.tree.Search = func() ([]int, error) { return search(&w.tree) }
	}
}

// Adopt takes a running worker, or a zombie, which still holds the IDs of its group and
// session. It returns proc.ErrGone if there is no such process.
func (w *Worker) Adopt(pid int) (proc.Adopted, error) {
	var a proc.Adopted
	h, err := w.Sys.OpenWorker(pid)
	if err != nil {
		return a, err
	}
	w.worker, w.tree.Root = h, h
	if a.Info, err = w.tree.Adopt(); err != nil {
		return a, err
	}
	if w.exited = a.Info.Dead(); w.exited {
		w.exit, _ = h.Exit() // macOS has the exit status of a zombie
	} else {
		a.RunID, a.WorkerID = w.Labels()
	}
	if err := w.hold.Adopt(h); err != nil {
		return a, err
	}
	w.watch(h)
	w.contain()
	w.tree.Scan(false)
	return a, nil
}

// AdoptGone takes a worker that was reaped, so that only its labels are left, and reports
// whether its tree can be searched for.
func (w *Worker) AdoptGone(pid int) bool {
	h, ok := w.hold.AdoptGone(pid)
	if !ok {
		return false
	}
	w.worker, w.exited = h, true
	w.tree.AdoptGone(h, pid, uint32(os.Geteuid()))
	w.contain()
	return true
}

// Labels returns the run ID and the worker ID in the worker's arguments and environment;
// empty if they are absent or unreadable.
func (w *Worker) Labels() (run, worker string) { return w.worker.Names() }

// Label sets the labels by which processes of the worker's tree are found.
func (w *Worker) Label(run, worker string) { w.tree.RunID, w.tree.WorkerID = run, worker }

// Containment names the mechanisms that keep the tree together, strongest first.
func (w *Worker) Containment() string {
	parts := w.hold.Names()
	if w.tree.Leads() {
		parts = append(parts, "group")
	} else {
		parts = append(parts, "process")
	}
	parts = append(parts, "descendants")
	if w.tree.RunID != "" && w.tree.WorkerID != "" && w.tree.Search != nil {
		parts = append(parts, "environment")
	}
	return strings.Join(parts, ",")
}

// Leads reports whether the worker leads its process group.
func (w *Worker) Leads() bool { return w.tree.Leads() }

// Start starts the first worker, or the next one after the tree of the last has ended.
func (w *Worker) Start(c system.Command) (proc.Info, error) {
	if w.worker != nil {
		w.forget()
	}
	h, err := w.hold.Start(c)
	if err != nil {
		return proc.Info{}, err
	}
	w.worker, w.tree.Root = h, h
	w.child, w.exited, w.told, w.exit = true, false, false, proc.Exit{}
	w.contain()
	info, err := w.tree.Adopt()
	if err == nil {
		w.watch(h) // the sentinel reports the end too, but may be stopped
	}
	if e := w.hold.Started(); err == nil {
		err = e
	}
	if err != nil { // otherwise it would live on beside the next worker
		w.hold.Kill()
	}
	return info, err
}

// forget releases the previous worker.
func (w *Worker) forget() {
	w.tree.Close()
	w.worker.Close()
	w.hold.Forget()
	w.worker = nil
	w.tree = stop.Tree{Kernel: w.tree.Kernel, Protected: w.tree.Protected, Parents: w.tree.Parents,
		RunID: w.tree.RunID, WorkerID: w.tree.WorkerID}
	w.beat = time.Time{}
	w.exited, w.told, w.ending = true, true, false // until the next worker is started
	if w.ears != nil {
		w.ears.Drop()
		w.events = w.events[:0]
	}
}

// noteExit reads the worker's exit status, if it has ended.
func (w *Worker) noteExit() {
	if w.worker == nil || w.exited {
		return
	}
	if exit, ended := w.worker.Exit(); ended {
		w.exited, w.exit = true, exit
	}
}

// tellExit adds the event of the worker's end, once, after that of the sentinel's end,
// which may have caused it.
func (w *Worker) tellExit() {
	w.tellLostSentinel()
	if w.exited && !w.told {
		w.told = true
		w.events = append(w.events, WorkerExited{Exit: w.exit})
	}
}

func (w *Worker) tellLostSentinel() {
	if w.hold.LostSentinel() {
		w.events = append(w.events, SentinelDied{})
	}
}

// Exit is the worker's exit status, and whether it has ended.
func (w *Worker) Exit() (proc.Exit, bool) {
	if w.exited {
		w.told = true
	}
	return w.exit, w.exited
}

// SignalAll implements Host, as do SignalNew, SignalWorker, Kill, Count, Scan, Forward and
// SignalHung.
func (w *Worker) SignalAll(s proc.Signal) []stop.Sent {
	w.ending = true
	return w.tree.SignalAll(s)
}

func (w *Worker) SignalNew(s proc.Signal) []stop.Sent { return w.tree.SignalNew(s) }

func (w *Worker) SignalWorker(s proc.Signal, group bool) []stop.Sent {
	w.ending = true
	return w.tree.SignalWorker(s, group)
}

func (w *Worker) Kill() []stop.Sent {
	w.ending = true
	return w.tree.Kill()
}

func (w *Worker) Count() stop.Census {
	w.ending = true
	w.noteExit()
	c := w.tree.Count()
	w.noteExit() // the worker may have ended during the count, and an empty count is the last
	w.living = c.Living
	return c
}

func (w *Worker) Scan() { w.tree.Scan(false) }

func (w *Worker) Forward(s proc.Signal) []stop.Sent { return w.tree.Forward(s) }

func (w *Worker) SignalHung(s proc.Signal) []stop.Sent { return w.tree.SignalHung(s) }

// Survivors lists the processes that could not be ended, and why.
func (w *Worker) Survivors() []stop.Left { return w.tree.Survivors() }

// Close releases the worker, its tree and its parents, and closes the system.
func (w *Worker) Close() {
	w.closed = true
	w.dropHook()
	if w.ears != nil {
		w.ears.Close()
		w.ears = nil
	}
	living := w.living
	if w.worker != nil && !w.exited {
		living = max(living, 1)
	}
	w.tree.Close()
	w.hold.Close(living)
	if w.worker != nil {
		w.worker.Close()
	}
	for _, p := range w.parents {
		if !p.lent {
			p.h.Close()
		}
	}
	if !w.member {
		w.Sys.Close()
	}
}

// CheckWorker returns an error if a process must not be guarded, because it must never be
// signalled: PID 1, the watchdog and its ancestors.
func (w *Worker) CheckWorker(pid int) error {
	if pid == 1 {
		return errors.New("PID 1 is never signalled")
	}
	for i, a := range w.tree.Protected {
		switch {
		case a.PID != pid:
		case i == 0:
			return fmt.Errorf("%d is the watchdog itself", pid)
		default:
			return fmt.Errorf("%d is an ancestor of the watchdog, and those are never signalled: let its parent start the watchdog", pid)
		}
	}
	return nil
}
