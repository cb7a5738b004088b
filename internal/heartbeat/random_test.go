package heartbeat

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// life is a worker and its watchdog with random times.
type life struct {
	*rand.Rand
	cfg Config
	j   *Judge
	now time.Duration

	due     []time.Duration // beats that were sent and not read yet
	beatAt  time.Duration   // the next
	silent  bool
	hung    time.Duration // 0: not hung
	missed  int
	stalled time.Duration // and what the Judge may lose with each stall
	log     []string
}

func newLife(seed uint64) *life {
	r := rand.New(rand.NewPCG(seed, 4))
	l := &life{Rand: r, cfg: Config{Interval: time.Duration(1+r.IntN(5000)) * ms, MaxMissed: 1 + r.IntN(6)}}
	if l.cfg.Timeout = l.cfg.Interval; r.IntN(4) > 0 {
		l.cfg.Timeout += time.Duration(r.Int64N(int64(10 * l.cfg.Interval)))
	}
	l.j = NewJudge(l.cfg, 0)
	l.j.Heard(0, Message{Ready: true})
	l.beatAt = l.pause()
	return l
}

// pause is the time between two beats of a healthy worker: half of WATCHDOG_USEC, and up to
// a quarter of the interval more, since it has other things to do too.
func (l *life) pause() time.Duration {
	return l.cfg.Within()/2 + time.Duration(l.Int64N(int64(l.cfg.Interval/4)))
}

func (l *life) note(format string, args ...any) {
	l.log = append(l.log, fmt.Sprintf("%12v  ", l.now)+fmt.Sprintf(format, args...))
}

// pass lets the worker live until then.
func (l *life) pass(then time.Duration) {
	for !l.silent && l.beatAt <= then {
		l.due = append(l.due, l.beatAt)
		l.beatAt += l.pause()
	}
	l.now = max(l.now, then)
}

// wake is one wake-up of the watchdog: it reads messages, then calls Tick.
func (l *life) wake() {
	for range l.due {
		l.j.Pass(l.now)
		l.j.Heard(l.now, Message{Beat: Alive})
		l.note("heard")
	}
	l.due = l.due[:0]
	l.j.Pass(l.now)
	if due, ok := l.j.Deadline(); !ok || due > l.now {
		return
	}
	v := l.j.Tick(l.now)
	l.note("tick: %+v", v)
	if v.Missed {
		l.missed++
	}
	if v.Hung {
		l.hung = l.now
	}
}

// next is when the watchdog wakes up if it is not stopped.
func (l *life) next() time.Duration {
	at := l.beatAt
	if l.silent {
		at = 1 << 62
	}
	if due, ok := l.j.Deadline(); ok {
		at = min(at, due)
	}
	return max(at, l.now)
}

// frozen stops worker and watchdog; only the clock shows it.
func (l *life) frozen(d time.Duration) {
	l.note("all stood still for %v", d)
	l.now += d
	l.beatAt += d
	l.stalled += d + l.cfg.Timeout
}

// hindered stops the watchdog alone.
func (l *life) hindered(d time.Duration) {
	l.note("the watchdog did not run for %v", d)
	l.pass(l.now + d)
	l.stalled += d + l.cfg.Timeout
}

func (l *life) some(most time.Duration) time.Duration {
	return time.Duration(l.Int64N(int64(most) + 1))
}

// mishap is one of the ways in which the watchdog does not run for some time.
func (l *life) mishap() {
	// Some of the time until the next wake-up has passed.
	if next := l.next(); next < 1<<61 {
		l.pass(l.now + l.some(next-l.now))
	}
	switch l.IntN(4) {
	case 0: // SIGSTOP to all, then SIGCONT, which the watchdog handles
		l.frozen(l.some(3 * l.cfg.Timeout))
		l.j.Stopped(l.now)
	case 1: // no signal, but a long time
		l.frozen(2*l.cfg.Timeout + time.Second + l.some(time.Hour))
	case 2:
		l.hindered(l.some(3 * l.cfg.Timeout))
	case 3:
		l.hindered(l.some(200 * ms))
	}
	l.wake()
}

func (l *life) fail(t *testing.T, seed uint64, what string) {
	t.Helper()
	text := ""
	for _, line := range l.log[max(0, len(l.log)-20):] {
		text += line + "\n"
	}
	t.Fatalf("seed %d: %s; %+v\n%s", seed, what, l.cfg, text)
}

const lives = 20_000

// A worker that beats is never hung, whatever stops the watchdog, or both.
func TestHealthyIsNeverHung(t *testing.T) {
	wakes := 0
	for seed := range uint64(lives) {
		l := newLife(seed)
		for range 60 {
			if l.IntN(8) == 0 {
				l.mishap()
			} else {
				l.pass(l.next())
				l.wake()
			}
			if wakes++; l.hung > 0 {
				l.fail(t, seed, "hung")
			}
		}
	}
	t.Logf("%d lives, %d wake-ups", lives, wakes)
}

// If neither is stopped no beat is missed either.
func TestHealthyMissesNothing(t *testing.T) {
	for seed := range uint64(lives / 4) {
		l := newLife(seed)
		for range 60 {
			l.pass(l.next())
			if l.wake(); l.missed > 0 || l.hung > 0 {
				l.fail(t, seed, "missed")
			}
		}
	}
}

// A silent worker is hung when its time is over, not earlier and not later, and each
// missed beat is reported singly.
func TestSilentIsHungInTime(t *testing.T) {
	for seed := range uint64(lives) {
		l := newLife(seed)
		for range l.IntN(20) {
			l.pass(l.next())
			l.wake()
		}
		l.silent = true
		last, missed, wakes := l.j.last, 0, 0
		for ; l.hung == 0 && wakes < 50; wakes++ {
			l.pass(l.next())
			if l.wake(); l.missed > missed {
				if missed++; l.now != last+l.cfg.Interval*time.Duration(missed)+l.cfg.Interval/2 {
					l.fail(t, seed, "a miss at another time")
				}
			}
		}
		want := min(l.cfg.Timeout, l.cfg.Interval*time.Duration(l.cfg.MaxMissed)+l.cfg.Interval/2)
		if l.hung-last != want || l.missed > l.cfg.MaxMissed || l.j.Missed() != l.missed || wakes > missed+2 {
			l.fail(t, seed, fmt.Sprintf("hung after %v, want %v; %d wake-ups", l.hung-last, want, wakes))
		}
	}
}

// Each mishap delays the timeout by at most its own duration and the silence counted until
// then.
func TestSilentIsHungAtLast(t *testing.T) {
	for seed := range uint64(lives) {
		l := newLife(seed)
		l.silent = true
		begun := l.now
		for n := 0; l.hung == 0; n++ {
			if n < 20 && l.IntN(2) == 0 {
				l.mishap()
			} else {
				l.pass(l.next())
				l.wake()
			}
			if n == 200 {
				l.fail(t, seed, "never hung")
			}
		}
		if most := l.cfg.Timeout + l.stalled; l.hung-begun > most {
			l.fail(t, seed, fmt.Sprintf("hung after %v, want at most %v", l.hung-begun, most))
		}
	}
}
