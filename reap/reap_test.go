package reap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/scan"
)

const theRun = "xxxxxxx"

// stub is a machine that does nothing by itself.
type stub struct {
	t     *testing.T
	procs []*stubProc
	// records and takes are the ledger, and what happens at each look.
	records []ledger.Record
	takes   []func() error
	looks   int
	now     time.Duration
	log     []string
	life    scan.Life // of all whom the scan did not ask for
	held    []scan.Held
	grace   time.Duration
	named   []string // runs that are to be ended whatever they are
	torn    func(look int) error
	lookAt  []time.Duration
	shield  func() func()
}

// stubProc is what a scan sees of a process, and how it is when opened.
type stubProc struct {
	scan.Process
	behind *scan.Process // what is read behind a handle; nil: nobody has the number
	other  bool          // not the process of the scan, or not to be told from another
	err    error         // on Open
	denied bool
	stays  bool // whatever is sent
	dead   bool
	zombie bool // whatever ends it, nobody reaps it, and nobody tells
	open   int

	lookErr  error
	notified bool
}

// add puts a process of the run into the table, born long ago.
func (s *stub) add(pid int, set ...func(*stubProc)) *stubProc {
	p := &stubProc{Process: scan.Process{Info: proc.Info{ID: proc.ID{PID: pid, Start: uint64(pid)}, PPID: 1, PGID: 9, SID: 9, State: 'S', Threads: 1},
		EnvRuns: []string{theRun}}}
	p.behind = &p.Process
	for _, f := range set {
		f(p)
	}
	s.procs = append(s.procs, p)
	return p
}

func (s *stub) Take(held []scan.Held) (*scan.Snapshot, error) {
	s.held = held
	snap := &scan.Snapshot{Boot: simBoot, NS: simSpace, Tick: 1000, Records: s.records, Lives: map[proc.ID]scan.Life{}}
	for _, p := range s.procs {
		if !p.dead {
			snap.Procs = append(snap.Procs, p.Process)
		}
	}
	for _, id := range snap.Named() {
		snap.Lives[id] = scan.Dead
	}
	s.looks++
	s.lookAt = append(s.lookAt, s.now)
	if s.torn != nil {
		snap.Torn = s.torn(s.looks)
	}
	if s.looks <= len(s.takes) && s.takes[s.looks-1] != nil {
		if err := s.takes[s.looks-1](); err != nil {
			return nil, err
		}
	}
	return snap, nil
}

func (s *stub) Life(proc.ID) scan.Life { return s.life }

func (s *stub) Open(pid int) (Handle, error) {
	for _, p := range s.procs {
		if p.PID == pid && !p.dead && (p.behind != nil || p.err != nil) {
			if p.err != nil {
				return nil, p.err
			}
			p.open++
			return &stubHandle{s, p, false}, nil
		}
	}
	return nil, proc.ErrGone
}

func (s *stub) Tick() uint64       { return 1000 + uint64(s.now/tick) }
func (s *stub) Now() time.Duration { return s.now }
func (s *stub) Wait(until time.Duration) (bool, error) {
	s.now = max(s.now, until)
	return false, nil
}

type stubHandle struct {
	s      *stub
	p      *stubProc
	closed bool
}

func (h *stubHandle) Look() (proc.Info, error) {
	switch {
	case h.closed:
		h.s.t.Errorf("the closed handle of %d was used", h.p.PID)
	case h.p.dead && h.p.zombie:
		info := h.p.Info
		info.State = 'Z'
		return info, nil
	case h.p.dead:
		return proc.Info{}, proc.ErrGone
	}
	return h.p.Info, h.p.lookErr
}
func (h *stubHandle) Same(*scan.Process, uint64) bool { return !h.p.other }
func (h *stubHandle) Read() (scan.Process, error)     { return *h.p.behind, nil }
func (h *stubHandle) Inode() uint64                   { return 0 }
func (h *stubHandle) Notify()                         { h.p.notified = true }
func (h *stubHandle) Over() bool                      { return h.p.dead && !h.p.zombie }
func (h *stubHandle) Close()                          { h.p.open--; h.closed = true }
func (h *stubHandle) Signal(sig proc.Signal) error {
	switch {
	case h.p.dead:
		return proc.ErrGone
	case h.p.denied:
		return proc.ErrDenied
	case sig.Num == 0:
		return nil
	}
	h.s.log = append(h.s.log, fmt.Sprint(strings.TrimPrefix(sig.Name, "SIG"), " ", h.p.PID))
	h.p.dead = !h.p.stays && (sig == proc.KILL || sig == proc.TERM)
	return nil
}

func newStub(t *testing.T) *stub {
	return &stub{t: t, life: scan.Dead, grace: time.Second, named: []string{theRun}}
}

// run reaps, and checks that all handles were closed.
func (s *stub) run() ([]Ended, []string, error) {
	var told []string
	r := Reaper{Table: s, Wish: scan.Wish{RunIDs: s.named}, Grace: s.grace, Shield: s.shield,
		Done: func(e *Ended) { told = append(told, fmt.Sprint(e.PID, " ", e.Fate)) }}
	all, err := r.Run()
	for _, p := range s.procs {
		if p.open != 0 {
			s.t.Errorf("%d handles of %d were left open", p.open, p.PID)
		}
	}
	slices.Sort(told)
	return all, told, err
}

func (s *stub) want(signals string, told ...string) []Ended {
	s.t.Helper()
	all, got, err := s.run()
	if log := strings.Join(s.log, ", "); err != nil || log != signals {
		s.t.Errorf("%q, %v; want %q", log, err, signals)
	}
	if !slices.Equal(got, told) || len(all) != len(told) {
		s.t.Errorf("told %q, want %q; results %+v", got, told, all)
	}
	return all
}

func stays(p *stubProc) { p.stays = true }

func young(change ...func(*scan.Process)) func(*stubProc) {
	return func(p *stubProc) {
		p.Start, p.other = 1000, true
		for _, f := range change {
			f(&p.Process)
		}
	}
}

// Nobody is continued before all were asked, and nobody is killed before all
// are stopped, those who came meanwhile too.
func TestOrderOfSignals(t *testing.T) {
	s := newStub(t)
	s.add(20, stays)
	s.add(21)
	s.add(22, stays)
	s.takes = []func() error{func() error { s.add(23); return nil }}
	all, _, err := s.run()
	const want = "TERM 20, TERM 21, TERM 22, CONT 20, CONT 22, STOP 20, STOP 22, STOP 20, STOP 22, STOP 23, KILL 20, KILL 22, KILL 23, KILL 20"
	if log := strings.Join(s.log, ", "); err != nil || !strings.HasPrefix(log, want) {
		t.Errorf("%.200s..., %v", log, err)
	}
	if len(all) != 4 || all[0].Fate != Survived || all[1].Fate != Terminated || all[3].Fate != Killed {
		t.Errorf("%+v", all)
	}
	for _, p := range s.procs {
		if !p.notified && p.PID != 21 {
			t.Errorf("nobody asked to be told of the end of %d", p.PID)
		}
	}
}

// Who comes while others still take their time is asked too, within the grace.
func TestNewcomer(t *testing.T) {
	s := newStub(t)
	s.grace = 20 * time.Second
	s.add(20, stays)
	s.takes = []func() error{func() error { s.add(21); return nil }}
	s.run()
	if log := strings.Join(s.log, ", "); !strings.HasPrefix(log, "TERM 20, CONT 20, TERM 21, STOP 20") {
		t.Errorf("%.100s...", log)
	}
}

// A look that fails is no death, and until it is seen a member may have started
// somebody.
func TestLookFails(t *testing.T) {
	s := newStub(t)
	s.add(20, stays, func(p *stubProc) { p.lookErr, p.PGID = errFull, 20 })
	if all, _, _ := s.run(); len(all) != 1 || all[0].Fate != Survived {
		t.Errorf("%+v", all)
	}
	if len(s.held) != 1 || s.held[0].Seen != 1000 {
		t.Errorf("%+v", s.held)
	}
	s.procs[0].lookErr, s.log, s.now = nil, nil, 0
	if s.run(); len(s.held) != 1 || s.held[0].From != 1000 || s.held[0].Seen <= 1100 {
		t.Errorf("%+v", s.held)
	}
}

// What is read behind a handle may name an owner whom the scan did not know.
func TestOwnerReadLater(t *testing.T) {
	for _, life := range []scan.Life{scan.Dead, scan.Alive, scan.Unknown} {
		s := newStub(t)
		s.named, s.life = nil, life
		s.records = []ledger.Record{{RunID: theRun, Worker: proc.ID{PID: 20, Start: 20}, Watchdog: proc.ID{PID: 8, Start: 8},
			Parents: []proc.ID{{PID: 7, Start: 7, Inode: 7}}, Boot: simBoot, NS: simSpace, Seen: 900}}
		s.add(20)
		s.add(21, young(func(p *scan.Process) { p.EnvRuns, p.PPID = nil, 20 }), func(p *stubProc) {
			now := p.Process
			now.EnvRuns, now.Owner = []string{theRun}, "6:6:"+simBoot+":7"
			p.behind = &now
		})
		if life == scan.Dead {
			s.want("TERM 20, TERM 21", "20 1", "21 1")
		} else {
			s.want("")
		}
	}
}

// Who was born in the tick of the look, and is known by his cgroup alone, is not
// found again by what is read behind his handle. A look in the next tick finds him.
func TestBornInTheTickOfTheLook(t *testing.T) {
	s := newStub(t)
	s.records = []ledger.Record{{RunID: theRun, Worker: proc.ID{PID: 8, Start: 8}, Watchdog: proc.ID{PID: 7, Start: 7},
		Boot: simBoot, NS: simSpace, Seen: 900}}
	born := s.add(20, young(func(p *scan.Process) { p.EnvRuns, p.Inside = nil, []int{0} }), func(p *stubProc) {
		now := p.Process
		now.Inside = nil
		p.behind = &now
	})
	s.takes = []func() error{nil, func() error { born.other = s.now < tick; return nil }}
	s.want("TERM 20", "20 1")
}

func TestNothingToDo(t *testing.T) {
	s := newStub(t)
	s.add(20).EnvRuns = nil
	s.want("")
	if s.looks != 2 || s.now != 0 {
		t.Errorf("%d looks, %v", s.looks, s.now)
	}
}

// What cannot be read ends nobody, and what had begun is told.
func TestTableFails(t *testing.T) {
	broken := errors.New("input/output error")
	for n, want := range []string{"", "TERM 20, CONT 20, STOP 20, KILL 20"} {
		s := newStub(t)
		s.takes = make([]func() error, n+1)
		s.takes[n] = func() error { return broken }
		s.add(20, stays)
		all, _, err := s.run()
		if !errors.Is(err, broken) || strings.Join(s.log, ", ") != want || len(all) != n {
			t.Errorf("look %d fails: %v, %q, %+v", n+1, err, s.log, all)
		}
	}
}

func TestSurvivors(t *testing.T) {
	s := newStub(t)
	s.add(20, func(p *stubProc) { p.denied = true })
	s.add(21, func(p *stubProc) { p.err = errFull })
	for _, e := range s.want("", "20 3", "21 3") {
		if e.PID == 20 && !strings.Contains(e.Reason, "denied") && !strings.Contains(e.Reason, "signal") ||
			e.PID == 21 && !strings.Contains(e.Reason, errFull.Error()) {
			t.Errorf("%d: %q", e.PID, e.Reason)
		}
	}
	s = newStub(t)
	s.add(20, func(p *stubProc) { p.denied = true })
	if s.want("", "20 3"); s.now >= time.Second {
		t.Errorf("it waited %v for one that cannot hear", s.now)
	}
}

// An error with one never stops the others, and is forgotten when it is over.
func TestOpenedLater(t *testing.T) {
	s := newStub(t)
	s.add(20)
	full := s.add(21, func(p *stubProc) { p.err = errFull })
	s.takes = []func() error{nil, func() error { full.err = nil; return nil }}
	s.want("TERM 20, TERM 21", "20 1", "21 1")
}

// A zombie is dead, whoever else does not say so.
func TestZombie(t *testing.T) {
	s := newStub(t)
	s.add(20, func(p *stubProc) { p.zombie = true })
	if s.want("TERM 20", "20 1"); s.now > time.Second {
		t.Errorf("it waited %v for a zombie", s.now)
	}
}

// Who told that the run is dead may be the first to end.
func TestDeadOwnerIsRemembered(t *testing.T) {
	s := newStub(t)
	s.named = nil
	first := s.add(20)
	first.Owner = "6:6:" + simBoot + ":7"
	full := s.add(21, func(p *stubProc) { p.err = errFull })
	first.UID, full.UID = 7, 7 // of root an environment speaks for itself alone
	s.takes = []func() error{nil, func() error { full.err = nil; return nil }}
	s.want("TERM 20, TERM 21", "20 1", "21 1")
}

// What the ledger once said of root's run counts also when its record is gone.
func TestRecordedOwnerIsRemembered(t *testing.T) {
	s := newStub(t)
	s.named = nil
	s.records = []ledger.Record{{RunID: theRun, Worker: proc.ID{PID: 20, Start: 20}, Watchdog: proc.ID{PID: 8, Start: 8},
		Parents: []proc.ID{{PID: 6, Start: 6}}, Boot: simBoot, NS: simSpace, Seen: 900}}
	s.add(20)
	full := s.add(21, func(p *stubProc) { p.err = errFull })
	s.takes = []func() error{nil, func() error { full.err, s.records = nil, nil; return nil }}
	s.want("TERM 20, TERM 21", "20 1", "21 1")
}

// Who has the number by now is judged by what is read behind the handle.
func TestAnotherBehindTheHandle(t *testing.T) {
	s := newStub(t)
	bystander := scan.Process{Info: proc.Info{ID: proc.ID{PID: 20, Start: 1001}, PPID: 1, PGID: 9, SID: 9, State: 'S'}}
	s.add(20, func(p *stubProc) { p.other, p.behind = true, &bystander })
	s.add(21, func(p *stubProc) { p.other = true }) // young, and as it was
	s.add(22, func(p *stubProc) { p.behind = nil }) // gone
	s.add(23, young(func(p *scan.Process) { p.EnvRuns, p.PPID = nil, 20 }))
	s.add(24, young(func(p *scan.Process) { p.EnvRuns, p.PPID = nil, 22 }))
	s.add(25, young(func(p *scan.Process) { p.EnvRuns, p.PPID = nil, 24 }))
	s.add(26, young(func(p *scan.Process) { p.EnvRuns, p.PPID = nil, 21 }))
	s.takes = []func() error{nil, func() error { s.procs = s.procs[:2]; s.procs[0].EnvRuns = nil; return nil }}
	s.want("TERM 21, TERM 26", "21 1", "26 1")
}

// A leader who is gone when he is to be opened stands for nobody: others may
// have his number, and lead a group of it.
func TestLeaderGoneMeanwhile(t *testing.T) {
	for _, gone := range []bool{true, false} {
		s := newStub(t)
		s.records = []ledger.Record{{RunID: theRun, Worker: proc.ID{PID: 20, Start: 20}, Watchdog: proc.ID{PID: 8, Start: 8},
			Group: 20, Session: 20, Boot: simBoot, NS: simSpace, Seen: 900}}
		s.add(20, func(p *stubProc) { p.PGID, p.SID = 20, 20 })
		s.add(21, young(func(p *scan.Process) { p.EnvRuns, p.PGID, p.SID = nil, 20, 20 }))
		s.add(22, func(p *stubProc) { p.EnvRuns, p.PGID, p.SID = nil, 20, 20 }) // old: it was in the group with him
		if gone {
			s.procs[0].behind = nil
			s.takes = []func() error{nil, func() error { s.procs = s.procs[1:]; return nil }}
			s.want("TERM 22", "22 1")
		} else {
			s.want("TERM 20, TERM 21, TERM 22", "20 1", "21 1", "22 1")
		}
	}
}
