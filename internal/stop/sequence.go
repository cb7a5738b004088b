// Package stop ends a tree of processes: ask, wait, force, count, and again,
// until none is left or what is left cannot be ended. Sequence decides and is
// pure; Tree performs, over a Kernel.
package stop

import "time"

// Phase is where a Sequence stands.
//
//	        Begin               grace over
//	Idle ───────────► Asking ────────────────► Forcing ──┐ Force, Count,
//	                    │  ▲ Count: some live     │  ▲   │ again
//	                    ▼  │                      ▼  └───┘
//	               Count: none (twice, or proven) ───► Done
//	                                                    ▲
//	                all that is left cannot be ended, or the bound is reached
//
// BeginWithWorker asks the worker alone. The rest of the tree is asked when a
// count finds that the worker has ended; the grace is one and the same.
type Phase int

const (
	Idle Phase = iota
	Asking
	Forcing
	Done
)

func (p Phase) String() string { return [...]string{"idle", "asking", "forcing", "done"}[p] }

// Do is what the sequence wants done next.
type Do int

const (
	// Ask everyone politely. Newcomers found later are asked by AskNew.
	Ask Do = iota
	AskNew
	// Force ends everyone who is found, at once.
	Force
	// Count says how many live; its answer goes to Counted.
	Count
	// AskWorker asks the worker and nobody else.
	AskWorker
)

func (d Do) String() string {
	return [...]string{"ask", "ask-new", "force", "count", "ask-worker"}[d]
}

// Census is the answer to Count.
type Census struct {
	// Living members, zombies not among them.
	Living int
	// Unasked of the living have not been asked yet.
	Unasked int
	// Denied of the living may not be signalled by us (another user's).
	Denied int
	// Ended: nothing of the worker itself is left.
	Ended bool
	// Proven says that Living == 0 needs no second look.
	Proven bool
}

const (
	// ForceBound is how long forcing goes on before what is left is reported:
	// a process that frees 100 GB needs seconds to die.
	ForceBound = 10 * time.Second
	// forceRounds are needed besides: we may have been stopped for all that time.
	// They take 2.2 s.
	forceRounds = 10

	askRecount    = 100 * time.Millisecond
	askRecountMax = time.Second
	forceAgain    = 5 * time.Millisecond
	forceAgainMax = 500 * time.Millisecond
	// emptyCounts in a row are needed where no single count is a proof.
	emptyCounts = 2
)

// Sequence is the termination sequence. Times are durations since any fixed
// moment, on a clock that stands still while the machine sleeps.
type Sequence struct {
	phase   Phase
	grace   time.Duration
	graceAt time.Duration
	boundAt time.Duration
	again   time.Duration // the next recount
	backoff time.Duration
	empty   int
	rounds  int // of force
	asked   bool
	alone   bool // only the worker was asked so far
	forced  bool
	living  int
}

// Begin starts the sequence. With look it counts before it asks: the tree may
// well be empty. Beginning again changes nothing.
func (s *Sequence) Begin(now, grace time.Duration, look bool) []Do {
	if s.phase != Idle {
		return nil
	}
	s.phase, s.grace = Asking, grace
	s.graceAt = now + grace
	s.backoff, s.again = askRecount, now+askRecount
	if look {
		return []Do{Count}
	}
	s.asked = true
	return []Do{Ask}
}

// KillNow kills at once, without a stop signal or what is left of the grace period.
func (s *Sequence) KillNow(now time.Duration) []Do {
	if s.phase == Forcing || s.phase == Done {
		return nil
	}
	return s.force(now)
}

// BeginWithWorker starts the sequence with the worker alone, which may want to
// end the rest of its tree itself (KillMode=mixed, systemd.kill(5)).
func (s *Sequence) BeginWithWorker(now, grace time.Duration) []Do {
	if s.phase != Idle {
		return nil
	}
	s.Begin(now, grace, false)
	s.alone = true
	return []Do{AskWorker}
}

// Extend moves the end of the grace period; it never shortens it.
func (s *Sequence) Extend(until time.Duration) {
	if s.phase == Asking && until > s.graceAt {
		s.graceAt = until
	}
}

// Quiet says that every process known to live has ended since the last count.
func (s *Sequence) Quiet() []Do {
	if s.phase == Asking || s.phase == Forcing {
		return []Do{Count}
	}
	return nil
}

// Counted takes the answer to Count.
func (s *Sequence) Counted(now time.Duration, c Census) []Do {
	if s.phase != Asking && s.phase != Forcing {
		return nil
	}
	s.living = c.Living
	if c.Living == 0 {
		s.empty++
		if c.Proven || s.empty >= emptyCounts {
			s.phase = Done
			return nil
		}
		return []Do{Count}
	}
	s.empty = 0
	if s.phase == Asking {
		return s.askMore(now, c)
	}
	if c.Denied == c.Living || now >= s.boundAt && s.rounds >= forceRounds {
		s.phase = Done
		return nil
	}
	if now >= s.again {
		return s.force(now)
	}
	return nil
}

func (s *Sequence) askMore(now time.Duration, c Census) []Do {
	if c.Denied == c.Living { // waiting for what cannot hear us is no use
		return s.force(now)
	}
	if !s.asked { // even if there is no grace at all
		s.asked = true
		return []Do{Ask}
	}
	if now >= s.graceAt {
		return s.force(now)
	}
	if s.alone {
		return s.askRest(now, c)
	}
	if c.Unasked > 0 {
		return []Do{AskNew}
	}
	return nil
}

// askRest asks what the worker has left behind, once it has ended.
func (s *Sequence) askRest(now time.Duration, c Census) []Do {
	if !c.Ended {
		return nil
	}
	s.alone = false
	s.backoff, s.again = askRecount, now+askRecount // newcomers are looked for as after a first signal
	return []Do{Ask}
}

func (s *Sequence) force(now time.Duration) []Do {
	if s.phase != Forcing {
		s.phase, s.boundAt, s.backoff = Forcing, now+ForceBound, forceAgain
	}
	// Entered before the signals go out, so that a crash in between errs on
	// the safe side.
	s.forced = true
	s.rounds++
	s.again = now + s.backoff
	s.backoff = min(2*s.backoff, forceAgainMax)
	return []Do{Force}
}

// Tick is called when Deadline has passed.
func (s *Sequence) Tick(now time.Duration) []Do {
	at, ok := s.Deadline()
	if !ok || now < at {
		return nil
	}
	if s.phase == Asking && s.asked && now >= s.graceAt {
		return s.force(now)
	}
	if s.phase == Asking {
		s.backoff = min(2*s.backoff, askRecountMax)
		s.again = now + s.backoff
	}
	return []Do{Count}
}

// Deadline is when Tick wants to be called next.
func (s *Sequence) Deadline() (at time.Duration, ok bool) {
	switch s.phase {
	case Asking:
		return min(s.graceAt, s.again), true
	case Forcing:
		return s.again, true
	}
	return 0, false
}

// Phase says where the sequence stands.
func (s *Sequence) Phase() Phase { return s.phase }

// Asked and Forced say which means were used so far.
func (s *Sequence) Asked() bool  { return s.asked }
func (s *Sequence) Forced() bool { return s.forced }

// Left is how many lived at the last count.
func (s *Sequence) Left() int { return s.living }
