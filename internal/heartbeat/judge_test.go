package heartbeat

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// defaults are those of the flags: misses count after 3, 5 and 7 s.
var defaults = Config{Interval: 2 * time.Second, Timeout: 10 * time.Second, MaxMissed: 3}

func within(startup time.Duration) Config {
	c := defaults
	c.Startup = startup
	return c
}

// judged plays a script, "0s ready; 2s beat; 10s end", to a Judge that is called as the
// machine calls it, and returns its verdicts.
//
// asleep T: the watchdog does not run until T, and then takes the messages sent meanwhile
// before it calls Tick. blind T: the same, but it calls Tick first.
func judged(t *testing.T, cfg Config, script string) string {
	p := play{t: t, j: NewJudge(cfg, 0)}
	for _, step := range strings.Split(script, ";") {
		words := strings.Fields(step)
		at, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatal(err)
		}
		p.until(at)
		switch what := words[1]; {
		case what == "asleep" || what == "blind":
			p.awake, _ = time.ParseDuration(words[2])
			p.blind = what == "blind"
		case what != "end":
			p.step(at, words[1:])
		}
	}
	return strings.Join(p.said, " ")
}

type play struct {
	t          *testing.T
	j          *Judge
	now, awake time.Duration
	blind      bool
	said       []string
}

// until ticks at each deadline before then.
func (p *play) until(then time.Duration) {
	for {
		due, ok := p.j.Deadline()
		due = max(due, p.now, p.awake)
		if !ok || due > then || due == then && !p.blind {
			return
		}
		p.tick(due)
	}
}

func (p *play) tick(now time.Duration) {
	if now > p.awake {
		p.blind = false
	}
	p.now = now
	p.j.Pass(now)
	switch v := p.j.Tick(now); {
	case v.Missed && v.Hung:
		p.verdict("missed+hung")
	case v.Hung:
		p.verdict("hung")
	case v.Missed:
		p.verdict("missed")
	case v.Late:
		p.verdict("late")
	}
}

func (p *play) verdict(what string) {
	p.said = append(p.said, fmt.Sprintf("%s@%gs", what, p.now.Seconds()))
}

func (p *play) step(at time.Duration, words []string) {
	if p.now = max(p.now, at, p.awake); p.blind && p.now == p.awake {
		p.tick(p.now)
	}
	switch words[0] {
	case "resumed":
		p.j.Stopped(p.now)
		p.j.Pass(p.now)
		return
	case "overflowed":
		p.j.Overflowed(p.now)
		p.j.Pass(p.now)
		return
	}
	p.j.Pass(p.now)
	var m Message
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		d, _ := time.ParseDuration(value)
		switch key {
		case "ready":
			m.Ready = true
		case "beat":
			m.Beat = Alive
		case "trigger":
			m.Beat = Trigger
		case "stopping":
			m.Stopping = true
		case "reloading":
			m.Reloading = true
		case "status":
			m.Status = "well"
		case "extend":
			m.Extend = d
		case "usec":
			m.Within, m.Rewatch = d, true
		default:
			p.t.Fatalf("word %q", w)
		}
	}
	if p.j.Heard(p.now, m) {
		p.verdict("trigger")
	}
}

func TestJudge(t *testing.T) {
	adopted := within(5 * time.Second)
	adopted.Adopted = true
	short := Config{Interval: 2 * time.Second, Timeout: 4 * time.Second, MaxMissed: 9}
	for _, c := range []struct {
		why    string
		cfg    Config
		script string
		want   string
	}{
		{"no message: silence does not count", defaults, "1h end", ""},
		{"silence counts from READY=1", defaults, "20s ready; 1h end", "missed@23s missed@25s missed+hung@27s"},
		{"or from the first beat", defaults, "20s beat; 1h end", "missed@23s missed@25s missed+hung@27s"},
		{"not from a status", defaults, "20s status; 1h end", ""},
		{"nor from an extension", defaults, "20s extend=1s; 1h end", ""},
		{"nor from a reload, nor from WATCHDOG_USEC", defaults, "20s reloading; 21s usec=2s; 1h end", ""},
		{"the timeout, if it comes first", short, "0s ready; 1h end", "missed@3s hung@4s"},
		{"an interval as long as the timeout", Config{Interval: time.Second, Timeout: time.Second, MaxMissed: 3}, "0s ready; 1h end", "hung@1s"},
		{"one miss is enough with MaxMissed 1", Config{Interval: time.Second, Timeout: time.Minute, MaxMissed: 1}, "0s ready; 1h end", "missed+hung@1.5s"},
		{"misses are counted in a row", defaults, "0s ready; 5.5s beat; 11s beat; 1h end",
			"missed@3s missed@5s missed@8.5s missed@10.5s missed@14s missed@16s missed+hung@18s"},
		{"just in time", defaults, "0s ready; 6.999s beat; 9s end", "missed@3s missed@5s"},
		{"READY=1 again is a sign of life", defaults, "0s ready; 2s ready; 4.9s end", ""},
		{"so is a reload", defaults, "0s ready; 2s reloading; 4.9s end", ""},
		{"a status is none", defaults, "0s ready; 2s status; 4.9s end", "missed@3s"},
		{"hung once, and never again", defaults, "0s ready; 8s beat; 1h end", "missed@3s missed@5s missed+hung@7s"},

		{"no silence after STOPPING=1", defaults, "0s ready; 1s stopping; 1h end", ""},
		{"not even with beats", defaults, "0s ready; 1s stopping; 2s beat; 3s ready; 1h end", ""},
		{"nor a start-up to wait for", within(5 * time.Second), "1s stopping; 1h end", ""},
		{"nor a trigger", defaults, "0s ready; 1s stopping; 2s trigger; 1h end", ""},

		{"during an extension silence does not count", defaults, "0s ready; 1s extend=20s; 23.9s end", ""},
		{"then it counts as usual", defaults, "0s ready; 1s extend=20s; 1h end", "missed@24s missed@26s missed+hung@28s"},
		{"a beat meanwhile takes nothing away", defaults, "0s ready; 1s extend=20s; 2s beat; 1h end", "missed@24s missed@26s missed+hung@28s"},
		{"it must be repeated", defaults, "0s ready; 1s extend=5s; 6s extend=5s; 1h end", "missed@14s missed@16s missed+hung@18s"},
		{"a shorter one takes nothing away", defaults, "0s ready; 1s extend=20s; 2s extend=1s; 23.9s end", ""},
		{"it counts from when it is sent", defaults, "0s ready; 4s extend=1s; 1h end", "missed@3s missed@8s missed@10s missed+hung@12s"},
		{"before READY=1, it holds after it too", defaults, "1s extend=20s; 2s ready; 23.9s end", ""},

		{"WATCHDOG_USEC: due every half of it, hung when all of it has passed", defaults, "0s ready; 1s usec=4s; 1h end", "missed@4s hung@5s"},
		{"0 turns heartbeats off", defaults, "0s ready; 1s usec=0s; 1h end", ""},
		{"until another is sent", defaults, "0s ready; 1s usec=0s; 100s usec=2s; 1h end", "missed@101.5s hung@102s"},
		{"a shorter one takes effect at once", defaults, "0s ready; 6s usec=1s; 1h end", "missed@3s missed@5s missed@6.75s hung@7s"},
		{"the start-up time is another thing", within(5 * time.Second), "1s usec=0s; 1h end", "late@5s"},

		{"the worker says that it is hung", defaults, "0s ready; 1s trigger; 2s end", "trigger@1s"},
		{"also before it was ready", defaults, "1s trigger; 2s end", "trigger@1s"},

		{"not ready in time", within(5 * time.Second), "1h end", "late@5s"},
		{"ready in time", within(5 * time.Second), "4.999s ready; 6s end", ""},
		{"a beat is not READY=1", within(5 * time.Second), "1s beat; 3s beat; 4.5s beat; 1h end", "late@5s"},
		{"hung before the start-up time is over", within(time.Minute), "1s beat; 59s end", "missed@4s missed@6s missed+hung@8s"},
		{"late once, and never again", within(5 * time.Second), "6s beat; 1h end", "late@5s"},
		{"more time for the start-up", within(5 * time.Second), "4s extend=10s; 1h end", "late@14s"},
		{"which must be repeated", within(5 * time.Second), "4s extend=3s; 6s extend=3s; 1h end", "late@9s"},
		{"and never means less", within(5 * time.Second), "1s extend=1s; 1h end", "late@5s"},

		// Time in which the watchdog did not run does not count.
		{"asleep, and the worker too", defaults, "0s ready; 1s asleep 100s; 1h end", "missed@103s missed@105s missed+hung@107s"},
		{"asleep, and the worker went on", defaults, "0s ready; 1s asleep 100s; 2s beat; 4s beat; 102.9s end", ""},
		{"asleep after two misses", defaults, "0s ready; 6s asleep 100s; 1h end", "missed@3s missed@5s missed+hung@101.75s"},
		{"a little late is no more than that", defaults, "0s ready; 2.9s asleep 3.05s; 1h end", "missed@3.05s missed@5.05s missed+hung@7.05s"},
		{"late by a quarter, and not known since when", defaults, "0s ready; 1s asleep 3.8s; 6.7s end", ""},
		{"late by less than a quarter", defaults, "0s ready; 1s asleep 3.7s; 5.6s end", "missed@3.7s"},
		{"stopped and continued in time to see it", defaults, "0s ready; 1s asleep 2.9s; 2.9s resumed; 5.8s end", ""},
		{"stopped in the start-up", within(5 * time.Second), "1s asleep 100s; 1h end", "late@105s"},
		{"and continued", within(5 * time.Second), "1s asleep 4s; 4s resumed; 1h end", "late@9s"},
		{"a little late in the start-up", within(5 * time.Second), "4.9s asleep 5.05s; 6s end", "late@5.05s"},
		{"checked before messages are read, after a stop", defaults, "0s ready; 2s beat; 4s beat; 4.5s blind 11.1s; 6s beat; 8s beat; 10s beat; 14s end", ""},
		{"and short of the last moment", defaults, "0s ready; 0.1s blind 7.05s; 2s beat; 4s beat; 6s beat; 7.1s end", ""},

		{"a little late after a short wait", defaults, "0s ready; 2.9s status; 2.95s asleep 3.05s; 6s end", "missed@3.05s missed@5.05s"},
		{"the start-up gains what a silence was noticed late", within(5 * time.Second), "1s beat; 3.95s asleep 4.05s; 5.2s end", "missed@4.05s late@5.05s"},
		{"there is one more check before each timeout", Config{Interval: 2 * time.Second, Timeout: 10 * time.Second, MaxMissed: 1},
			"0s ready; 2.5s beat; 2.6s blind 5.55s; 4.5s beat; 6s end", ""},

		{"an adopted worker may have been ready before", adopted, "4s beat; 6s end", ""},
		{"but has to send something", adopted, "4s status; 4.5s extend=1s; 1h end", "late@5.5s"},

		{"a flood: a beat may be in it", defaults, "0s ready; 6s overflowed; 8.9s end", "missed@3s missed@5s"},
		{"and READY=1", within(5 * time.Second), "4.5s overflowed; 5.4s overflowed; 1h end", "late@6.4s"},
		{"which is not made earlier", within(5 * time.Second), "1s overflowed; 1h end", "late@5s"},
		{"a flood starts nothing", defaults, "1s overflowed; 1h end", ""},
	} {
		if got := judged(t, c.cfg, c.script); got != c.want {
			t.Errorf("%s: %q\n gives %q\n want  %q", c.why, c.script, got, c.want)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		interval, timeout time.Duration
		missed            int
		want              time.Duration
	}{
		{2 * time.Second, 10 * time.Second, 3, 4 * time.Second}, // 2 × interval
		{2 * time.Second, 3 * time.Second, 3, 3 * time.Second},  // timeout
		{2 * time.Second, 10 * time.Second, 1, 2 * time.Second}, // interval × max-missed
		{2 * time.Second, 10 * time.Second, 2, 4 * time.Second},
		{2 * time.Second, 2 * time.Second, 1, 2 * time.Second},
		{time.Hour, 24 * time.Hour, 1000, 2 * time.Hour},
	} {
		if got := (Config{Interval: c.interval, Timeout: c.timeout, MaxMissed: c.missed}).Within(); got != c.want {
			t.Errorf("%v, %v, %d: %v, want %v", c.interval, c.timeout, c.missed, got, c.want)
		}
	}
}

// What is reported about a silence.
func TestSilence(t *testing.T) {
	j := NewJudge(defaults, 0)
	j.Heard(time.Second, Message{Ready: true})
	for i, now := range []time.Duration{4 * time.Second, 6 * time.Second} {
		for due, _ := j.Deadline(); due <= now; due, _ = j.Deadline() {
			j.Pass(due)
			j.Tick(due)
		}
		if j.Missed() != i+1 || j.Silence(now) != now-time.Second {
			t.Errorf("at %v: %d missed, silent for %v", now, j.Missed(), j.Silence(now))
		}
	}
	if j.Heard(6500*ms, Message{Extend: time.Second}); j.Missed() != 0 || j.Silence(7*time.Second) != 0 || j.Silence(8*time.Second) != 500*ms {
		t.Errorf("%d missed, silent for %v, then %v", j.Missed(), j.Silence(7*time.Second), j.Silence(8*time.Second))
	}
}

// The silence of a worker that starts later counts from its start, not from time 0.
func TestLaterWorker(t *testing.T) {
	j := NewJudge(within(5*time.Second), time.Hour)
	if at, ok := j.Deadline(); !ok || at != time.Hour+5*time.Second {
		t.Errorf("due %v, %t", at, ok)
	}
	if got := j.Silence(time.Hour + 3*time.Second); got != 3*time.Second {
		t.Errorf("silent for %v at the start", got)
	}
	if j.Pass(time.Hour + 50*ms); j.Tick(time.Hour+50*ms) != (Verdict{}) {
		t.Error("timed out at once")
	}
}

// A healthy worker causes no wake-up except for its beats.
func TestBeatsInTimeCauseNoWakeUp(t *testing.T) {
	for n := range 200 {
		cfg := Config{Interval: time.Duration(1+n%7) * 300 * ms, MaxMissed: 1 + n%5}
		cfg.Timeout = cfg.Interval + time.Duration(n)*40*ms
		j := NewJudge(cfg, 0)
		for now := time.Duration(0); now < time.Minute; now += cfg.Within() / 2 {
			if due, ok := j.Deadline(); ok && due <= now {
				t.Fatalf("%+v: a wake-up at %v, beats every %v", cfg, due, cfg.Within()/2)
			}
			j.Pass(now)
			j.Heard(now, Message{Beat: Alive})
		}
	}
}
