package reap

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/internal/stop"
	"leash/scan"
)

var (
	reapSeed = flag.Uint64("reap.seed", 0, "play exactly the game of this seed, and show it")
	reapBase = flag.Uint64("reap.base", 1, "first seed of the series; 0 draws one (make soak)")
)

// share of LEASH_SIM_N that is played here: a game is many scans of a machine.
const share = 100

// TestSimulator plays reaps on a machine that moves between any two calls, and
// compares each with the truth.
func TestSimulator(t *testing.T) {
	if *reapSeed != 0 {
		w, _ := game(*reapSeed, true)
		t.Logf("%s\n%s", strings.Join(w.trace, "\n"), w.summary())
		if len(w.fails) > 0 {
			t.Error(strings.Join(w.fails, "\n"))
		}
		return
	}
	base := *reapBase
	if base == 0 {
		base = uint64(time.Now().UnixNano())
	}
	n := games(t)
	t.Logf("%d games from seed %d", n, base)
	var sum tally
	for i := range n {
		seed := base + uint64(i)
		w, all := game(seed, false)
		sum.add(w, all)
		if len(w.fails) > 0 {
			t.Fatalf("game %d: %q\nreplay: go test ./reap -run TestSimulator -reap.seed=%d -v", i, w.fails, seed)
		}
	}
	t.Logf("%+v", sum)
	if n >= 1000 && (sum.Terminated == 0 || sum.Killed == 0 || sum.Survived == 0 || sum.Reused < n || sum.Polite == 0 || sum.Unguarded == 0 || sum.OneWorker == 0) {
		t.Errorf("the games do not show what they are to show: %+v", sum)
	}
}

// tally says what the games were made of.
type tally struct {
	Games, Terminated, Killed, Survived, None, Reused, Scans, Polite, Unguarded, OneWorker, MostScans int
	Longest                                                                                           time.Duration
}

func (s *tally) add(w *world, all []Ended) {
	s.Games++
	s.Reused += w.reaped
	s.Scans += w.takes
	s.Polite += w.polite
	s.Unguarded += w.unguarded
	if w.request.WorkerIDs != nil {
		s.OneWorker += len(all)
	}
	s.MostScans = max(s.MostScans, w.takes)
	s.Longest = max(s.Longest, w.now)
	for i := range all {
		*[]*int{&s.None, &s.Terminated, &s.Killed, &s.Survived}[all[i].Fate]++
	}
}

func games(t *testing.T) int {
	if s := os.Getenv("LEASH_SIM_N"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("LEASH_SIM_N: %v", err)
		}
		return max(n/share, 1)
	}
	return 3000
}

// game is one reap.
func game(seed uint64, show bool) (*world, []Ended) {
	w := newWorld(seed)
	w.tracing = show
	for _, b := range w.all {
		w.say("there is %v", b)
	}
	w.say("wish %+v, ledger %+v", w.request, w.ledger)
	begin := w.now
	w.grace = []time.Duration{0, 500 * time.Millisecond, 2 * time.Second}[w.IntN(3)]
	w.graceAt = begin + w.grace
	r := Reaper{System: w, Request: w.request, Grace: w.grace}
	r.Found = func(_ *snapshot.Snapshot, runs []*scan.Run) {
		for _, run := range runs {
			for i := range run.Members {
				m := &run.Members[i]
				w.say("judged %v of %s: %v, %v, %s", m.ID, run.ID, m.Evidence, m.Verdict, m.Reason)
			}
		}
	}
	all, err := r.Run()
	w.judgeEnd(all, err)
	return w, all
}

func (w *world) summary() string {
	var b strings.Builder
	for _, p := range w.all {
		if p.state != gone {
			fmt.Fprintf(&b, "left: %v\n", p)
		}
	}
	return b.String()
}

// judgeSignal knows the truth.
func (w *world) judgeSignal(b *body, sig proc.Signal) {
	if w.signals++; b.ever && b.mine != nil && !b.mine.toEnd && b.root != nil && b.root.loose > 0 && w.request.Unguarded {
		w.unguarded++
	}
	w.say("%s to %v", sig.Name, b)
	switch {
	case b.leash || b.never || b.pid == 1:
		w.fail("%s to a process that must never be touched: %v", sig.Name, b)
	case !b.ever:
		w.fail("%s to a bystander: %v", sig.Name, b)
	case b.dog != nil && b.dog.state == running && (b.mine.owner.state != running && len(w.request.RunIDs) == 0):
		w.fail("%s to a process that a living watchdog is ending: %v", sig.Name, b)
	case sig == proc.TERM && b.asked == 0:
		b.asked = w.now
		w.polite++
	case sig == stop.STOP || sig == proc.KILL:
		w.judgeForce(b, sig)
	}
}

// judgeForce: no process is stopped or killed within the grace period unless all that
// are left refuse signals, and one that was known in time was sent the stop signal.
func (w *world) judgeForce(b *body, sig proc.Signal) {
	if b.stopping = true; w.firstForce == 0 {
		w.firstForce = w.now
	}
	if w.firstForce < w.graceAt {
		for _, o := range w.all {
			if o.open > 0 && o.state == running && !o.denied && o.held < w.lastAt && !o.forced {
				w.fail("%s within the grace period, and %v might have ended by itself", sig.Name, o)
			}
		}
	}
	if b.forced = true; b.asked == 0 && b.held < w.firstForce-1200*time.Millisecond && b.state == running {
		w.fail("%s to one that was known for long and never sent the stop signal: %v", sig.Name, b)
	}
}

// slack is for the scan that may just have been missed.
const slack = 2500 * time.Millisecond

func (w *world) judgeEnd(all []Ended, err error) {
	if err != nil {
		w.fail("%v", err)
	}
	if w.now > w.graceAt+stop.KillBound+slack {
		w.fail("it took until %v, %v after the grace period", w.now, w.now-w.graceAt)
	}
	if most := 40 + 30*int(w.now/time.Second); w.takes > most {
		w.fail("%d scans in %v", w.takes, w.now)
	}
	results := map[[2]uint64]*Ended{}
	survived := false
	for i := range all {
		e := &all[i]
		results[[2]uint64{uint64(e.PID), e.Start}] = e
		survived = survived || e.Fate == Survived
		if e.Reason == "" {
			w.fail("no reason for %d", e.PID)
		}
	}
	var last time.Duration
	for _, b := range w.all {
		if b.open != 0 {
			w.fail("%d handles were left open on %v", b.open, b)
		}
		if b.ever {
			last = max(last, b.ended)
		}
		e := results[[2]uint64{uint64(b.pid), b.start}]
		if b.asked > 0 && e == nil {
			w.fail("signalled, and not in the results: %v", b)
		}
		if b.state == running && b.stopping && !b.killed && !b.denied {
			w.fail("stopped, and neither killed nor continued: %v", b)
		}
		if b.state == running && w.findable(b) && (e == nil || e.Fate != Survived) {
			w.fail("left, and not named as a survivor: %v", b)
		}
	}
	if !survived && w.now > max(last, w.graceAt-w.grace)+slack {
		w.fail("all had ended %v before that was noticed", w.now-last)
	}
}

// findable: a process that was so when the last but one scan began must have been
// ended, or reported.
func (w *world) findable(b *body) bool {
	if b.mine == nil || !b.ever || b.never || b.leash || b.leaderGone || b.told >= w.lastAt || w.seemsOwned(b.mine) {
		return false
	}
	if !b.mine.toEnd && !w.isUnguarded(b) || b.mine.toEnd && w.guarded(b.mine) {
		return false
	}
	if w.request.WorkerIDs != nil && b.env != "" && !slices.Contains(w.request.WorkerIDs, b.worker) {
		return false
	}
	switch {
	case b.env == b.mine.id:
		return b.args == "" || b.args == b.env
	case b.env != "" || b.args != "":
		return false
	case b.parent.state == running && w.findable(b.parent):
		return true
	}
	for i := range w.ledger {
		r := &w.ledger[i]
		if p := w.byPID[r.Worker.PID]; r.RunID == b.mine.id && p != nil && p.inode == r.Worker.Inode && p.state == running &&
			(p == b || b.sid == p.pid && r.Session == p.pid && w.plain(b)) {
			return true
		}
	}
	return false
}

// isUnguarded: it comes from a worker of a living run, and its watchdog was dead before the
// last but one scan began, as its record says.
func (w *world) isUnguarded(b *body) bool {
	r := b.root
	return w.request.Unguarded && r != nil && r.mine.owner != nil && r.mine.owner.state == running && r.recorded && r.loose > 0 && r.loose < w.lastAt && (b.env == "" || b.worker == w.idOf(r))
}

// idOf is the worker ID in the record of a worker.
func (w *world) idOf(worker *body) string {
	for i := range w.ledger {
		if r := &w.ledger[i]; r.Worker.PID == worker.pid && r.Worker.Start == worker.start {
			return r.WorkerID
		}
	}
	return ""
}

// plain: nothing about its ancestors contradicts what its session says.
func (w *world) plain(b *body) bool {
	return b.parent.pid == 1 || b.parent.mine == b.mine && !b.parent.moved && w.plain(b.parent)
}

// seemsOwned: a process has the PID of the owner, or of a watchdog, and its start tick.
// It may be the same one, as far as can be told.
func (w *world) seemsOwned(r *run) bool {
	for _, b := range w.all {
		if b.state != running && b.ended < w.lastAt {
			continue
		}
		if o := r.owner; o != nil && b != o && b.pid == o.pid && b.start == o.start {
			return true
		}
		for i := range w.ledger {
			if rec := &w.ledger[i]; rec.RunID == r.id && rec.Watchdog.Match(w.info(b).ID) != proc.Different {
				return true
			}
		}
	}
	return false
}

func (w *world) guarded(r *run) bool {
	for _, b := range w.all {
		if b.mine == r && b.dog != nil && b.dog.state == running {
			return true
		}
	}
	return false
}
