package reap

import (
	"math/rand/v2"
	"testing"

	"leash/platform/platformtest"
)

// fakeTable is a world in which nothing moves on its own.
type fakeTable struct {
	w    *world
	self *body
}

type fakeProcess struct {
	w *world
	b *body
}

// TestFakeConforms: the simulator's table is one as the real ones are.
func TestFakeConforms(t *testing.T) {
	for _, inodes := range []bool{false, true} {
		platformtest.ConformTable(t, func(t *testing.T) platformtest.TableSystem {
			w := &world{Rand: rand.New(rand.NewPCG(1, 9)), inodes: inodes, mostFDs: 1000}
			w.boot()
			return fakeTable{w, w.child(w.shell, true)}
		})
	}
}

func (s fakeTable) Wordless()                 {}
func (s fakeTable) Table() platformtest.Table { return s.w }
func (s fakeTable) Self() int                 { return s.self.pid }
func (s fakeTable) Unused() int               { return numbers }

func (s fakeTable) Labelled(t *testing.T, l platformtest.Labels) platformtest.Process {
	b := s.w.child(s.self, false)
	b.env, b.args, b.owner, b.ever = l.Run, l.ArgRun, l.Owner, true
	return fakeProcess{s.w, b}
}

// Reuse takes the lowest free number, or any, until it is this one.
func (s fakeTable) Reuse(t *testing.T, pid int) (platformtest.Process, bool) {
	for range 1000 {
		s.w.now += tick
		b := s.w.child(s.self, false)
		if b.pid == pid {
			return fakeProcess{s.w, b}, true
		}
		s.w.exit(b)
		s.w.reap(b)
	}
	return nil, false
}

func (s fakeTable) Await(t *testing.T, what string, is func() bool) {
	t.Helper()
	s.w.now += tick
	s.w.due()
	if !is() {
		t.Fatalf("without %s", what)
	}
}

func (p fakeProcess) PID() int            { return p.b.pid }
func (p fakeProcess) Fork(*testing.T) int { return p.w.fork(p.b).pid }
func (p fakeProcess) End(*testing.T)      { p.b.state, p.b.ended = zombie, p.w.now }
func (p fakeProcess) Reap(*testing.T)     { p.w.reap(p.b) }
