package reap

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"leash/internal/stop"
)

// A process that forks and ends faster than it can be opened is not taken for gone.
func TestVanished(t *testing.T) {
	s := newStub(t)
	s.add(20, func(p *stubProc) { p.behind = nil })
	all := s.want("", "20 3")
	if len(all) != 1 || all[0].Run.ID != theRun || !strings.Contains(all[0].Reason, "faster") {
		t.Errorf("%+v", all)
	}
	if least := s.grace + stop.KillBound; s.now < least {
		t.Errorf("it gave up after %v, before %v", s.now, least)
	}
	if most := 1000; s.scans > most {
		t.Errorf("%d scans", s.scans)
	}

	s = newStub(t)
	s.add(20, young(), func(p *stubProc) { // not reaped yet
		now := p.Process
		now.State = 'Z'
		p.behind = &now
	})
	if all := s.want("", "20 3"); len(all) != 1 || !strings.Contains(all[0].Reason, "faster") {
		t.Errorf("a zombie whenever it is opened: %+v", all)
	}

	s = newStub(t)
	once := s.add(20, func(p *stubProc) { p.behind = nil })
	s.takes = []func() error{nil, func() error { once.EnvRuns = nil; return nil }}
	if s.want(""); s.scans < 3 || s.now > time.Second {
		t.Errorf("a process was missed once: %d scans in %v", s.scans, s.now)
	}
}

// Two scans that prove something together are some time apart, unless there was
// nothing to be done.
func TestScansAreApart(t *testing.T) {
	s := newStub(t)
	s.add(20)
	s.want("TERM 20", "20 1")
	if n := len(s.scannedAt); n < 3 || s.scannedAt[n-1]-s.scannedAt[n-2] < apart {
		t.Errorf("scans at %v", s.scannedAt)
	}
	s = newStub(t)
	if s.want(""); len(s.scannedAt) != 2 || s.now != 0 {
		t.Errorf("scans at %v, with nothing to do", s.scannedAt)
	}
}

// Nothing is ended on an incomplete scan: the owner may be what is missing.
func TestIncompleteScan(t *testing.T) {
	few := errors.New("too few descriptors")
	s := newStub(t)
	s.add(20)
	s.incomplete = func(int) error { return few }
	if all, _, err := s.run(); !errors.Is(err, few) || len(all)+len(s.log) > 0 {
		t.Errorf("the first scan is incomplete: %+v, %v, %v", all, s.log, err)
	}

	s = newStub(t)
	s.add(20)
	late := s.add(21)
	late.dead = true
	s.takes = []func() error{nil, func() error { late.dead = false; return nil }}
	s.incomplete = func(scan int) error { return map[bool]error{true: few}[scan == 3] }
	if all, _, err := s.run(); !errors.Is(err, few) || slices.Contains(s.log, "KILL 21") {
		t.Errorf("a later scan is incomplete: %+v, %v, %v", all, s.log, err)
	}

	s = newStub(t)
	s.add(20, stays)
	s.add(21, func(p *stubProc) { p.err = few })
	s.incomplete = func(scan int) error { return map[bool]error{true: few}[scan == 2] }
	if all, _, err := s.run(); err != nil || len(all) != 2 {
		t.Errorf("incomplete while a process is being ended, which frees descriptors: %+v, %v", all, err)
	}
}

// While the members are stopped no signal may end the reaper.
func TestShield(t *testing.T) {
	s := newStub(t)
	s.add(20, stays)
	s.shield = func() func() {
		s.log = append(s.log, "(")
		return func() { s.log = append(s.log, ")") }
	}
	s.run()
	text := strings.Join(s.log, " ")
	if !strings.HasPrefix(text, "TERM 20 CONT 20 ( STOP 20 KILL 20 )") && !strings.HasPrefix(text, "TERM 20 CONT 20 ( STOP 20 STOP 20 KILL 20 )") {
		t.Error(text)
	}
}
