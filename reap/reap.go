// Package reap ends what is left of dead runs: it looks, judges, takes handles,
// makes sure, signals, and looks again, until two looks find nothing new. What
// to do when, stop.Sequence decides; who is to be ended, package scan.
package reap

import (
	"errors"
	"fmt"
	"time"

	"leash/internal/owner"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/scan"
)

// Table is what reaping needs of the system.
type Table interface {
	// Take looks at every process that may be judged.
	Take(held []scan.Held) (*scan.Snapshot, error)
	// Life says whether somebody named lives.
	Life(proc.ID) scan.Life
	// Open takes a handle on whoever has the number now; proc.ErrGone if nobody.
	Open(pid int) (Handle, error)
	// Tick is the present in the unit of proc.ID.Start.
	Tick() uint64
	Now() time.Duration
	// Wait returns true once all whose end was asked for by Notify have ended,
	// false at the deadline.
	Wait(until time.Duration) (quiet bool, err error)
}

// Handle stands for one process and never for a later one of its number.
type Handle interface {
	Look() (proc.Info, error)
	// Same reports whether it is certainly the process that a scan saw which
	// began at that tick.
	Same(p *scan.Process, tick uint64) bool
	// Read reads anew what a scan reads.
	Read() (scan.Process, error)
	Inode() uint64
	Signal(proc.Signal) error
	// Notify has Wait tell of its end; Over reports whether it did.
	Notify()
	Over() bool
	Close()
}

// Fate is what became of a process.
type Fate int

const (
	// None: nothing was done to it.
	None Fate = iota
	Terminated
	Killed
	Survived
)

// Ended is a process that was to be ended.
type Ended struct {
	scan.Process
	Run  scan.Key
	Fate Fate
	// Reason says why it survived, or why it was to be ended.
	Reason string
}

// member is one of them while it is being ended.
type member struct {
	Ended
	h      Handle
	fresh  bool // just looked at
	asked  bool
	killed bool
	over   bool
	// from and seen bound when it was known to live.
	from, seen uint64
}

// Reaper ends everything condemned at once: one grace period for all.
type Reaper struct {
	Table Table
	Wish  scan.Wish
	Grace time.Duration
	// Found is called with every judgement, Progress with how many of how many
	// live, Done with each process that has ended or survived.
	Found    func(*scan.Snapshot, []*scan.Run)
	Progress func(living, total int)
	Done     func(*Ended)
	// Shield holds signals to ourselves back until what it returns is called.
	Shield func() func()

	members []*member
	// unopened were to be ended at the last look and could not be opened, for
	// want of descriptors, say.
	unopened []Ended
	// vanished were to be ended at the last look and gone when they were opened:
	// perhaps they fork and end faster than we look.
	vanished []Ended
	// young is how many of the last look started in its very tick and were not
	// condemned again by what is read behind a handle, which tells no cgroup. The
	// next tick tells them from a later owner of their number.
	young   int
	dead    map[scan.Key]owner.Owner
	vouched map[scan.Key]bool
	guarded []int               // PIDs that watchdogs were ending at the last look
	known   map[proc.ID]*member // by PID and start time
	scanned time.Duration       // when the last look ended
	looked  bool
	failed  error
}

const (
	// rescan is how long a look may serve while somebody still lives.
	rescan = time.Second
	// lookAgain is when to look again for those who cannot be waited for.
	lookAgain = 100 * time.Millisecond
	// apart is the time between two looks that are to prove something together.
	apart = 20 * time.Millisecond
	// freezes bounds how often newcomers are looked for before a SIGKILL.
	freezes = 10
)

var probe proc.Signal

// Run ends all that is condemned, and returns what it ended or could not end.
// What watchdogs are ending they may finish, and for as long as the grace
// period Run waits for them: who calls it wants the ports free.
func (r *Reaper) Run() ([]Ended, error) {
	r.known, r.dead = make(map[proc.ID]*member), make(map[scan.Key]owner.Owner)
	r.vouched = make(map[scan.Key]bool)
	patience := r.Table.Now() + r.Grace
	for {
		r.sequence()
		if r.failed != nil || len(r.guarded) == 0 || r.Table.Now() >= patience {
			return r.results(), r.failed
		}
		r.await(patience)
	}
}

// sequence runs one termination sequence from beginning to end.
func (r *Reaper) sequence() {
	var seq stop.Sequence
	todo := seq.Begin(r.Table.Now(), r.Grace, true)
	for r.failed == nil {
		for len(todo) > 0 && r.failed == nil {
			do := todo[0]
			todo = append(todo[1:], r.perform(&seq, do)...)
		}
		until, ok := seq.Deadline()
		if !ok || r.failed != nil {
			return
		}
		r.progress()
		quiet, err := r.Table.Wait(until)
		switch {
		case err != nil:
			r.failed = err
		case quiet:
			todo = seq.Quiet()
		default:
			todo = seq.Tick(r.Table.Now())
		}
	}
}

// await waits for those whom their watchdogs are ending. They are only waited
// for, so that it does not matter who has the number now.
func (r *Reaper) await(until time.Duration) {
	var handles []Handle
	for _, pid := range r.guarded {
		if h, err := r.Table.Open(pid); err == nil {
			h.Notify()
			handles = append(handles, h)
		}
	}
	if len(handles) == 0 { // gone just now, or no descriptor is to be had
		until = min(until, r.Table.Now()+lookAgain)
	}
	if _, err := r.Table.Wait(until); err != nil {
		r.failed = err
	}
	for _, h := range handles {
		h.Close()
	}
}

func (r *Reaper) perform(seq *stop.Sequence, do stop.Do) []stop.Do {
	switch do {
	case stop.Ask, stop.AskNew:
		r.ask()
	case stop.Force:
		r.force()
	case stop.Count:
		return seq.Counted(r.Table.Now(), r.count())
	}
	return nil
}

// ask sends all of them the polite signal before it sends SIGCONT to any, so
// that who is stopped hears it too and the others hear it at once.
func (r *Reaper) ask() {
	for _, m := range r.members {
		if !m.over && !m.asked {
			m.h.Signal(proc.TERM)
		}
	}
	for _, m := range r.members {
		if !m.over && !m.asked {
			m.asked = true
			m.h.Signal(stop.CONT)
			m.h.Notify()
		}
	}
}

// force stops everyone, so that nobody can fork away, looks who else is there,
// and kills them all.
func (r *Reaper) force() {
	if r.Shield != nil { // nobody is to be left stopped
		defer r.Shield()()
	}
	for range freezes {
		for _, m := range r.members {
			if !m.over && !m.killed {
				m.h.Signal(stop.STOP)
			}
		}
		if r.look() == 0 {
			break
		}
	}
	for _, m := range r.members {
		if m.over {
			continue
		}
		// Entered before it is sent, so that it errs on the safe side.
		m.killed = true
		m.h.Signal(proc.KILL)
		m.h.Notify()
	}
}

// count says how many live. It looks for others when none is left who could be
// ended, and now and then while it waits.
func (r *Reaper) count() stop.Census {
	c := r.census()
	if c.Living-r.missed() == c.Denied || !r.looked || r.Table.Now()-r.scanned > rescan {
		r.rest()
		r.look()
		c = r.census()
	}
	for _, m := range r.members {
		if !m.over && m.asked {
			m.h.Notify()
		}
	}
	return c
}

// missed counts those who were seen and not got hold of.
func (r *Reaper) missed() int { return len(r.unopened) + min(len(r.vanished), 1) }

// rest lets a moment pass before a second look, more than a tick, unless there was
// nothing to be done so far.
func (r *Reaper) rest() {
	if until := r.scanned + apart; r.looked && len(r.members)+r.missed()+r.young > 0 && r.Table.Now() < until {
		if _, err := r.Table.Wait(until); err != nil {
			r.failed = err
		}
	}
}

func (r *Reaper) census() stop.Census {
	c := stop.Census{Living: r.missed(), Unasked: r.missed()}
	for _, m := range r.members {
		if r.refresh(m); m.over {
			continue
		}
		c.Living++
		if !m.asked {
			c.Unasked++
		}
		if errors.Is(m.h.Signal(probe), proc.ErrDenied) {
			c.Denied++
		}
	}
	return c
}

// refresh notes who has ended.
func (r *Reaper) refresh(m *member) {
	if m.over || m.fresh {
		m.fresh = false
		return
	}
	if !m.h.Over() {
		tick := r.Table.Tick()
		info, err := m.h.Look()
		if err == nil && !info.Dead() {
			m.seen = tick
			return
		}
		if err != nil && !errors.Is(err, proc.ErrGone) {
			return
		}
	}
	m.over = true
	m.h.Close()
	switch {
	case m.killed:
		m.Fate = Killed
	case m.asked:
		m.Fate = Terminated
	default:
		m.Reason = "it ended before it was signalled"
	}
	r.tell(&m.Ended)
}

func (r *Reaper) tell(e *Ended) {
	if r.Done != nil {
		r.Done(e)
	}
}

// look judges the table anew and takes in who is condemned. It returns how many
// were new.
func (r *Reaper) look() int {
	s, err := r.Table.Take(r.held())
	if err != nil {
		r.failed = fmt.Errorf("the process table cannot be read: %w", err)
		return 0
	}
	r.looked = true
	if s.Torn != nil {
		return r.blind(s.Torn)
	}
	s.Dead, s.Vouched = r.dead, r.vouched
	runs := scan.Judge(s, r.Wish)
	r.remember(runs)
	if r.Found != nil {
		r.Found(s, runs)
	}
	r.guarded = r.guarded[:0]
	for _, run := range runs {
		for i := range run.Members {
			if m := &run.Members[i]; m.Watchdog != 0 {
				r.guarded = append(r.guarded, m.PID)
			}
		}
	}
	n := r.adopt(s, runs)
	r.scanned = r.Table.Now()
	return n
}

// blind is a look that condemns nobody. When those who are being ended are gone,
// and with them our handles, there may be means for a better one.
func (r *Reaper) blind(torn error) int {
	r.scanned = r.Table.Now()
	for _, m := range r.members {
		if !m.over {
			return 0
		}
	}
	r.failed = fmt.Errorf("the process table cannot be read as a whole: %w", torn)
	return 0
}

// remember keeps who was found dead: the process that told of him may be the
// first to end.
func (r *Reaper) remember(runs []*scan.Run) {
	for _, run := range runs {
		if run.Owner != nil && !run.OwnerLives() {
			r.dead[run.Key], r.vouched[run.Key] = *run.Owner, run.Vouched
		}
	}
}

func (r *Reaper) progress() {
	if r.Progress == nil {
		return
	}
	living := 0
	for _, m := range r.members {
		if !m.over {
			living++
		}
	}
	r.Progress(living, len(r.members))
}

// results closes the books: who still lives has survived.
func (r *Reaper) results() []Ended {
	all := make([]Ended, 0, len(r.members))
	for _, m := range r.members {
		if !m.over {
			m.Fate, m.Reason = Survived, r.whySurvived(m)
			r.tell(&m.Ended)
			m.h.Close()
		}
		all = append(all, m.Ended)
	}
	missed := append(r.unopened, r.vanished...)
	for i := range missed {
		r.tell(&missed[i])
	}
	return append(all, missed...)
}

func (r *Reaper) whySurvived(m *member) string {
	info, err := m.h.Look()
	return stop.Reason(info, err != nil || errors.Is(m.h.Signal(probe), proc.ErrDenied))
}
