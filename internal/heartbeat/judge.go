package heartbeat

import "time"

// Config is what is asked of a worker.
type Config struct {
	// A beat is due every Interval. The worker hangs once MaxMissed in a row
	// are missed, or nothing came for the Timeout.
	Interval, Timeout time.Duration
	MaxMissed         int
	// Startup is how long READY=1 may take; 0: as long as it likes.
	Startup time.Duration
	// Adopted: the worker may have said READY=1 before anybody listened, so a
	// beat says it too.
	Adopted bool
}

// Within is what the worker is told (WATCHDOG_USEC): a library that beats at
// half of it never misses.
func (c Config) Within() time.Duration {
	return min(2*c.Interval, c.Timeout, c.Interval*time.Duration(c.MaxMissed))
}

// Verdict is what silence means.
type Verdict struct {
	Missed bool // one more beat
	Hung   bool
	Late   bool // not ready in time
}

// Judge judges the silence of one worker. Times are durations since any fixed
// moment, on a clock that stands still while the machine sleeps.
//
// Time in which we did not run ourselves is no silence: beats may have found
// no room, and whoever stopped us may have stopped the worker too. It shows as
// a deadline that is noticed late. To notice it soon enough, the silence is
// looked at once more some time before it is condemned.
type Judge struct {
	cfg      Config
	counting bool // since READY=1 or the first beat
	over     bool // STOPPING=1, or judged
	off      bool // WATCHDOG_USEC=0: nobody is to watch
	starting bool // READY=1 has a time to come
	checked  bool // we ran late in this silence
	missed   int
	last     time.Duration // sign of life; in the future if more time was asked for
	startAt  time.Duration // when READY=1 must have come
	seen     time.Duration // when we last ran
}

// NewJudge returns a judge of a worker that begins now.
func NewJudge(cfg Config, now time.Duration) *Judge {
	return &Judge{cfg: cfg, starting: cfg.Startup > 0, startAt: now + cfg.Startup, last: now, seen: now}
}

// Missed is how many beats in a row were missed.
func (j *Judge) Missed() int { return j.missed }

// Silence is how long there was no sign of life.
func (j *Judge) Silence(now time.Duration) time.Duration { return max(0, now-j.last) }

// Heard takes a message; it returns whether the worker says that it hangs.
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

// rewatch: a library beats at half of what it announced, and hangs when all of
// it is over.
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

// Drowned: so much came in that a beat may have been lost among it.
func (j *Judge) Drowned(now time.Duration) {
	j.alive(now)
	j.startAt = max(j.startAt, now+drowned)
}

const drowned = time.Second

// Stopped: we may have been kept from running since we last ran.
func (j *Judge) Stopped(now time.Duration) {
	j.shift(now - j.seen)
	j.seen = now
}

// Pass is called first whenever we run.
func (j *Judge) Pass(now time.Duration) {
	if due, ok := j.Deadline(); ok && now > due {
		late, waited := now-due, due-j.seen
		if late > max(waited/4, lateness) {
			// So late is who did not run at all, and nobody knows since when.
			j.shift(now - j.seen)
		} else {
			j.last += late
			j.startAt += late
		}
	}
	j.seen = max(j.seen, now)
}

// lateness of a wake-up is nothing strange up to this on a busy machine.
const lateness = 100 * time.Millisecond

func (j *Judge) shift(d time.Duration) {
	j.last += d
	j.startAt += d
	j.checked = false
}

// patience is the silence that means a hang.
func (j *Judge) patience() time.Duration {
	return min(j.cfg.Timeout, j.until(j.cfg.MaxMissed))
}

// until is the silence after which that many beats count as missed: half an
// interval late, so that a beat in every interval is never missed.
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
