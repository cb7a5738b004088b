package watchsim

import (
	"log/slog"
	"time"

	"leash/internal/event"
	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/watch"
)

// Host is the program around one watch.Worker, as cmd/watchdog is, and checks what it does.
type Host struct {
	*watch.Worker
	W *World
	// Child: the watchdog started the worker, and reaps it.
	Child bool
	Grace time.Duration
	Stats *Stats

	scene *Scene
	mode  Mode
	cfg   watch.Config // the machine's
	hold  *containment
	ears  *ears

	root    *Proc   // the worker
	parents []*Proc // at the exit of any of these it is ended
	// leavesAt is when the first worker exits on its own; 0: it does not
	leavesAt time.Duration
	// run and label are the worker's labels. labelled: it has both. byLabels: a process
	// that has both belongs to the tree, whatever its parent.
	run, label         string
	labelled, byLabels bool
	// shared: the watchdog or an ancestor of it is in the worker's group.
	shared       bool
	rootSeenTick uint64

	heart   heart
	records []watch.Record
	left    []*Proc // what Survivors named

	record         ledger.Record
	saved, removed bool

	parentTold bool
	endsTold   bool // a signal that ends was reported
	ends       int  // how many of these
	failed     bool // the last start failed
	// onlyLifeline: the parent is known by a lifeline only.
	onlyLifeline bool
	done         bool // the watch has ended
	pooled       bool // it is one of many
	released     bool // by the pool
	asking       asking
	generation
}

// generation is the state of one worker and its ending.
type generation struct {
	ending     bool
	caused     bool
	causeAt    time.Duration
	graceUntil time.Duration // at least, with extensions
	graceAsked time.Duration // with the extensions that the last Wait returned
	stalled    time.Duration // how long the watchdog itself was kept from running
	asked      bool
	askedAll   bool // the whole tree, not the worker alone
	forced     bool
	noGrace    bool // no grace period, because the sentinel was killed
	countAt    int  // the call at which the last count began
	knownAt    int  // the same of the count before, or of the first stop signal
	forceAt    int  // the same of the last kill
	survivors  int
	firstLog   int // index of its first record

	endingAt, countedAt, countedStalled time.Duration
	quietAt                             int  // the call at which the last watched process had ended
	unnoticed                           bool // some end was not noticed, and that is a failure already
}

var _ watch.Host = (*Host)(nil)

// waits is called when the watchdog is about to wait.
func (h *Host) waits() {
	// Only now the machine has taken all events of the last Wait: an end may have been
	// handled before a message that came with it.
	h.graceUntil = max(h.graceUntil, h.graceAsked)
	if sys := h.W.System; !h.done && h.ends < sys.ends {
		h.W.fail("a signal that ends did not reach every worker", nil)
		h.ends = sys.ends
	}
	if !h.done && !h.heart.resting {
		h.judgeCounted()
		h.judgeNoticed()
	}
}

// judgeCounted checks that the tree is counted as soon as all watched processes have ended
// and, where ends are not reported, at intervals.
func (h *Host) judgeCounted() {
	w, sys := h.W, h.W.System
	switch since := max(h.countedAt, h.endingAt); {
	case !h.ending:
	case h.quietAt > h.countAt:
		w.fail("all watched processes have ended, and the tree was not counted", nil)
		h.quietAt = 0
	case sys.Poll && w.now-since-(h.stalled-h.countedStalled) > 200*time.Millisecond:
		w.fail("ends are not reported, and the tree is not counted", nil)
		h.countedAt = w.now
	}
}

// judgeNoticed checks that the ends of the worker and the hook are noticed: at the next poll
// where they are not reported, and seconds later where reports may be late.
func (h *Host) judgeNoticed() {
	w, o := h.W, &h.heart
	unnoticed := 2*time.Second + 3*moment
	switch sys := w.System; {
	case sys.Lossy:
	case sys.Poll || sys.Blind:
		unnoticed = pollEvery + 2*moment
	default:
		unnoticed = moment
	}
	switch {
	case h.caused || h.unnoticed, w.LookFails > 0 && (w.System.Poll || w.System.Blind):
	case o.timedOut && (o.hook == nil || o.hookDone):
	case o.timedOut && o.hook.phase != alive && w.now-o.hook.endedAt-h.stalled > unnoticed:
		w.fail("the hook has ended, and that was not noticed", o.hook)
		h.unnoticed = true
	case !o.timedOut && h.root != nil && h.root.phase != alive && w.now-h.root.endedAt-h.stalled > unnoticed:
		w.fail("the worker has ended, and that was not noticed", h.root)
		h.unnoticed = true
	}
}

// happens is called with each event before the machine takes it.
func (h *Host) happens(e watch.Event) {
	h.W.Trace.happened(h.W.now, e)
	switch e := e.(type) {
	case watch.ParentDied:
		h.parentTold = true
		h.judgeParents()
		h.cause(watch.ParentEnded)
	case watch.WorkerExited:
		if h.heart.resting { // a worker that could not be read
			break
		}
		h.judgeExit(e.Exit)
		h.cause(watch.WorkerEnded)
	case watch.SentinelDied:
		if h.heart.resting {
			break
		}
		h.cause(watch.NoSentinel)
		h.noGrace = true
	case watch.Signalled:
		if e.Role == watch.Ends {
			h.endsTold = true
			h.ends++
			h.cause(watch.WasAsked)
		}
		if e.Signal == contSignal {
			h.judgeContinued()
		}
	case watch.Asked:
		if e.Grace != nil && !h.ending && !h.caused {
			h.Grace = *e.Grace
		}
		h.endsTold = true
		h.cause(watch.WasAsked)
	case watch.HookEnded:
		h.judgeHookEnded()
		h.hearts(e)
	default:
		h.hearts(e)
	}
}

// judgeHookEnded checks that the rest of the hook's group was killed when it ended.
func (h *Host) judgeHookEnded() {
	hook := h.heart.hook
	for _, p := range h.W.live {
		if p.group == hook && p.joined <= hook.ended && p.phase == alive && !p.pendKill {
			h.W.fail("the hook has ended, but not all of its group", p)
		}
	}
}

// cause notes the first cause to end the worker; between two workers every cause ends the
// watchdog.
func (h *Host) cause(outcome string) {
	if h.heart.resting && outcome != watch.WorkerEnded {
		h.causeAt = h.W.now
	}
	if !h.caused {
		h.caused, h.causeAt = true, h.W.now
		h.graceUntil = h.causeAt + h.Grace
		if h.heart.outcome == "" {
			h.heart.outcome = outcome
		}
	}
}

// judgeParents checks that a parent's exit is reported only if one has exited.
func (h *Host) judgeParents() {
	for _, p := range h.parents {
		if p.phase != alive {
			return
		}
	}
	h.W.fail("a parent's exit is reported, but all live", nil)
}

// judgeContinued checks that SIGCONT is not passed on if a parent has exited.
func (h *Host) judgeContinued() {
	for _, p := range h.parents {
		if p.phase != alive && p.ended < h.W.System.continuedAt && !h.onlyLifeline && h.W.LookFails == 0 {
			h.W.fail("SIGCONT is passed on, but a parent has exited", p)
		}
	}
}

// judgeExit checks that the worker's end is reported only after it, with the right status,
// and not before the end of the sentinel that caused it.
func (h *Host) judgeExit(exit proc.Exit) {
	p := h.root
	switch {
	case p.phase == alive:
		h.W.fail("the worker's end is reported, but it lives", p)
	case exit.Known && exit != p.Exit:
		h.W.fail("the worker's end is reported with a wrong status", p)
	case h.Child && !exit.Known:
		h.W.fail("the end of a child is reported without its status", p)
	case p.bySentinel && !h.noGrace:
		h.W.fail("the worker's end is reported, but not the sentinel's before, which caused it", p)
	}
}

func (h *Host) begin(what, extra string) {
	h.W.opAt, h.W.acting = h.W.calls+1, h
	h.W.Trace.said(h.W.now, what, extra, nil)
}

// born makes the worker as a child of a process.
func (h *Host) born(from *Proc) *Proc {
	w := h.W
	p := w.Fork(from)
	if p == nil {
		return nil
	}
	p.Name, p.UID, p.Run, p.Label, p.Tree, p.is = "worker", ownUID, h.run, h.label, h, h
	p.ofHook, p.below = false, false
	h.root = p
	switch h.mode {
	case GuardGroup:
		w.Setpgid(p, p)
	case GuardShared:
	case GuardInside:
		w.Setpgid(p, p)
		h.shared = true
		if above := w.Self.parent; above == h.parents[0] && w.Chance(50) {
			w.Setpgid(above, p)
		} else {
			w.Setpgid(w.Self, p)
		}
	default:
		w.Setsid(p)
		if parent := h.parents[0]; !h.Child && !h.pooled && len(w.Hosts) == 1 && parent.never && w.Chance(30) { // the watchdog and its parent come of the worker's session
			w.move(w.Self, w.Self.group, p)
			w.move(parent, parent.group, p)
		} else if !h.Child && !h.pooled && len(w.Hosts) == 1 && !parent.never && w.Chance(20) { // or its parent alone
			w.move(parent, parent.group, p)
		}
	}
	for _, q := range w.live { // older processes with its labels
		if w.claim(q); q.Tree == nil && q.parent != nil && !q.never && !q.parentOf {
			q.Tree = q.parent.Tree
		}
	}
	h.rootSeenTick = 0
	return p
}

// adopt begins a guard, start begins a run.
func (h *Host) adopt() bool {
	a, err := h.Worker.Adopt(h.root.PID)
	if err != nil || a.Info.Dead() {
		return false
	}
	if h.root.PID != a.Info.PID || h.root.phase == reaped {
		return false
	}
	if h.labelled {
		h.Label(h.run, h.label)
	}
	return true
}

func (h *Host) start() error {
	c := system.Command{Path: "/bin/worker", Sentinel: h.mode.sentinel(), Last: h.cfg.Restart == watch.RestartNever}
	if h.heart.gens > 0 && h.W.Chance(15) {
		c.Path = ""
	}
	if _, err := h.Worker.Start(c); err != nil {
		return err
	}
	if h.labelled {
		h.Label(h.run, h.label)
	}
	return nil
}

// enter makes the ledger record.
func (h *Host) enter() {
	var err error
	seen := h.rootSeenTick
	h.record, err = h.Worker.Record()
	h.rootSeenTick = seen
	h.saved, h.removed = err == nil, false
	if id := h.record.Worker; id.PID != h.root.PID || id.Start != h.root.start {
		h.W.fail("the record is of another process", h.root)
	}
	if h.record.Watchdog.PID != h.W.Self.PID {
		h.W.fail("the record names another watchdog", h.W.Self)
	}
}

// SignalAll and the following methods implement watch.Host.
func (h *Host) SignalAll(s proc.Signal) []stop.Sent {
	h.begin("► ask", s.Name)
	h.begun()
	h.asked, h.askedAll, h.knownAt = true, true, h.W.opAt
	h.asking = theTree
	defer h.askedThem()
	return h.Worker.SignalAll(s)
}

func (h *Host) SignalNew(s proc.Signal) []stop.Sent {
	// It acts on what the previous count found.
	h.W.Trace.said(h.W.now, "► ask new", s.Name, nil)
	h.W.acting = h
	h.asking = theTree
	defer h.askedThem()
	return h.Worker.SignalNew(s)
}

func (h *Host) SignalWorker(s proc.Signal, group bool) []stop.Sent {
	h.begin("► ask the worker", s.Name)
	h.begun()
	h.asked, h.knownAt = true, h.W.opAt
	if !h.cfg.WorkerFirst {
		h.W.fail("the worker was signalled first, but should not be", nil)
	}
	h.asking = theWorker
	if group {
		h.asking = itsGroup
	}
	defer h.askedThem()
	return h.Worker.SignalWorker(s, group)
}

func (h *Host) askedThem() { h.asking = nothing }

func (h *Host) Kill() []stop.Sent {
	h.begin("► force", "")
	h.forceAt = h.W.opAt
	h.begun()
	if !h.forced {
		h.judgeForce()
	}
	h.forced = true
	return h.Worker.Kill()
}

func (h *Host) Count() stop.Census {
	h.begin("► count", "")
	h.begun()
	h.knownAt, h.countAt = max(h.knownAt, h.countAt), h.W.opAt
	c := h.Worker.Count()
	h.countedAt, h.countedStalled = h.W.now, h.stalled
	if c.Proven {
		h.W.Trace.said(h.W.now, "proven: none", "", nil)
	} else {
		h.W.Trace.add(h.W.now, "counted", nil, nil, c.Living)
	}
	return c
}

func (h *Host) Scan() {
	h.begin("► survey", "")
	lists := h.W.lists
	if h.Worker.Scan(); h.root.phase == alive && h.W.lists == lists {
		h.W.fail("the worker lives, and its children were not listed", h.root)
	}
}

func (h *Host) Forward(s proc.Signal) []stop.Sent {
	h.begin("► forward", s.Name)
	return h.Worker.Forward(s)
}

func (h *Host) Suspend(s proc.Signal) []stop.Sent {
	h.begin("► suspend", s.Name)
	return h.Worker.Suspend(s)
}

// ReadLabels and the following methods implement watch.Host.
func (h *Host) ReadLabels(bool) {
	h.begin("► read labels", "")
	if run, label := h.Worker.Labels(); run != "" && run != h.run || label != "" && label != h.label {
		h.W.fail("the labels "+run+" "+label+" are another's", h.root)
	}
}

func (h *Host) UpdateRecord() {
	h.begin("► update the record", "")
	fresh := h.record
	if h.refresh(&fresh) {
		h.record = fresh
		h.saved = true
		return
	}
	for _, p := range h.W.live {
		if p.Tree == h && p != h.root && p.phase == alive && p.open > 0 && !p.Leash && p.start >= h.record.Seen && h.W.LookFails == 0 && p.held < h.W.opAt {
			h.W.fail("it is younger than the record, and the record was not written again", p)
		}
	}
}

func (h *Host) MarkRecord() {
	h.record.Ending = true
	h.refresh(&h.record)
	h.saved = false
}

// refresh calls Refresh, and keeps what the checks know of the worker.
func (h *Host) refresh(r *ledger.Record) bool {
	seen := h.rootSeenTick
	defer func() { h.rootSeenTick = seen }()
	return h.Refresh(r)
}

func (h *Host) SaveRecord() { h.saved = true }

func (h *Host) RemoveRecord() { h.removed = true }

// Log implements watch.Host.
func (h *Host) Log(r watch.Record) {
	h.records = append(h.records, r)
	h.W.Trace.logged(h.W.now, &h.records[len(h.records)-1])
	h.logged(r)
	switch r.Event {
	case event.ProcessTerminated:
		if h.root.phase == alive {
			h.W.fail("the worker was reported as ended while it lives", h.root)
		}
	case event.CleanupCompleted:
		for _, a := range r.Attrs {
			switch a.Key {
			case event.Survivors:
				h.survivors = int(a.Value.Int64())
			case event.Verified:
				h.judgeVerified(a.Value.Bool())
			}
		}
		h.judgeRecord()
		if r.Level == slog.LevelError {
			for _, l := range h.Survivors() {
				h.left = append(h.left, h.W.holder(l.PID))
			}
		}
	}
}

// judgeRecord checks that there is a record of the survivors, and that it notes the ending.
func (h *Host) judgeRecord() {
	switch {
	case h.removed != (h.survivors == 0):
		h.W.fail("the record was removed although a process survived, or kept although none did", nil)
	case !h.removed && !(h.saved && h.record.Ending):
		h.W.fail("the record of the survivors does not say that the ending had begun", nil)
	}
}
