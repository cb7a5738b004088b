// Package stop ends a process tree: stop signal, grace period, kill, count, and
// again, until no process is left or the rest cannot be ended. Sequence decides and
// is pure; Tree performs, through a Kernel.
package stop

import "time"

// Phase is where a Sequence stands.
//
//	        Begin               grace over
//	Idle ───────────► Stopping ────────────────► Killing ──┐ Kill, Count,
//	                    │  ▲ Count: some live     │  ▲   │ again
//	                    ▼  │                      ▼  └───┘
//	               Count: none (twice, or proven) ───► Done
//	                                                    ▲
//	                all that is left cannot be ended, or the bound is reached
//
// After BeginWithWorker the stop signal goes to the worker alone, and to the rest of
// the tree when a count finds that the worker has ended, all in one grace period.
type Phase int

const (
	Idle Phase = iota
	Stopping
	Killing
	Done
)

func (p Phase) String() string { return [...]string{"idle", "stopping", "killing", "done"}[p] }

// Do is what the sequence wants done next.
type Do int

const (
	// SignalAll sends the stop signal to the whole tree, SignalNew to processes
	// found since.
	SignalAll Do = iota
	SignalNew
	// Kill sends SIGKILL to every process that is found.
	Kill
	// Count scans the tree; its answer goes to Counted.
	Count
	// SignalWorker sends the stop signal to the worker alone.
	SignalWorker
)

func (d Do) String() string {
	return [...]string{"signal-all", "signal-new", "kill", "count", "signal-worker"}[d]
}

// Census is the answer to Count.
type Census struct {
	// Living is how many processes live; zombies do not count.
	Living int
	// Unsignalled of the living have not had the stop signal yet.
	Unsignalled int
	// Denied of the living may not be signalled by us (another user's).
	Denied int
	// Ended: the worker itself has ended.
	Ended bool
	// Proven: Living == 0 is certain and needs no second count.
	Proven bool
}

const (
	// KillBound is how long kills are repeated before what is left is reported:
	// a process that frees 100 GB needs seconds to die.
	KillBound = 10 * time.Second
	// forceRounds are needed besides: this process may have been stopped all that time.
	// They take 2.2 s.
	forceRounds = 10

	askRecount    = 100 * time.Millisecond
	askRecountMax = time.Second
	forceAgain    = 5 * time.Millisecond
	forceAgainMax = 500 * time.Millisecond
	// emptyCounts in a row are needed where a single count proves nothing.
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
	rounds  int // of kills
	asked   bool
	alone   bool // only the worker has had the stop signal
	forced  bool
	living  int
}

// Begin starts the sequence. With count it counts before it sends stop signals, for
// a tree that may be empty. A second call has no effect.
func (s *Sequence) Begin(now, grace time.Duration, count bool) []Do {
	if s.phase != Idle {
		return nil
	}
	s.phase, s.grace = Stopping, grace
	s.graceAt = now + grace
	s.backoff, s.again = askRecount, now+askRecount
	if count {
		return []Do{Count}
	}
	s.asked = true
	return []Do{SignalAll}
}

// KillNow kills at once, without a stop signal or the rest of the grace period.
func (s *Sequence) KillNow(now time.Duration) []Do {
	if s.phase == Killing || s.phase == Done {
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
	return []Do{SignalWorker}
}

// Extend moves the end of the grace period; it never shortens it.
func (s *Sequence) Extend(until time.Duration) {
	if s.phase == Stopping && until > s.graceAt {
		s.graceAt = until
	}
}

// Quiet takes the news that every process counted last has ended since.
func (s *Sequence) Quiet() []Do {
	if s.phase == Stopping || s.phase == Killing {
		return []Do{Count}
	}
	return nil
}

// Counted takes the answer to Count.
func (s *Sequence) Counted(now time.Duration, c Census) []Do {
	if s.phase != Stopping && s.phase != Killing {
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
	if s.phase == Stopping {
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
	if c.Denied == c.Living { // no process is left that could be signalled
		return s.force(now)
	}
	if !s.asked { // even if there is no grace at all
		s.asked = true
		return []Do{SignalAll}
	}
	if now >= s.graceAt {
		return s.force(now)
	}
	if s.alone {
		return s.askRest(now, c)
	}
	if c.Unsignalled > 0 {
		return []Do{SignalNew}
	}
	return nil
}

// askRest has the rest of the tree signalled once the worker has ended.
func (s *Sequence) askRest(now time.Duration, c Census) []Do {
	if !c.Ended {
		return nil
	}
	s.alone = false
	s.backoff, s.again = askRecount, now+askRecount // recount as often as after a first signal
	return []Do{SignalAll}
}

func (s *Sequence) force(now time.Duration) []Do {
	if s.phase != Killing {
		s.phase, s.boundAt, s.backoff = Killing, now+KillBound, forceAgain
	}
	// Set before the signals are sent: a crash in between must not leave a kill
	// unrecorded.
	s.forced = true
	s.rounds++
	s.again = now + s.backoff
	s.backoff = min(2*s.backoff, forceAgainMax)
	return []Do{Kill}
}

// Tick is called when Deadline has passed.
func (s *Sequence) Tick(now time.Duration) []Do {
	at, ok := s.Deadline()
	if !ok || now < at {
		return nil
	}
	if s.phase == Stopping && s.asked && now >= s.graceAt {
		return s.force(now)
	}
	if s.phase == Stopping {
		s.backoff = min(2*s.backoff, askRecountMax)
		s.again = now + s.backoff
	}
	return []Do{Count}
}

// Deadline is when Tick wants to be called next.
func (s *Sequence) Deadline() (at time.Duration, ok bool) {
	switch s.phase {
	case Stopping:
		return min(s.graceAt, s.again), true
	case Killing:
		return s.again, true
	}
	return 0, false
}

// Phase says where the sequence stands.
func (s *Sequence) Phase() Phase { return s.phase }

// Signalled reports whether a stop signal was sent.
func (s *Sequence) Signalled() bool { return s.asked }

// Killed reports whether a kill was sent.
func (s *Sequence) Killed() bool { return s.forced }

// Left is how many processes lived at the last count.
func (s *Sequence) Left() int { return s.living }
