package reap

import (
	"math/rand/v2"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
)

// newWorld is a machine with some runs, their processes, and bystanders.
func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 9)), mostFDs: 1000}
	w.busy, w.inodes = w.IntN(25), w.Chance(70)
	if w.Chance(10) {
		w.mostFDs = 1 + w.IntN(4)
	}
	w.boot()
	w.now = w.Between(0, time.Second)
	ids := []string{"xxxxxxx", "yyyyyyy", "zzzzzzz"}[:1+w.IntN(3)]
	switch r := w.IntN(10); {
	case r < 2:
		if w.request.RunIDs = []string{ids[0]}; w.Chance(40) {
			w.request.WorkerIDs = []string{"w1", "w2"}[:1+w.IntN(2)]
		}
	case r < 4:
		w.request.Unclaimed = true
	case r < 7:
		w.request.Unguarded = true
	}
	for n, id := range ids {
		w.addRun(id, n == 0)
	}
	up := w.child(w.shell, true)
	self := w.child(up, false)
	if up.never, self.never, self.leash = true, true, true; w.Chance(30) {
		up.env = ids[0]
	}
	for range w.IntN(4) {
		w.bystander()
	}
	w.budget = w.IntN(60)
	w.now += tick * time.Duration(w.IntN(3))
	return w
}

// boot starts init and a shell.
func (w *world) boot() {
	init := w.fork(nil)
	w.refs[init.pid] = 0
	w.byPID[init.pid], w.byPID[1] = nil, init
	init.pid, init.group, init.sid = 1, 1, 1
	w.refs[1] = 3
	w.shell = w.child(init, true)
}

func (w *world) child(parent *body, session bool) *body {
	b := w.fork(parent)
	if b != nil && session {
		w.use(b, b.pid, b.pid)
	}
	return b
}

// addRun starts workers for an owner that then dies, or lives, or is unknown.
func (w *world) addRun(id string, first bool) {
	r := &run{id: id}
	w.runs = append(w.runs, r)
	kind := w.IntN(3)
	if first && w.Chance(60) {
		kind = 0
	}
	if kind < 2 {
		if r.owner = w.child(w.shell, w.Chance(50)); r.owner == nil {
			return
		}
	}
	named := len(w.request.RunIDs) > 0
	r.toEnd = kind == 0 && !named || kind == 2 && w.request.Unclaimed || named && id == w.request.RunIDs[0]
	for range 1 + w.IntN(3) {
		w.worker(r, kind == 0)
	}
	if w.now += w.Between(0, 15*time.Millisecond); kind == 0 {
		w.kill(r.owner)
	}
}

// kill ends a process and has its number free.
func (w *world) kill(b *body) {
	w.exit(b)
	w.reap(b)
}

func (w *world) worker(r *run, dead bool) {
	if w.takes == 0 && w.Chance(50) {
		w.now += w.Between(0, 40*time.Millisecond)
	}
	from := r.owner
	if from == nil {
		from = w.byPID[1]
	}
	b := w.child(from, w.Chance(80))
	if b == nil {
		return
	}
	b.temper = temper(w.IntN(5))
	b.denied, b.stopped, b.leaderGone = w.Chance(4), w.Chance(10), w.Chance(4)
	if b.temper == sleeps && w.Chance(70) {
		b.temper = dies
	}
	w.label(b, r)
	if b.root = b; w.Chance(50) {
		b.args = r.id
	}
	recorded := w.Chance(50)
	if dog := w.child(w.shell, true); recorded && dog != nil {
		dog.leash = true
		w.record(r, b, dog)
		if w.Chance(50) { // setproctitle
			b.env, b.args, b.owner, b.worker = "", "", "", ""
		}
		switch guarded := w.request.Unguarded && r.owner != nil; {
		case dead && w.Chance(25), !dead && guarded && w.Chance(50):
			b.dog = dog
			w.after(w.Between(0, 4*time.Second), func() { w.dogEnds(dog, b) })
		default:
			w.kill(dog)
			w.unguard(b)
		}
	} else if dog != nil {
		w.kill(dog)
	}
	for range w.IntN(3) {
		w.child(b, w.Chance(25))
	}
}

// dogEnds: a watchdog ends its worker, or dies first.
func (w *world) dogEnds(dog, worker *body) {
	if w.Chance(60) {
		w.exit(worker)
	}
	w.exit(dog)
	if dog.state == zombie {
		w.reap(dog)
	}
	w.unguard(worker)
}

// bystander: something at the prompt, which may speak of a run.
func (w *world) bystander() {
	b := w.child(w.shell, w.Chance(50))
	if b == nil || w.Chance(60) {
		return
	}
	r := w.runs[w.IntN(len(w.runs))]
	b.args = r.id
	w.permitNamed(b, r)
	if w.Chance(40) { // sudo grep
		w.permitNamed(w.fork(b), r)
	}
}

// permitNamed: the caller's word is enough for arguments alone.
func (w *world) permitNamed(b *body, r *run) {
	if b != nil && len(w.request.RunIDs) > 0 && r.toEnd && w.request.WorkerIDs == nil {
		b.ever = true
	}
}

func (w *world) fixed(b *body) bool {
	if b.pid == 1 || b == w.shell || b.never || b.leash || b.state != running {
		return true
	}
	for _, r := range w.runs {
		if r.owner == b {
			return true
		}
	}
	return false
}

// some is a process that may move; of a run, or of none.
func (w *world) some(ofRun bool) *body {
	from := w.IntN(numbers)
	for n := range numbers {
		if b := w.byPID[1+(from+n)%numbers]; b != nil && !w.fixed(b) && (b.mine != nil) == ofRun {
			return b
		}
	}
	return nil
}

// act has one thing happen.
func (w *world) act() {
	what := w.IntN(100)
	switch {
	case what < 25:
		w.bystander()
		return
	case what < 45:
		if b := w.some(false); b != nil {
			w.exit(b)
			w.reap(b)
		}
		return
	case what < 48:
		if r := w.runs[w.IntN(len(w.runs))]; r.owner != nil && r.owner.state == running {
			w.worker(r, false)
		}
		return
	}
	b := w.some(true)
	if b == nil {
		return
	}
	switch r := w.runs[w.IntN(len(w.runs))]; {
	case b.stopped && what < 90:
	case what < 65:
		w.child(b, w.Chance(30))
	case what < 70: // a double fork
		if c := w.child(b, true); c != nil {
			w.fork(c)
			w.exit(c)
		}
	case what < 80:
		w.exit(b)
	case what < 84 && !b.moved: // else its run could not be told any more
		b.env, b.args, b.owner, b.worker, b.told = "", "", "", "", w.now
		if b.parent.ever { // what it was before is not to be seen any more
			w.permit(b)
		}
	case what < 88 && b.group != b.pid && !b.recorded: // it starts as another run's worker
		w.use(b, b.pid, b.pid)
		w.label(b, r)
		b.moved = true
	case what < 91:
		b.stopped = true
	case what < 95:
		w.deliver(b, stop.CONT)
	case b.ever && !b.denied && w.Chance(50): // another reaper is at it too
		w.deliver(b, proc.TERM)
	case b.ever && !b.denied:
		w.deliver(b, proc.KILL)
	}
}
