package stop

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// drive feeds a sequence as a host does: it ticks at each deadline, and the world
// answers each Count.
type drive struct {
	Sequence
	t     *testing.T
	now   time.Duration
	world func(*drive, Do) Census
	done  []Do
	asked []Census // answers, in order
}

func (d *drive) follow(dos []Do) {
	for queue := dos; len(queue) > 0; queue = queue[1:] {
		d.done = append(d.done, queue[0])
		if len(d.done) > 1000 {
			d.t.Fatalf("no end after %d steps: %v", len(d.done), d.done)
		}
		c := d.world(d, queue[0])
		if queue[0] == Count {
			d.asked = append(d.asked, c)
			queue = append(queue, d.Counted(d.now, c)...)
		}
	}
}

// run ticks until the end.
func (d *drive) run() {
	for {
		at, ok := d.Deadline()
		if !ok {
			return
		}
		d.now = max(at, d.now)
		before := len(d.done)
		d.follow(d.Tick(d.now))
		if next, ok := d.Deadline(); ok && next <= d.now && len(d.done) == before {
			d.t.Fatalf("due at %v and nothing to do: it would spin", next)
		}
	}
}

func (d *drive) want(phase Phase, dos ...Do) {
	d.t.Helper()
	if d.Phase() != phase || !slices.Equal(d.done, dos) {
		d.t.Errorf("%v after %v, want %v after %v", d.Phase(), d.done, phase, dos)
	}
}

// always gives the same answer to every Count.
func always(c Census) func(*drive, Do) Census { return func(*drive, Do) Census { return c } }

func TestNothingIsThere(t *testing.T) {
	proven := &drive{t: t, world: always(Census{Proven: true})}
	proven.follow(proven.Begin(0, time.Second, true))
	proven.want(Done, Count)

	twice := &drive{t: t, world: always(Census{})}
	twice.follow(twice.Begin(0, time.Second, true))
	twice.want(Done, Count, Count)
	if twice.Signalled() || twice.Killed() || twice.Left() != 0 {
		t.Error("signalled, although the tree is empty")
	}
}

// One empty count proves nothing: a process may have moved from one list to another
// during it.
func TestNoneMustBeFoundTwiceInARow(t *testing.T) {
	answers := []Census{{}, {Living: 1, Unsignalled: 1}, {}, {Living: 1}, {}, {}}
	d := &drive{t: t, world: func(d *drive, do Do) Census {
		if do == Count {
			return answers[len(d.asked)]
		}
		return Census{}
	}}
	d.follow(d.Begin(0, time.Second, false))
	d.follow(d.Quiet())
	d.want(Stopping, SignalAll, Count, Count, SignalNew)
	d.follow(d.Quiet())
	d.want(Stopping, SignalAll, Count, Count, SignalNew, Count, Count)
	d.follow(d.Quiet())
	d.want(Done, SignalAll, Count, Count, SignalNew, Count, Count, Count, Count)
}

func TestKillAfterTheGracePeriod(t *testing.T) {
	for _, grace := range []time.Duration{0, ms, 100 * ms, time.Second, 300 * time.Second} {
		forcedAt := time.Duration(-1)
		d := &drive{t: t, now: 7 * time.Second}
		d.world = func(d *drive, do Do) Census {
			if do == Kill && forcedAt < 0 {
				forcedAt = d.now
			}
			if forcedAt >= 0 {
				return Census{Proven: true}
			}
			return Census{Living: 2}
		}
		d.follow(d.Begin(d.now, grace, false))
		d.run()
		if forcedAt != 7*time.Second+grace || d.done[0] != SignalAll || d.Phase() != Done {
			t.Errorf("grace period %v: killed at %v, %v", grace, forcedAt, d.done)
		}
	}
}

// Processes that cannot be ended are reported in bounded time.
func TestKillingIsBounded(t *testing.T) {
	d := &drive{t: t, world: always(Census{Living: 3, Denied: 1})}
	d.follow(d.Begin(0, time.Second, false))
	d.run()
	if d.Phase() != Done || d.Left() != 3 || !d.Killed() {
		t.Errorf("%v, %d left", d.Phase(), d.Left())
	}
	if d.now < time.Second+KillBound || d.now > time.Second+KillBound+forceAgainMax {
		t.Errorf("reported after %v", d.now)
	}
	forces := 0
	for _, do := range d.done {
		if do == Kill {
			forces++
		}
	}
	if forces < 10 || forces > 100 {
		t.Errorf("killed %d times", forces)
	}
}

// A watchdog that was stopped while KillBound passed sent no kill in that time: it still
// makes all rounds, so that processes started meanwhile are killed, not reported.
func TestKillingGoesOnAfterAStandstill(t *testing.T) {
	const until = 20 * time.Second
	late := false
	d := &drive{t: t}
	d.world = func(d *drive, do Do) Census {
		if do == Kill && !late {
			late, d.now = true, until
		}
		return Census{Living: 1}
	}
	d.follow(d.Begin(0, time.Second, false))
	d.run()
	var forces int
	for _, do := range d.done {
		if do == Kill {
			forces++
		}
	}
	if d.Phase() != Done || forces != forceRounds || d.now > until+3*time.Second {
		t.Errorf("%v at %v: killed %d times, %v", d.Phase(), d.now, forces, d.done)
	}
}

// If no process may be signalled the grace period is not waited for.
func TestAllDenied(t *testing.T) {
	d := &drive{t: t, world: always(Census{Living: 2, Denied: 2})}
	d.follow(d.Begin(0, time.Hour, true))
	d.run()
	d.want(Done, Count, Kill, Count)
	if d.now > time.Second {
		t.Errorf("reported after %v", d.now)
	}

	some := &drive{t: t, world: always(Census{Living: 2, Denied: 1, Unsignalled: 2})}
	some.follow(some.Begin(0, time.Hour, true))
	some.want(Stopping, Count, SignalAll)
}

func TestExtend(t *testing.T) {
	var s Sequence
	s.Extend(time.Hour) // before it began: nothing to extend
	s.Begin(0, time.Second, false)
	s.Extend(500 * ms) // never shorter
	s.Extend(2 * time.Second)
	if dos := s.Tick(1999 * ms); slices.Contains(dos, Kill) {
		t.Errorf("killed before the end of the grace period: %v", dos)
	}
	if dos := s.Tick(2 * time.Second); !slices.Equal(dos, []Do{Kill}) {
		t.Errorf("after the grace period: %v", dos)
	}
	s.Extend(time.Hour) // too late
	if at, ok := s.Deadline(); !ok || at > 3*time.Second {
		t.Errorf("deadline %v", at)
	}
}

func TestBeginsOnce(t *testing.T) {
	var s Sequence
	if dos := append(s.Quiet(), append(s.Counted(0, Census{Living: 1}), s.Tick(0)...)...); len(dos) > 0 {
		t.Errorf("before it began: %v", dos)
	}
	s.Begin(0, time.Second, false)
	at, _ := s.Deadline()
	if dos := s.Begin(500*ms, time.Hour, true); len(dos) > 0 {
		t.Errorf("begun again: %v", dos)
	}
	if again, _ := s.Deadline(); again != at {
		t.Errorf("the deadline went from %v to %v", at, again)
	}
	if dos := s.Tick(99 * ms); len(dos) > 0 {
		t.Errorf("an early tick: %v", dos)
	}
}

func TestDoneIsDone(t *testing.T) {
	var s Sequence
	s.Begin(0, time.Second, true)
	s.Counted(0, Census{Proven: true})
	s.Extend(time.Hour)
	for _, dos := range [][]Do{
		s.Begin(1, 1, false), s.Quiet(), s.Tick(time.Hour), s.Counted(time.Hour, Census{Living: 9, Unsignalled: 9}),
	} {
		if len(dos) > 0 {
			t.Errorf("after the end: %v", dos)
		}
	}
	if _, timed := s.Deadline(); timed || s.Phase() != Done || s.Left() != 0 {
		t.Errorf("%v, timed %t, %d left", s.Phase(), timed, s.Left())
	}
}

// With the worker first, no other process gets the stop signal before the worker has
// ended, whatever is counted. Then all get it at once, and processes found later too.
func TestTheRestIsSignalledWhenTheWorkerHasEnded(t *testing.T) {
	answers := []Census{{Living: 3, Unsignalled: 2}, {Living: 4, Unsignalled: 3}, {Living: 2, Unsignalled: 2, Ended: true},
		{Living: 3, Unsignalled: 1, Ended: true}, {Ended: true, Proven: true}}
	d := &drive{t: t, world: func(d *drive, do Do) Census {
		if do == Count {
			return answers[len(d.asked)]
		}
		return Census{}
	}}
	d.follow(d.BeginWithWorker(0, time.Hour))
	d.follow(d.Quiet())
	d.follow(d.Quiet())
	d.want(Stopping, SignalWorker, Count, Count)
	d.now = 30 * time.Minute
	d.follow(d.Quiet())
	d.want(Stopping, SignalWorker, Count, Count, Count, SignalAll)
	if at, _ := d.Deadline(); at != d.now+askRecount {
		t.Errorf("the next count is due at %v: processes found later would be signalled late", at)
	}
	d.follow(d.Quiet())
	d.follow(d.Quiet())
	d.want(Done, SignalWorker, Count, Count, Count, SignalAll, Count, SignalNew, Count)
}

// There is one grace period: it begins with the first signal, and the end of the worker
// does not start another.
func TestOneGracePeriodForTheWorkerAndTheRest(t *testing.T) {
	for _, endsAt := range []time.Duration{0, 100 * ms, 600 * ms, time.Hour} {
		forcedAt := time.Duration(-1)
		d := &drive{t: t}
		d.world = func(d *drive, do Do) Census {
			if do == Kill && forcedAt < 0 {
				forcedAt = d.now
			}
			if forcedAt >= 0 {
				return Census{Ended: true, Proven: true}
			}
			return Census{Living: 2, Unsignalled: 1, Ended: d.now >= endsAt}
		}
		d.follow(d.BeginWithWorker(0, time.Second))
		d.run()
		if asked := slices.Contains(d.done, SignalAll); forcedAt != time.Second || asked != (endsAt < time.Second) {
			t.Errorf("the worker ends at %v: killed at %v, the rest was signalled: %t, %v", endsAt, forcedAt, asked, d.done)
		}
	}
}

// In random worlds processes end, fork and refuse signals, and the host is late and calls
// Quiet at random. The rules must hold in each.
func TestAnyWorld(t *testing.T) {
	var ends struct{ proven, twice, denied, bound int }
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, seed, r)
		w.run()
		switch last := w.asked[len(w.asked)-1]; {
		case last.Proven:
			ends.proven++
		case last.Living == 0:
			ends.twice++
		case last.Denied == last.Living:
			ends.denied++
		default:
			ends.bound++
		}
		if t.Failed() {
			return
		}
	}
	// If one of these never happened, it was not tested.
	if min(ends.proven, ends.twice, ends.denied, ends.bound) < 100 {
		t.Errorf("too few of a kind: %+v", ends)
	}
}

type randomWorld struct {
	drive
	r                       *rand.Rand
	seed                    uint64
	graceAt, firstForce     time.Duration
	living, denied, unasked int
	stubborn, immortal      bool
	proof                   bool
	// worker: the worker comes first; ended: it has ended.
	worker, ended bool
	owed          bool // a count before the deadline found processes that the worker left
}

func newWorld(t *testing.T, seed uint64, r *rand.Rand) *randomWorld {
	w := &randomWorld{r: r, seed: seed, firstForce: -1, living: r.IntN(4),
		stubborn: r.IntN(2) == 0, immortal: r.IntN(4) == 0, proof: r.IntN(2) == 0}
	if r.IntN(3) == 0 {
		w.denied = r.IntN(w.living + 1)
	}
	w.unasked = w.living
	w.drive = drive{t: t, now: time.Duration(r.IntN(1e6)) * ms, world: w.answer}
	grace := time.Duration(r.IntN(3000)) * ms
	w.graceAt = w.now + grace
	if w.worker = w.living > 0 && r.IntN(2) == 0; w.worker {
		w.follow(w.BeginWithWorker(w.now, grace))
		return w
	}
	w.ended = r.IntN(2) == 0
	w.follow(w.Begin(w.now, grace, r.IntN(2) == 0))
	return w
}

func (w *randomWorld) errorf(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf("seed %d: "+format, append([]any{w.seed}, args...)...)
}

// answer performs what the sequence wants, and checks that it may want it.
func (w *randomWorld) answer(_ *drive, do Do) Census {
	switch do {
	case Kill:
		w.judgeForce()
		w.unasked = 0
		if !w.immortal {
			w.living -= w.r.IntN(w.living - w.denied + 1)
		}
	case SignalAll, SignalNew:
		if w.firstForce >= 0 {
			w.errorf("%v after a kill", do)
		}
		if w.worker && !w.counted().Ended {
			w.errorf("%v while the worker lives: %v", do, w.done)
		}
		w.unasked = 0
		if !w.stubborn {
			w.living -= w.r.IntN(w.living - w.denied + 1)
		}
	case Count:
		if w.living > w.denied && w.r.IntN(4) == 0 && len(w.done) < 100 { // forks
			w.living++
			w.unasked++
		}
	}
	w.unasked = min(w.unasked, w.living)
	w.ended = w.ended || w.living == 0 || w.r.IntN(6) == 0
	w.owed = w.owed || do == Count && w.ended && w.living > w.denied && w.now < w.graceAt
	return Census{Ended: w.ended, Living: w.living, Denied: w.denied, Unsignalled: w.unasked, Proven: w.living == 0 && w.proof}
}

// counted is the last census; before the first, an empty one.
func (w *randomWorld) counted() (c Census) {
	if n := len(w.asked); n > 0 {
		c = w.asked[n-1]
	}
	return c
}

func (w *randomWorld) judgeForce() {
	if w.firstForce < 0 {
		w.firstForce = w.now
	}
	if w.worker && w.owed && !slices.Contains(w.done, SignalAll) {
		w.errorf("the worker had ended in time, and the rest was never signalled: %v", w.done)
	}
	if w.now >= w.graceAt {
		return
	}
	// Earlier only if every process of the last count was denied.
	if len(w.asked) == 0 {
		w.errorf("killed at %v before a count, grace period until %v", w.now, w.graceAt)
		return
	}
	c := w.asked[len(w.asked)-1]
	if forced := slices.Contains(w.done[:len(w.done)-1], Kill); !forced && (c.Living == 0 || c.Denied < c.Living) {
		w.errorf("killed at %v, grace period until %v, last count %+v", w.now, w.graceAt, c)
	}
}

func (w *randomWorld) run() {
	for w.Phase() != Done && !w.t.Failed() {
		at, ok := w.Deadline()
		if !ok {
			w.errorf("%v without a deadline", w.Phase())
			return
		}
		switch {
		case w.r.IntN(5) == 0:
			w.follow(w.Quiet())
		case w.r.IntN(8) == 0 && w.Phase() == Stopping:
			until := w.now + time.Duration(w.r.IntN(500))*ms
			w.Extend(until)
			w.graceAt = max(w.graceAt, until)
		default:
			w.now = max(w.now, at) + time.Duration(w.r.IntN(3))*ms
			w.follow(w.Tick(w.now))
		}
	}
	w.judgeEnd()
}

func (w *randomWorld) judgeEnd() {
	last := w.asked[len(w.asked)-1]
	if w.Left() != last.Living {
		w.errorf("%d left, counted %+v", w.Left(), last)
	}
	switch {
	case last.Living == 0:
		if n := len(w.asked); !last.Proven && (n < 2 || w.asked[n-2].Living != 0) {
			w.errorf("done after one empty count: %+v", w.asked)
		}
	case w.firstForce < 0:
		w.errorf("given up without a kill: %+v", last)
	case last.Denied < last.Living && w.now < w.firstForce+KillBound:
		w.errorf("given up after %v: %+v", w.now-w.firstForce, last)
	}
	if slices.Contains(w.done, Kill) != w.Killed() || (slices.Contains(w.done, SignalAll) || slices.Contains(w.done, SignalWorker)) != w.Signalled() {
		w.errorf("signalled %t, killed %t: %v", w.Signalled(), w.Killed(), w.done)
	}
}
