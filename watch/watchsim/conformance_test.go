package watchsim

import (
	"fmt"
	"testing"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/platform/platformtest"
)

// fakeSystem is a World in which no process acts on its own.
type fakeSystem struct{ w *World }

type fakeProcess struct {
	w *World
	p *Proc
}

// someone is the Host of the tree that the processes belong to.
var someone = new(Host)

func TestFakeConforms(t *testing.T) {
	for _, inodes := range []bool{false, true} {
		for _, byHandle := range []bool{false, true} {
			o := Options{PIDs: 30, Newest: true, Inodes: inodes, GroupByHandle: byHandle}
			t.Run(fmt.Sprintf("inodes=%v,groups=%v", inodes, byHandle), func(t *testing.T) {
				platformtest.Conform(t, func(t *testing.T) platformtest.Fixture { return newFakeSystem(t, o) })
			})
		}
	}
}

func newFakeSystem(t *testing.T, o Options) platformtest.Fixture {
	w := new(World)
	w.Reset(1, o)
	w.Self = w.Fork(w.Init)
	w.Self.UID, w.Self.temper = ownUID, temper{}
	w.Setsid(w.Self)
	new(System).reset(w, new(Stats))
	t.Cleanup(func() {
		for _, f := range w.Failures() {
			t.Error(f)
		}
	})
	return fakeSystem{w}
}

func (s fakeSystem) Kernel() stop.Kernel { return Kernel{s.w} }

func (s fakeSystem) Start(t *testing.T, how platformtest.How) platformtest.Process {
	p := s.w.Fork(s.w.Self)
	p.Tree, p.temper = someone, temper{reaps: reapsNever}
	switch how {
	case platformtest.OwnGroup:
		s.w.Setpgid(p, p)
	case platformtest.OwnSession:
		s.w.Setsid(p)
	}
	return fakeProcess{s.w, p}
}

func (s fakeSystem) Reuse(t *testing.T, pid int) (platformtest.Process, bool) {
	p := s.Start(t, platformtest.OwnGroup)
	return p, p.PID() == pid
}

func (s fakeSystem) Foreign(t *testing.T) (int, bool) {
	p := s.w.Fork(s.w.Init)
	p.UID = otherUID
	return p.PID, true
}

func (s fakeSystem) Await(t *testing.T, what string, is func() bool) {
	t.Helper()
	s.w.pass(s.w.now + tickLength)
	if !is() {
		t.Fatalf("without %s", what)
	}
}

func (s fakeSystem) Backends() []string { return []string{"event", "poll"} }

func (s fakeSystem) System(t *testing.T, backend string) system.System {
	s.w.System.Poll = backend == "poll"
	return s.w.System
}

func (f fakeProcess) PID() int { return f.p.PID }

func (f fakeProcess) Fork(t *testing.T) int {
	c := f.w.Fork(f.p)
	c.temper = temper{}
	return c.PID
}

func (f fakeProcess) End(t *testing.T) {
	f.w.exit(f.p, proc.Exit{Known: true, Signal: proc.KILL})
}

func (f fakeProcess) Reap(t *testing.T) { f.w.reap(f.p) }

// TestJudge checks that a signal to a bystander, to the watchdog, and to a watchdog in the
// tree is a failure.
func TestJudge(t *testing.T) {
	for name, scene := range map[string]func(w *World) *Proc{
		"bystander": func(w *World) *Proc {
			p := w.Fork(w.Init)
			p.UID = ownUID
			return p
		},
		"watchdog": func(w *World) *Proc { return w.Self },
		"leash": func(w *World) *Proc {
			p := w.Fork(w.Self)
			p.Tree, p.Leash = someone, true
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFakeSystem(new(testing.T), Options{PIDs: 30}).(fakeSystem).w
			p := scene(w)
			w.Self.never = true
			h := w.open(p)
			h.Info()
			w.opAt = w.calls
			if h.Signal(proc.TERM); len(w.Failures()) == 0 {
				t.Error("the signal was no failure")
			}
		})
	}
}
