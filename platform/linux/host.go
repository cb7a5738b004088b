//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/watch"
)

// Host guards one worker. It implements watch.Host but for Log.
type Host struct {
	Kernel *Kernel

	backend  string        // event or poll
	interval time.Duration // of the poll backend
	tree     stop.Tree
	parents  []*parent
	loop     *loop
	waited   map[int]*handle // by token: whose end is waited for

	lifeline      int
	lifelineToken int

	worker  *handle
	child   bool // we started it
	sole    bool // all our children are of its tree
	childID int
	// sentinel is our connection to it; nil if there is none. lostSentinel: it was
	// killed, and the machine is to be told.
	sentinel     *sentinelConn
	lostSentinel bool
	heir         bool // of processes that were not, or are no more, below a sentinel
	left         int  // that lived at the last count
	cgroup       *cgroup
	exit         proc.Exit
	exited       bool
	told         bool // WorkerExited was returned
	ending       bool

	nextPoll  time.Duration
	events    []watch.Event
	bellToken int
	terminal  bool      // our session's; it stops nobody who writes in the background
	notifier  *notifier // nil: nobody listens for heartbeats
	hook      hook
	onToken   func(int)
	start     time.Time
}

type parent struct {
	h    *handle
	id   proc.ID
	dead bool
}

// NewHost prepares to wait; nothing is watched yet.
func NewHost(k *Kernel, backend string, interval time.Duration) (*Host, error) {
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	if l.set != nil && backend == "event" {
		return nil, ErrEpoll
	}
	h := &Host{Kernel: k, backend: backend, interval: interval, loop: l, lifeline: -1,
		waited: make(map[int]*handle), start: time.Now()}
	k.loop = l
	h.onToken = h.token
	h.tree.Kernel = k
	h.tree.Never = k.ancestors()
	k.notify = h.notify
	k.forget = h.forget
	return h, nil
}

// Backend says how ends are noticed: event or poll.
func (h *Host) Backend() string { return h.backend }

// Now stands still while the machine sleeps (CLOCK_MONOTONIC).
func (h *Host) Now() time.Duration { return time.Since(h.start) }

// AddParent watches a process whose death ends the worker. It reports false if
// that process is dead already.
func (h *Host) AddParent(pid int) (alive bool, err error) {
	hd, err := h.Kernel.open(pid)
	if errors.Is(err, proc.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := hd.Look()
	if errors.Is(err, proc.ErrGone) || err == nil && info.Dead() {
		hd.Close()
		return false, nil
	}
	p := &parent{h: hd, id: info.ID}
	p.id.PID = pid
	h.parents = append(h.parents, p)
	if err == nil {
		h.tree.Employers = append(h.tree.Employers, info)
	}
	if h.backend == "event" {
		h.notify(hd)
	}
	return true, nil
}

// notify has the end of a process wake the loop.
func (h *Host) notify(hd *handle) {
	if h.backend != "event" || hd.dir || hd.token != 0 || hd.fd < 0 {
		return
	}
	token := h.loop.token()
	if h.loop.add(hd.fd, token) == nil {
		hd.token = token
		h.waited[token] = hd
	}
}

func (h *Host) forget(hd *handle) {
	delete(h.waited, hd.token)
	h.loop.remove(hd.fd)
	hd.token = 0
}

// AddLifeline watches a descriptor whose end-of-file is the parent's death. It
// is not read: the kernel tells when the last writer has gone, and the worker
// may be reading from the same descriptor.
func (h *Host) AddLifeline(fd int) (alive bool, err error) {
	token := h.loop.token()
	err = h.loop.addEvents(fd, token, unix.EPOLLRDHUP)
	if errors.Is(err, unix.EPERM) { // a file or device that is always ready
		return h.drain(fd)
	}
	if err != nil {
		return false, err
	}
	h.lifeline, h.lifelineToken = fd, token
	return true, nil
}

const drainBound = 1 << 20

// drain reads to the end of a file that is always ready, /dev/null say.
func (h *Host) drain(fd int) (alive bool, err error) {
	var b [4096]byte
	for range drainBound / len(b) {
		if n, err := unix.Read(fd, b[:]); n <= 0 && err != unix.EINTR {
			return false, nil
		}
	}
	return false, errors.New("it never ends and cannot be waited on: give it a pipe or a socket")
}

// Wait is watch.Host's.
func (h *Host) Wait(deadline time.Duration, timed bool) ([]watch.Event, error) {
	h.events = h.events[:0]
	if h.notifier != nil {
		h.release() // all that was told has been handled
	}
	h.tellLostSentinel()
	if h.exited && !h.told {
		h.tellExit()
	}
	if len(h.events) > 0 {
		return h.events, nil
	}
	for h.listenAgain(h.Now()); len(h.events) == 0; {
		until, wakes := h.until(deadline, timed)
		if err := h.loop.wait(until-h.Now(), wakes, h.onToken); err != nil {
			return nil, fmt.Errorf("cannot wait any longer: %w", err)
		}
		h.tellLostSentinel()
		now := h.Now()
		if h.backend != "event" && now >= h.nextPoll {
			h.pollAll(now)
		}
		h.listenAgain(now)
		if timed && now >= deadline {
			if h.backend != "event" && h.notifier != nil && len(h.events) == 0 {
				h.pollAll(now) // the dead are not judged for their silence
			}
			break
		}
	}
	return h.events, nil
}

func (h *Host) token(token int) {
	switch {
	case token == h.bellToken:
		h.readCaught()
	case h.notifier != nil && token == h.notifier.token:
		h.readBeats()
	case h.sentinel != nil && token == h.sentinel.token:
		h.sentinelSpoke()
	case token == h.lifelineToken:
		h.loop.remove(h.lifeline)
		h.lifelineToken = 0
		h.events = append(h.events, watch.ParentDied{By: "lifeline"})
	default:
		if hd := h.waited[token]; hd != nil {
			h.ended(hd)
		}
	}
}

// ended is called when the kernel says that a process has ended.
func (h *Host) ended(hd *handle) {
	h.forget(hd)
	for _, p := range h.parents {
		if p.h == hd && !p.dead {
			p.dead = true
			h.events = append(h.events, watch.ParentDied{PID: p.id.PID, By: "pidfd"})
			return
		}
	}
	if hd == h.worker {
		h.workerEnded()
	}
	if h.ending && !h.waiting() {
		h.events = append(h.events, watch.Quiet{})
	}
}

// waiting reports whether anyone but the parents is still waited for.
func (h *Host) waiting() bool {
	n := len(h.waited)
	for _, p := range h.parents {
		if p.h.token != 0 {
			n--
		}
	}
	return n > 0
}

// childrenEnded reaps whoever it was.
func (h *Host) childrenEnded() {
	h.reapOwn()
	if h.exited && !h.told {
		h.tellExit()
	}
}

func (h *Host) workerEnded() {
	if h.child {
		h.reap()
	} else if !h.exited {
		h.exited, h.exit = true, h.worker.exitInfo()
	}
	if h.exited && !h.told {
		h.tellExit()
	}
}

func (h *Host) tellExit() {
	h.tellLostSentinel()
	h.told = true
	h.events = append(h.events, watch.WorkerExited{Exit: h.exit})
}

// Exit is watch.Host's.
func (h *Host) Exit() (proc.Exit, bool) {
	if h.exited {
		h.told = true
	}
	return h.exit, h.exited
}

// Ask, AskNew, AskWorker, Force, Count, Survey and Forward are watch.Host's.
func (h *Host) Ask(s proc.Signal) []stop.Sent {
	h.ending = true
	return h.tree.Ask(s)
}

func (h *Host) AskNew(s proc.Signal) []stop.Sent { return h.tree.AskNew(s) }

func (h *Host) AskWorker(s proc.Signal, group bool) []stop.Sent {
	h.ending = true
	return h.tree.AskWorker(s, group)
}

func (h *Host) Force() []stop.Sent {
	h.ending = true
	return h.tree.Force()
}

func (h *Host) Count() stop.Census {
	h.ending = true
	if h.child {
		h.reap()
	}
	c := h.tree.Count()
	h.left = c.Living
	return c
}

func (h *Host) Survey() { h.tree.Survey(false) }

func (h *Host) Forward(s proc.Signal) []stop.Sent { return h.tree.Forward(s) }

// Survivors says who could not be ended, and why.
func (h *Host) Survivors() []stop.Left { return h.tree.Survivors() }

// Close lets go of everything, removing the cgroup if it is empty.
func (h *Host) Close() {
	h.dismissSentinel()
	if h.notifier != nil {
		h.notifier.close()
	}
	if h.cgroup != nil {
		h.cgroup.remove()
	}
	h.tree.Close()
}

// ancestors are ourselves and those above us, who are never signalled.
func (k *Kernel) ancestors() []proc.Info {
	var all []proc.Info
	for pid := os.Getpid(); pid > 0; {
		info, err := k.lookAt(pid)
		if err != nil {
			break
		}
		all = append(all, info)
		pid = info.PPID
	}
	return all
}

func (k *Kernel) lookAt(pid int) (proc.Info, error) {
	b, err := k.readFile(unix.AT_FDCWD, pathIn(pid, "stat"))
	if err != nil {
		return proc.Info{}, err
	}
	return ParseStat(b)
}
