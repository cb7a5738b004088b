//go:build windows

package windows

import (
	"errors"
	"os"
	"time"

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
	self     *handle
	parents  []*parent
	waits    waits
	happened chan happening
	waited   int // how many but parents are waited for
	// unheard: there is somebody whom we may not wait for, so we look.
	unheard bool

	worker *handle
	child  bool // we started it
	job    *job // nil: the system allowed none
	kin    *kin
	exit   proc.Exit
	exited bool
	told   bool // WorkerExited was returned
	ending bool

	notifier *notifier // nil: nobody listens for heartbeats
	hook     hook

	nextPoll time.Duration
	events   []watch.Event
	start    uint64
}

type parent struct {
	h    *handle
	dead bool
}

// NewHost prepares to wait; nothing is watched yet.
func NewHost(k *Kernel, backend string, interval time.Duration) (*Host, error) {
	self, err := k.open(os.Getpid())
	if err != nil {
		return nil, err
	}
	h := &Host{Kernel: k, backend: backend, interval: interval, self: self, start: unbiased(),
		happened: make(chan happening, 64)}
	h.waits.out = h.happened
	h.tree.Kernel = k
	h.tree.Never = k.ancestors()
	k.notify, k.forget = h.notify, h.forget
	return h, nil
}

// Backend says how ends are noticed: event or poll.
func (h *Host) Backend() string { return h.backend }

// Now stands still while the machine sleeps ("QueryUnbiasedInterruptTime
// function").
func (h *Host) Now() time.Duration { return time.Duration(unbiased()-h.start) * 100 }

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
	// Our own parent's number stays with us when he is gone, and another may
	// have it: but not one who was there when we were created.
	if err != nil || pid == h.self.ppid && younger(hd.start, h.self.start, h.Kernel.latest()) {
		hd.Close()
		return false, nil
	}
	h.parents = append(h.parents, &parent{h: hd})
	h.tree.Employers = append(h.tree.Employers, info)
	h.notify(hd)
	return true, nil
}

// notify has the end of a process wake the host.
func (h *Host) notify(hd *handle) {
	if h.backend != "event" || hd.closed() || hd.entry != nil {
		return
	}
	e, err := h.waits.add(hd)
	if err != nil { // for want of that right, say
		h.unheard = true
		return
	}
	if hd.entry = e; !h.isParent(hd) {
		h.waited++
	}
}

func (h *Host) forget(hd *handle) {
	h.waits.remove(hd.entry)
	if hd.entry = nil; !h.isParent(hd) {
		h.waited--
	}
}

func (h *Host) isParent(hd *handle) bool {
	for _, p := range h.parents {
		if p.h == hd {
			return true
		}
	}
	return false
}

// Wait is watch.Host's.
func (h *Host) Wait(deadline time.Duration, timed bool) ([]watch.Event, error) {
	h.release()
	h.events = h.events[:0]
	if h.exited && !h.told {
		h.tellExit()
		return h.events, nil
	}
	for len(h.events) == 0 {
		h.sleep(h.until(deadline, timed))
		now := h.Now()
		h.listenAgain(now)
		if h.polls() && now >= h.nextPoll {
			h.pollAll(now)
		}
		if timed && now >= deadline {
			break
		}
	}
	return h.events, nil
}

// sleep blocks until something happened or, if timed, until that moment.
func (h *Host) sleep(until time.Duration, timed bool) {
	var alarm <-chan time.Time
	if timed {
		t := time.NewTimer(max(until-h.Now(), 0))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case it := <-h.happened:
		h.handle(it)
	case <-alarm:
	}
	for began := h.Now(); h.Now()-began < slice; {
		select {
		case it := <-h.happened:
			h.handle(it)
		default:
			return
		}
	}
}

func (h *Host) handle(it happening) {
	switch {
	case it.pipe.op != nil:
		h.piped(it.pipe)
	case it.ended != nil:
		if hd := it.ended.h; hd.entry == it.ended {
			h.ended(hd)
		}
	case it.lifeline:
		h.events = append(h.events, watch.ParentDied{By: "lifeline"})
	case it.signal != nil:
		h.signalled(it.signal)
	}
}

// ended is called when the system says that a process has ended.
func (h *Host) ended(hd *handle) {
	hd.entry = nil
	if hd == h.hook.handle {
		h.hookEnded()
		return
	}
	for _, p := range h.parents {
		if p.h == hd {
			h.parentEnded(p, "handle")
			return
		}
	}
	h.waited--
	if hd == h.worker {
		h.workerEnded()
	}
	if h.ending && h.waited == 0 {
		h.events = append(h.events, watch.Quiet{})
	}
}

func (h *Host) parentEnded(p *parent, by string) {
	if !p.dead {
		p.dead = true
		h.events = append(h.events, watch.ParentDied{PID: p.h.pid, By: by})
	}
}

func (h *Host) workerEnded() {
	h.noteExit()
	if h.exited && !h.told {
		h.tellExit()
	}
}

// noteExit asks how the worker ended, if it has.
func (h *Host) noteExit() {
	if !h.exited && h.worker != nil && h.worker.ended() {
		h.exited, h.exit = true, h.worker.exit()
	}
}

func (h *Host) tellExit() {
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

// Ask, AskNew, Force, Count, Survey and Forward are watch.Host's.
func (h *Host) Ask(s proc.Signal) []stop.Sent {
	h.ending = true
	h.Kernel.asked = asked{}
	return meant(h.tree.Ask(s))
}

func (h *Host) AskNew(s proc.Signal) []stop.Sent { return meant(h.tree.AskNew(s)) }

// AskWorker is watch.Host's. It is not called: a console event reaches a whole
// group ("GenerateConsoleCtrlEvent function"), see platform.AsksAlone.
func (h *Host) AskWorker(s proc.Signal, _ bool) []stop.Sent { return h.Ask(s) }

func (h *Host) Force() []stop.Sent {
	h.ending = true
	h.worker.forced = true // by the job object, perhaps
	return meant(h.tree.Force())
}

func (h *Host) Count() stop.Census {
	h.ending = true
	c := h.tree.Count()
	h.noteExit() // afterwards: a count that finds nobody is the last, and he may have ended only just now
	return c
}

func (h *Host) Survey() { h.tree.Survey(false) }

func (h *Host) Forward(s proc.Signal) []stop.Sent {
	h.Kernel.asked = asked{}
	return meant(h.tree.Forward(s))
}

// Suspend is watch.Host's: there is no job control.
func (h *Host) Suspend(proc.Signal) []stop.Sent { return nil }

// Shock is watch.Host's.
func (h *Host) Shock(s proc.Signal) []stop.Sent {
	h.Kernel.asked = asked{}
	return meant(h.tree.Shock(s))
}

// meant leaves out what is not sent here, and calls the means by its name.
func meant(sent []stop.Sent) []stop.Sent {
	out := sent[:0]
	for _, s := range sent {
		if s.Signal == stop.CONT || s.Signal == stop.STOP {
			continue
		}
		if s.Target == "cgroup" {
			s.Target = "job"
		}
		out = append(out, s)
	}
	return out
}

// Survivors says who could not be ended, and why.
func (h *Host) Survivors() []stop.Left { return h.tree.Survivors() }

// Close lets go of everything. A watchdog that works in the worker's tree, and
// what he guards, live on.
func (h *Host) Close() {
	h.closeTree()
	h.forgetHook()
	if h.notifier != nil {
		h.notifier.close()
		h.notifier = nil
	}
}

func (h *Host) closeTree() {
	spare := h.kin != nil && h.leashWithin()
	h.tree.Close()
	if h.kin != nil {
		h.kin.close()
	}
	if h.job != nil {
		h.job.close(spare)
		h.job = nil
	}
}

func (h *Host) leashWithin() bool {
	for _, hd := range h.kin.held {
		if !hd.ended() && h.Kernel.isLeash(hd.exe) {
			return true
		}
	}
	return false
}
