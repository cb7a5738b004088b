package watchsim

import (
	"time"

	"leash/internal/heartbeat"
	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/watch"
)

// heart is the state of a Host for heartbeats and restarts.
type heart struct {
	on bool // heartbeats are wanted

	gens        int // workers so far
	row         int // restarts in a row
	resting     bool
	restFrom    time.Duration
	restStalled time.Duration // how long the watchdog did not run since then
	startStatus int           // of the last start, if it failed
	worker
}

// worker is the state of the current worker.
type worker struct {
	bornAt time.Duration
	every  time.Duration // between two beats
	left   int           // beats until befall is called
	sick   bool          // it missed a beat, perhaps because it was stopped
	hangs  bool          // it will send no more messages
	drains bool          // it extends the grace period when it is ended

	// What follows from the messages that were read.
	counting, off, exempt, ready, triggered bool
	last                                    time.Duration // sign of life, or the end of an extension
	patience                                time.Duration
	startBy                                 time.Duration // READY=1 may come until then
	loose                                   time.Duration // so much later a silence may be noticed

	outcome    string
	timedOut   bool
	timedOutAt time.Duration
	hook       *Proc
	hookAt     time.Duration
	hookDone   bool
	shockAt    time.Duration
}

// drawHeart draws the settings of heartbeats, hooks and restarts.
func (h *Host) drawHeart() {
	w := h.W
	cfg := &h.cfg
	if w.Chance(85) {
		h.heart.on = true
		b := heartbeat.Config{Interval: []time.Duration{100, 200, 400}[w.N(3)] * time.Millisecond, MaxMissed: 1 + w.N(3), Adopted: !h.Child}
		b.Timeout = b.Interval * time.Duration(2+w.N(9)) / 2
		if w.Chance(30) {
			b.Startup = w.Between(b.Interval, 2*time.Second)
		}
		cfg.Beats = &b
	}
	cfg.HangWait = []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second}[w.N(3)]
	if w.Chance(50) {
		cfg.HangSignal = abortSignal
	}
	cfg.HangCommand = w.Chance(50)
	if cfg.GraceMax = h.Grace; w.Chance(40) {
		cfg.GraceMax += w.Between(0, 3*time.Second)
	}
	if h.Child && w.Chance(60) {
		cfg.Restart = watch.RestartOnFailure + watch.Restart(w.N(2))
		cfg.MaxRestarts, cfg.Seed = w.N(4), w.Next()
	}
	cfg.Debug = w.Chance(10)
}

// live resets the state for a worker that starts.
func (h *Host) live() {
	o := &h.heart
	if !o.on {
		o.worker = worker{bornAt: h.W.now}
		return
	}
	w, b := h.W, h.cfg.Beats
	o.worker = worker{bornAt: w.now, every: b.Within() / 2, left: w.N(10), drains: w.Chance(50),
		patience: patience(*b), startBy: w.now + b.Startup}
	w.after(w.Between(0, b.Interval+b.Startup), timerBeat, h.root)
}

func patience(b heartbeat.Config) time.Duration {
	return min(b.Timeout, b.Interval*time.Duration(b.MaxMissed)+b.Interval/2)
}

// stalled: the watchdog did not run for d, so a silence may be noticed later.
func (o *heart) stalled(d time.Duration) {
	o.loose += d + o.patience + max(0, o.startBy-o.bornAt)
	o.restStalled += d
}

// Hook implements watch.Host. The command is a child of the watchdog, so under the subreaper
// it must end too.
func (h *Host) Hook(reason string) error {
	w, o := h.W, &h.heart
	h.begin("► hook", reason)
	if !h.cfg.HangCommand || !o.timedOut || reason != o.outcome || o.hookAt > 0 || h.ending {
		w.fail("a command for a hung worker, out of place ("+reason+")", nil)
	}
	o.hookAt = w.now
	before := len(w.System.hooks)
	err := h.RunHook(system.Command{Path: "/bin/hook"})
	if err != nil {
		o.hookDone = true
		return err
	}
	o.hook = w.System.hooks[before].p
	if h.hold.Hold().Parent != 0 {
		o.hook.Tree = h
		for _, p := range w.live { // it may have forked already
			if p.group == o.hook && p.Tree == nil {
				p.Tree = h
			}
		}
	}
	if h.ears != nil && w.Chance(30) {
		h.say(o.hook, heartbeat.Message{Beat: heartbeat.Alive})
	}
	if w.Chance(70) {
		kind := timerExit
		if w.Chance(50) {
			kind = timerLeave
		}
		w.after(w.Between(0, 2*h.cfg.HangWait), kind, o.hook)
	}
	return nil
}

// EndHook implements watch.Host.
func (h *Host) EndHook() {
	h.begin("► end hook", "")
	h.Worker.EndHook()
	for _, p := range h.W.live {
		if o := h.heart.hook; o != nil && p.group == o && (o.group == o || h.W.GroupByHandle) && p.phase == alive && !p.pendKill {
			h.W.fail("the hook was ended, but not all of its group", p)
		}
	}
}

// SignalHung implements watch.Host.
func (h *Host) SignalHung(sig proc.Signal) []stop.Sent {
	o := &h.heart
	h.begin("► hang signal", sig.Name)
	early := h.cfg.HangCommand && !o.hookDone && h.W.now < o.hookAt+h.cfg.HangWait-moment
	if sig != h.cfg.HangSignal || !o.timedOut || o.shockAt > 0 || h.ending || early {
		h.W.fail("a hang signal, out of place", nil)
	}
	o.shockAt = h.W.now
	return h.Worker.SignalHung(sig)
}
