package reap

import (
	"math/rand/v2"
	"testing"

	"leash/platform/hosttest"
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
		hosttest.ConformTable(t, func(t *testing.T) hosttest.TableSystem {
			w := &world{Rand: rand.New(rand.NewPCG(1, 9)), inodes: inodes, mostFDs: 1000}
			init := w.fork(nil)
			for init.pid != 1 { // the first number is init's
				w.refs[init.pid] = 0
				w.byPID[init.pid], w.byPID[1] = nil, init
				init.pid, init.group, init.sid = 1, 1, 1
				w.refs[1] = 3
			}
			w.shell = w.child(init, true)
			return fakeTable{w, w.child(w.shell, true)}
		})
	}
}

func (s fakeTable) Wordless()             {}
func (s fakeTable) Table() hosttest.Table { return s.w }
func (s fakeTable) Self() int             { return s.self.pid }
func (s fakeTable) Unused() int           { return numbers }

func (s fakeTable) Open(pid int) (hosttest.TableHandle, error) {
	h, err := s.w.Open(pid)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (s fakeTable) Labelled(t *testing.T, l hosttest.Labels) hosttest.Process {
	b := s.w.child(s.self, false)
	b.env, b.args, b.owner, b.ever = l.Run, l.ArgRun, l.Owner, true
	return fakeProcess{s.w, b}
}

// Reuse takes the lowest free number, or any, until it is this one.
func (s fakeTable) Reuse(t *testing.T, pid int) (hosttest.Process, bool) {
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
