package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"leash/internal/event"
	"leash/internal/flagvalue"
	"leash/internal/oneline"
	"leash/internal/proc"
	"leash/internal/rpc"
	"leash/internal/runid"
	"leash/internal/system"
	"leash/internal/version"
	"leash/platform"
	"leash/watch"
	"leash/watch/pool"
)

// poolProgram is the program around the workers of a pool.
type poolProgram struct {
	*settings
	sys     system.System
	out     *rpc.Out
	log     *event.Logger
	params  *parameters
	pool    *pool.Pool
	base    *watchdog // watches the parents
	above   []proc.Info
	env     []string
	null    *os.File
	state   *os.File // the folder of the ledger; nil until it was opened
	named   bool     // the run ID was given
	parts   int      // workers that were begun
	stopped bool     // its last words are waited for longer
}

// How long the pool waits at its end for its parent to read the last lines.
const (
	lastWords  = 5 * time.Second
	lastBreath = 300 * time.Millisecond
)

// runPool serves the requests of one parent until its end.
func runPool(s *settings) int {
	// Two threads of Go code: one watches, the other writes what workers print.
	runtime.GOMAXPROCS(min(2, runtime.GOMAXPROCS(0)))
	debug.SetGCPercent(50)
	p := &poolProgram{settings: s, env: os.Environ(), named: s.runID != ""}
	status, err := p.serve()
	if err != nil {
		return fail(err)
	}
	return status
}

func (p *poolProgram) serve() (status int, err error) {
	if p.sys, err = platform.New(p.backend); err != nil {
		return 0, err
	}
	defer p.sys.Close()
	shares, ok := p.sys.(system.Shares)
	if !ok {
		return 0, errors.New("pool: it is not supported on this system: start a watchdog for each worker")
	}
	if p.params, err = newParameters(); err != nil {
		return 0, err
	}
	if p.runID == "" {
		if p.runID, err = runid.New(platform.Random); err != nil {
			return 0, err
		}
	}
	if p.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return 0, err
	}
	p.above = p.sys.Ancestors()
	p.base = &watchdog{settings: p.settings, Worker: watch.NewMember(p.sys, p.pollInterval, false, p.above)}
	defer p.base.Close()
	first, err := p.base.watchParents()
	if err != nil {
		return 0, err
	}
	if err := p.sys.Listen(false); err != nil {
		return 0, err
	}
	gone := make(chan struct{})
	p.out = rpc.NewOut(os.Stdout, func(err error) { oneline.Error(os.Stderr, "watchdog", unheard(err, gone)) })
	if err := p.openEvents(); err != nil {
		return 0, err
	}
	p.pool = pool.New(p.sys, p, p.base.Worker, p.out)
	p.pool.Loop.Signalled = p.signalled
	p.Log(watch.Record{Event: event.PoolStarted, Text: "ready for requests", Attrs: []slog.Attr{
		slog.String(event.Backend, p.sys.Backend()),
		slog.String(event.Containment, strings.Join(shares.Prepare(p.sentinel == sentinelAuto), ",")),
		slog.String(event.Version, version.Version()),
	}})
	if dead, ok := first.(watch.ParentDied); ok {
		r := watch.ParentDeath(dead)
		r.Text, r.Level = "the parent has exited, or never existed: no worker is started", slog.LevelWarn
		p.Log(r)
		p.pool.ParentDied(dead)
	}
	in := newRequests(os.Stdin, p.out, shares.Poke, gone)
	for !p.pool.Over() {
		if !in.take(p) && !p.pool.Over() {
			if err := p.pool.Round(); err != nil {
				return 0, err
			}
		}
	}
	rest := shares.EndRest()
	in.refuse(p)
	if p.stopped {
		p.out.Flush(lastWords)
	} else {
		p.out.Flush(lastBreath)
	}
	if p.pool.Trouble > 0 || !rest {
		return 1, nil
	}
	return 0, nil
}

// unheard says why nothing can be written any more. A parent that has ended closes its other
// end of standard input too, a moment earlier or later.
func unheard(err error, gone <-chan struct{}) error {
	select {
	case <-gone:
		return errors.New("pool: the parent has exited: its workers are ended, and nobody reads what becomes of them")
	case <-time.After(lastBreath / 2):
		return fmt.Errorf("pool: answers and events cannot be written any more (%w): the workers are guarded as before", err)
	}
}

// signalled is what a signal to the pool means.
func (p *poolProgram) signalled(s proc.Signal) {
	switch s.Name {
	case "SIGTERM", "SIGINT", "SIGQUIT":
		p.stopped = true
		p.pool.End()
	case "SIGCONT":
		p.pool.Resumed()
	}
}

// openEvents has events told to the parent, and written where the flags say.
func (p *poolProgram) openEvents() error {
	level := event.Level(p.logLevel, true)
	p.log = event.New(eventSink{p.out}, "json", level)
	if p.logFile != "" || p.logFD >= 0 {
		w := &watchdog{settings: p.settings}
		if err := w.openLog(); err != nil {
			return err
		}
		p.log = p.log.Tee(w.log)
	}
	return nil
}

// eventSink makes notifications of records.
type eventSink struct{ out *rpc.Out }

func (s eventSink) Write(b []byte) (int, error) {
	if err := s.out.Event(rpc.Notification("event", b[:len(b)-1])); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Log writes a record of the pool itself.
func (p *poolProgram) Log(r watch.Record) {
	rec := slog.NewRecord(time.Now(), r.Level, r.Text, 0)
	rec.AddAttrs(slog.String(event.Event, r.Event), slog.String(event.RunID, p.runID), slog.Int(event.ParentPID, p.base.parent))
	rec.AddAttrs(r.Attrs...)
	p.log.Write(rec)
}

// Signal reads the name or number of a signal.
func (p *poolProgram) Signal(text string) (proc.Signal, error) {
	if err := checkSignal("signal", text); err != nil {
		return proc.Signal{}, fmt.Errorf("%q is not a signal of this system", text)
	}
	sig, _ := platform.ParseSignal(text)
	return sig, nil
}

// Grace reads a grace period.
func (p *poolProgram) Grace(text string) (time.Duration, error) {
	d, err := flagvalue.Span(text)
	if err == nil && (d < 0 || d > maxGrace) {
		err = fmt.Errorf("%v is not between 0s and %v", d, maxGrace)
	}
	return d, err
}
