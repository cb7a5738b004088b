package heartbeat

import "time"

// Config says which heartbeats a worker must send.
type Config struct {
	// A beat is due every Interval. The worker is hung once MaxMissed in a row were
	// missed, or no message came for Timeout.
	Interval, Timeout time.Duration
	MaxMissed         int
	// Startup is how long READY=1 may take; 0: no limit.
	Startup time.Duration
	// Adopted: the worker ran before its watchdog and may have sent READY=1 already, so
	// a beat counts as READY=1 too.
	Adopted bool
}

// Within is the value of WATCHDOG_USEC for the worker: a library that beats every half of
// it never misses.
func (c Config) Within() time.Duration {
	return min(2*c.Interval, c.Timeout, c.Interval*time.Duration(c.MaxMissed))
}

// Verdict is the result of Tick.
type Verdict struct {
	Missed bool // one more beat was missed
	Hung   bool
	Late   bool // not ready in time
}

// Judge decides from the messages of one worker whether it timed out. Times are durations
// since any fixed moment, on a clock that stands still while the machine sleeps.
//
// Time in which this process did not run does not count as silence: beats may have been
// dropped because the socket was full, and the worker may have been stopped too. Such time
// is noticed by a deadline that is handled late. For that reason there is one more deadline
// before the timeout.
type Judge struct {
	cfg      Config
	counting bool // since READY=1 or the first beat
	over     bool // STOPPING=1 came, or the worker timed out
	off      bool // WATCHDOG_USEC=0: heartbeats are off
	starting bool // waiting for READY=1, with a limit
	checked  bool // the deadline before the timeout was handled in this silence
	missed   int
	last     time.Duration // of the last sign of life; in the future after EXTEND_TIMEOUT_USEC
	startAt  time.Duration // when READY=1 must have come
	seen     time.Duration // when this process last ran
}

// NewJudge returns a Judge for a worker that starts now.
func NewJudge(cfg Config, now time.Duration) *Judge {
	return &Judge{cfg: cfg, starting: cfg.Startup > 0, startAt: now + cfg.Startup, last: now, seen: now}
}

// Missed is how many beats in a row were missed.
func (j *Judge) Missed() int { return j.missed }

// Silence is the time since the last sign of life.
func (j *Judge) Silence(now time.Duration) time.Duration { return max(0, now-j.last) }

// Heard takes a message. trigger reports whether the worker says that it is hung
// (WATCHDOG=trigger).
func (j *Judge) Heard(now time.Duration, m Message) (trigger bool) {
	if m.Ready || j.cfg.Adopted && m.Beat == Alive {
		j.starting = false
	}
	if m.Stopping {
		j.over, j.starting = true, false
	}
	if m.Rewatch {
		j.rewatch(m.Within)
	}
	j.counting = j.counting || m.Ready || m.Beat == Alive
	if m.Ready || m.Reloading || m.Rewatch || m.Beat == Alive || m.Extend > 0 {
		j.alive(now)
	}
	if m.Extend > 0 {
		j.last = max(j.last, now+m.Extend)
		j.startAt = max(j.startAt, now+m.Extend)
	}
	return m.Beat == Trigger && !j.over
}

// rewatch takes WATCHDOG_USEC: a beat is due every half of it, and the worker is hung when
// all of it has passed.
func (j *Judge) rewatch(within time.Duration) {
	if j.off = within == 0; !j.off {
		j.cfg.Interval, j.cfg.Timeout, j.cfg.MaxMissed = within/2, within, 2
	}
}

func (j *Judge) judging() bool { return j.counting && !j.over && !j.off }

func (j *Judge) alive(now time.Duration) {
	j.last = max(j.last, now)
	j.missed, j.checked = 0, false
}

// Overflowed takes the news that messages exceeded the rate limit, so that a beat may have
// been lost.
func (j *Judge) Overflowed(now time.Duration) {
	j.alive(now)
	j.startAt = max(j.startAt, now+overflowed)
}

const overflowed = time.Second

// Stopped takes the news that this process may have been stopped since it last ran.
func (j *Judge) Stopped(now time.Duration) {
	j.shift(now - j.seen)
	j.seen = now
}

// Pass is called first whenever this process wakes up.
func (j *Judge) Pass(now time.Duration) {
	if due, ok := j.Deadline(); ok && now > due {
		late, waited := now-due, due-j.seen
		if late > max(waited/4, lateness) {
			// So late a process did not run at all, and it is not known since when.
			j.shift(now - j.seen)
		} else {
			j.last += late
			j.startAt += late
		}
	}
	j.seen = max(j.seen, now)
}

// lateness is how late a wake-up may be on a busy machine.
const lateness = 100 * time.Millisecond

func (j *Judge) shift(d time.Duration) {
	j.last += d
	j.startAt += d
	j.checked = false
}

// patience is the silence after which the worker is hung.
func (j *Judge) patience() time.Duration {
	return min(j.cfg.Timeout, j.until(j.cfg.MaxMissed))
}

// until is the silence after which that many beats count as missed. It is half an interval
// longer, so that a worker that beats once in every interval misses none.
func (j *Judge) until(missed int) time.Duration {
	return j.cfg.Interval*time.Duration(missed) + j.cfg.Interval/2
}

// Deadline is when Tick wants to be called next.
func (j *Judge) Deadline() (at time.Duration, ok bool) {
	if j.judging() {
		silence := min(j.patience(), j.until(j.missed+1))
		if check := j.checkAfter(); !j.checked {
			silence = min(silence, check)
		}
		at, ok = j.last+silence, true
	}
	if j.starting && (!ok || j.startAt < at) {
		at, ok = j.startAt, true
	}
	return at, ok
}

func (j *Judge) checkAfter() time.Duration { return j.patience() * 3 / 4 }

// Tick is called when Deadline has passed, after Pass.
func (j *Judge) Tick(now time.Duration) (v Verdict) {
	if j.starting && now >= j.startAt {
		j.over, j.starting = true, false
		return Verdict{Late: true}
	}
	if !j.judging() {
		return v
	}
	silence := now - j.last
	j.checked = j.checked || silence >= j.checkAfter()
	if silence >= j.until(j.missed+1) {
		j.missed++
		v.Missed = true
	}
	v.Hung = silence >= j.patience()
	j.over = v.Hung
	return v
}
