package reap

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"leash/internal/ledger"
	"leash/internal/owner"
	"leash/internal/proc"
	"leash/platform/platformtest"
	"leash/scan"
)

const (
	simBoot  = "b007"
	simSpace = 7
	numbers  = 34 // PIDs there are: they come round soon
	tick     = 10 * time.Millisecond
)

var errFull = errors.New("too many open files")

// world is a machine in which anything may happen between any two calls.
type world struct {
	*rand.Rand
	platformtest.NoLedger
	now     time.Duration
	busy    int // percent of calls between which something happens
	budget  int // how much may happen yet
	inodes  bool
	mostFDs int
	openFDs int

	byPID   [numbers + 1]*body
	refs    [numbers + 1]int // how many use a number: as PID, group or session
	all     []*body
	shell   *body // a bystander that starts others
	runs    []*run
	timers  []alarm
	ledger  []ledger.Record
	request scan.Request
	wait    []*simHandle

	fails          []string
	trace          []string
	tracing        bool
	takes, signals int
	scanAt, lastAt time.Duration // when the last scan and the one before began
	grace, graceAt time.Duration
	firstForce     time.Duration
	reaped, polite int
	workers        int // worker IDs that were given out
	unguarded      int // ends of processes of unguarded workers
}

// run is the truth of a run.
type run struct {
	id    string
	owner *body
	toEnd bool
}

// body is one process, for ever.
type body struct {
	pid        int
	start      uint64
	inode      uint64
	parent     *body
	group, sid int
	uid        uint32
	env, args  string
	worker     string        // LEASH_WORKER_ID
	root       *body         // the worker that it comes from
	was        *body         // and the one that it came from before it went over to another run
	loose      time.Duration // of a worker: since when no watchdog guards it
	owner      string
	leash      bool
	dog        *body // the watchdog that is ending it
	temper     temper
	state      life
	stopped    bool
	leaderGone bool
	denied     bool // refuses our signals
	never      bool
	recorded   bool
	moved      bool // it, or an ancestor, went over to another run

	mine             *run // its run now
	ever             bool // it was of a run that is to be ended some time
	term, pending    bool
	born, told       time.Duration // told: its labels or parent changed last
	asked, held      time.Duration
	left             time.Duration // went over to a run that lives
	ended            time.Duration
	killed, stopping bool
	forced           bool
	open             int
}

type life int

const (
	running life = iota
	zombie
	gone
)

type temper int

const (
	dies temper = iota
	late
	ignores
	forks // and ignores
	sleeps
)

type alarm struct {
	at time.Duration
	do func()
}

// Chance is true in so many of a hundred cases.
func (w *world) Chance(percent int) bool { return w.IntN(100) < percent }

// Between is a time from low to high.
func (w *world) Between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.Int64N(int64(high-low)+1))
}

func (w *world) tickNow() uint64 { return uint64((time.Minute + w.now) / tick) }

func (w *world) say(format string, a ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf("%12v ", w.now)+fmt.Sprintf(format, a...))
	}
}

func (w *world) fail(format string, a ...any) {
	w.fails = append(w.fails, fmt.Sprintf(format, a...))
	w.say("FAILURE: "+format, a...)
}

func (b *body) String() string {
	return fmt.Sprintf("%d@%d(parent %d group %d session %d env %q args %q state %d ever %t)", b.pid, b.start, b.ppid(), b.group, b.sid, b.env, b.args, b.state, b.ever)
}

func (b *body) ppid() int {
	if b.parent == nil {
		return 0
	}
	return b.parent.pid
}

// step is what happens between two calls.
func (w *world) step() {
	w.now += time.Duration(3+w.IntN(20)) * time.Microsecond
	if w.Chance(1) {
		w.now += w.Between(0, 12*time.Millisecond)
	}
	w.due()
	for w.budget > 0 && w.Chance(w.busy) {
		w.budget--
		w.act()
	}
}

func (w *world) due() {
	for {
		n := -1
		for i := range w.timers {
			if w.timers[i].at <= w.now && (n < 0 || w.timers[i].at < w.timers[n].at) {
				n = i
			}
		}
		if n < 0 {
			return
		}
		do := w.timers[n].do
		w.timers = slices.Delete(w.timers, n, n+1)
		do()
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.timers = append(w.timers, alarm{w.now + d, do})
}

// free is a number that is not in use, most often one that was in use just before.
func (w *world) free() int {
	from := 2 + w.IntN(numbers-1)
	if w.Chance(60) {
		from = 2
	}
	for n := range numbers - 1 {
		if pid := 2 + (from-2+n)%(numbers-1); w.refs[pid] == 0 {
			return pid
		}
	}
	return 0
}

func (w *world) use(b *body, group, sid int) {
	w.refs[group]++
	w.refs[sid]++
	if b.group != 0 {
		w.refs[b.group]--
		w.refs[b.sid]--
	}
	b.group, b.sid = group, sid
}

// fork makes a child that is like its parent; nil if there is no number left.
func (w *world) fork(parent *body) *body {
	pid := w.free()
	if pid == 0 {
		return nil
	}
	b := &body{pid: pid, start: w.tickNow(), inode: uint64(1000 + len(w.all)), parent: parent, born: w.now, told: w.now}
	if parent != nil {
		b.uid, b.env, b.args, b.owner, b.mine, b.temper = parent.uid, parent.env, parent.args, parent.owner, parent.mine, parent.temper
		b.moved, b.worker, b.root = parent.moved, parent.worker, parent.root
		b.ever = parent.mine != nil && parent.mine.toEnd && w.request.WorkerIDs == nil || parent.ever && parent.left == 0
	}
	if w.byPID[pid] != nil {
		panic("a number was given out twice")
	}
	w.byPID[pid] = b
	w.refs[pid]++
	if parent != nil {
		w.use(b, parent.group, parent.sid)
	} else {
		w.use(b, pid, pid)
	}
	w.all = append(w.all, b)
	w.say("fork %v", b)
	return b
}

// exit makes a zombie of it; its children go to init.
func (w *world) exit(b *body) {
	if b.state != running {
		return
	}
	b.state, b.ended = zombie, w.now
	w.say("exit %v", b)
	for _, c := range w.all {
		if c.parent == b && c.state != gone {
			c.parent, c.told = w.byPID[1], w.now
			// Where nothing names its owner, any run is unclaimed.
			if r := w.find(c.args); r != nil && (r.toEnd || w.request.Unclaimed) && c.env == "" && w.request.WorkerIDs == nil {
				w.permit(c)
			}
			if c.state == zombie {
				w.reap(c)
			}
		}
	}
	if b.parent == w.byPID[1] || w.Chance(70) {
		w.reap(b)
	} else {
		w.after(w.Between(0, 3*time.Second), func() { w.reap(b) })
	}
}

func (w *world) reap(b *body) {
	if b.state == zombie && b.pid != 1 {
		b.state = gone
		w.byPID[b.pid] = nil
		w.refs[b.pid]--
		w.refs[b.group]--
		w.refs[b.sid]--
		w.reaped++
		w.say("reap %d@%d", b.pid, b.start)
	}
}

// permit: it may be ended, and what it started, except what is of another run.
func (w *world) permit(b *body) {
	b.ever, b.left = true, 0
	for _, c := range w.all {
		if r := w.find(c.env); c.parent == b && c.state != gone && !c.ever && (r == nil || w.wanted(c, r)) {
			w.permit(c)
		}
	}
}

// wanted: what is labelled so is to be ended.
func (w *world) wanted(b *body, r *run) bool {
	return r.toEnd && (w.request.WorkerIDs == nil || slices.Contains(w.request.WorkerIDs, b.worker))
}

// unguard: the watchdog of a worker is dead, and all that comes from that worker may
// be ended if the caller wants it.
func (w *world) unguard(worker *body) {
	if worker.loose = max(w.now, 1); !w.request.Unguarded || worker.mine.owner == nil || worker.mine.owner.state != running {
		return
	}
	for _, b := range w.all {
		switch {
		case b.state == gone:
		case b.root == worker:
			b.ever, b.left = true, 0
		case b.was == worker && b.left >= w.scanAt: // the scan that is going on may have read it before it went over
			b.ever = true
		}
	}
}

// label makes it a process of a run, as that run's watchdog would.
func (w *world) label(b *body, r *run) {
	w.workers++
	b.worker, b.root, b.was = fmt.Sprint("w", w.workers), nil, b.root
	b.env, b.args, b.owner = r.id, "", w.ownerOf(r)
	b.mine, b.told = r, w.now
	if b.left = 0; w.wanted(b, r) {
		w.permit(b)
	} else {
		b.left = w.now
	}
	w.say("label %v", b)
}

func (w *world) ownerOf(r *run) string {
	if r.owner == nil {
		return ""
	}
	return owner.Owner{PID: r.owner.pid, Start: r.owner.start, Boot: simBoot, NS: simSpace}.String()
}

func (w *world) find(id string) *run {
	for _, r := range w.runs {
		if r.id == id {
			return r
		}
	}
	return nil
}

// deliver is what a signal does.
func (w *world) deliver(b *body, sig proc.Signal) {
	if b.state != running {
		return
	}
	switch sig.Name {
	case "SIGKILL":
		b.killed = true
		if b.temper == sleeps {
			w.after(w.Between(0, 14*time.Second), func() { w.exit(b) })
			return
		}
		w.exit(b)
	case "SIGSTOP":
		b.stopped = true
	case "SIGCONT":
		b.stopped = false
		if b.pending {
			b.pending = false
			w.terminate(b)
		}
	case "SIGTERM":
		if b.stopped {
			b.pending = true
			return
		}
		w.terminate(b)
	}
}

func (w *world) terminate(b *body) {
	b.term = true
	switch b.temper {
	case dies:
		w.exit(b)
	case late:
		w.after(w.Between(0, time.Second), func() {
			if !b.stopped {
				w.exit(b)
			}
		})
	case forks:
		w.fork(b)
	}
}
