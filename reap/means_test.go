package reap

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"leash/internal/stop"
)

// Who forks and ends faster than he can be opened is not taken for gone.
func TestVanished(t *testing.T) {
	s := newStub(t)
	s.add(20, func(p *stubProc) { p.behind = nil })
	all := s.want("", "20 3")
	if len(all) != 1 || all[0].Run.ID != theRun || !strings.Contains(all[0].Reason, "faster") {
		t.Errorf("%+v", all)
	}
	if least := s.grace + stop.ForceBound; s.now < least {
		t.Errorf("it gave up after %v, before %v", s.now, least)
	}
	if most := 1000; s.looks > most {
		t.Errorf("%d looks", s.looks)
	}

	s = newStub(t)
	once := s.add(20, func(p *stubProc) { p.behind = nil })
	s.takes = []func() error{nil, func() error { once.EnvRuns = nil; return nil }}
	if s.want(""); s.looks < 3 || s.now > time.Second {
		t.Errorf("who was missed once: %d looks in %v", s.looks, s.now)
	}
}

// Two looks that are to prove something together stand apart, unless there was
// nothing to be done.
func TestLooksStandApart(t *testing.T) {
	s := newStub(t)
	s.add(20)
	s.want("TERM 20", "20 1")
	if n := len(s.lookAt); n < 3 || s.lookAt[n-1]-s.lookAt[n-2] < apart {
		t.Errorf("looks at %v", s.lookAt)
	}
	s = newStub(t)
	if s.want(""); len(s.lookAt) != 2 || s.now != 0 {
		t.Errorf("looks at %v of nothing", s.lookAt)
	}
}

// A look that lacks the means condemns nobody: the owner may be what it lacks.
func TestTornLook(t *testing.T) {
	few := errors.New("too few descriptors")
	s := newStub(t)
	s.add(20)
	s.torn = func(int) error { return few }
	if all, _, err := s.run(); !errors.Is(err, few) || len(all)+len(s.log) > 0 {
		t.Errorf("the first look is torn: %+v, %v, %v", all, s.log, err)
	}

	s = newStub(t)
	s.add(20)
	late := s.add(21)
	late.dead = true
	s.takes = []func() error{nil, func() error { late.dead = false; return nil }}
	s.torn = func(look int) error { return map[bool]error{true: few}[look == 3] }
	if all, _, err := s.run(); !errors.Is(err, few) || slices.Contains(s.log, "KILL 21") {
		t.Errorf("a later look is torn: %+v, %v, %v", all, s.log, err)
	}

	s = newStub(t)
	s.add(20, stays)
	s.add(21, func(p *stubProc) { p.err = few })
	s.torn = func(look int) error { return map[bool]error{true: few}[look == 2] }
	if all, _, err := s.run(); err != nil || len(all) != 2 {
		t.Errorf("torn while one is being ended, whose end gives means: %+v, %v", all, err)
	}
}

// While everybody is stopped nothing may end us.
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
