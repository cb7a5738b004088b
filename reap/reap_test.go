package reap

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/snapshot"
	"leash/platform/platformtest"
	"leash/scan"
)

const theRun = "xxxxxxx"

// stub is a machine that does nothing by itself.
type stub struct {
	platformtest.NoLedger
	t     *testing.T
	procs []*stubProc
	// records and takes are the ledger, and what happens at each scan.
	records    []ledger.Record
	takes      []func() error
	scans      int
	now        time.Duration
	log        []string
	alive      []proc.ID     // of those that the scan queries; the others are dead
	life       snapshot.Life // of all that the scan did not query
	held       []snapshot.Held
	grace      time.Duration
	named      []string // runs that are to be ended whatever they are
	incomplete func(scan int) error
	scannedAt  []time.Duration
	shield     func() func()
	found      func(*snapshot.Snapshot)
}

// stubProc is what a scan sees of a process, and how it is when opened.
type stubProc struct {
	snapshot.Process
	behind *snapshot.Process // what is read behind a handle; nil: no process has the PID
	other  bool              // not the process of the scan, or not to be told from another
	err    error             // on Open
	denied bool
	stays  bool // whatever is sent
	dead   bool
	zombie bool // when it has ended it is not reaped, and its end is not noticed
	open   int

	lookErr  error
	notified bool
}

// add puts a process of the run into the table, born long ago.
func (s *stub) add(pid int, set ...func(*stubProc)) *stubProc {
	p := &stubProc{Process: snapshot.Process{Info: proc.Info{ID: proc.ID{PID: pid, Start: uint64(pid)}, PPID: 1, PGID: 9, SID: 9, State: 'S', Threads: 1},
		EnvRuns: []string{theRun}}}
	p.behind = &p.Process
	for _, f := range set {
		f(p)
	}
	s.procs = append(s.procs, p)
	return p
}

func (s *stub) Take(held []snapshot.Held) (*snapshot.Snapshot, error) {
	s.held = held
	snap := &snapshot.Snapshot{Boot: simBoot, NS: simSpace, Tick: 1000, Records: s.records, Lives: map[proc.ID]snapshot.Life{}}
	for _, p := range s.procs {
		if !p.dead {
			snap.Procs = append(snap.Procs, p.Process)
		}
	}
	for _, id := range snap.Named() {
		snap.Lives[id] = snapshot.Dead
		if slices.Contains(s.alive, id) {
			snap.Lives[id] = snapshot.Alive
		}
	}
	s.scans++
	s.scannedAt = append(s.scannedAt, s.now)
	if s.incomplete != nil {
		snap.Incomplete = s.incomplete(s.scans)
	}
	if s.scans <= len(s.takes) && s.takes[s.scans-1] != nil {
		if err := s.takes[s.scans-1](); err != nil {
			return nil, err
		}
	}
	return snap, nil
}

func (s *stub) Life(proc.ID) snapshot.Life { return s.life }

func (s *stub) Open(pid int) (snapshot.Handle, error) {
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

func (h *stubHandle) Info() (proc.Info, error) {
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
func (h *stubHandle) Same(*snapshot.Process, uint64) bool { return !h.p.other }
func (h *stubHandle) Read() (snapshot.Process, error)     { return *h.p.behind, nil }
func (h *stubHandle) Inode() uint64                       { return 0 }
func (h *stubHandle) Notify()                             { h.p.notified = true }
func (h *stubHandle) Over() bool                          { return h.p.dead && !h.p.zombie }
func (h *stubHandle) Close()                              { h.p.open--; h.closed = true }
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
	return &stub{t: t, life: snapshot.Dead, grace: time.Second, named: []string{theRun}}
}

// run reaps, and checks that all handles were closed.
func (s *stub) run() ([]Ended, []string, error) {
	var told []string
	r := Reaper{System: s, Request: scan.Request{RunIDs: s.named}, Grace: s.grace, Shield: s.shield,
		Found: func(found *snapshot.Snapshot, _ []*scan.Run) {
			if s.found != nil {
				s.found(found)
			}
		},
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

func young(change ...func(*snapshot.Process)) func(*stubProc) {
	return func(p *stubProc) {
		p.Start, p.other = 1000, true
		for _, f := range change {
			f(&p.Process)
		}
	}
}

// No member is continued before all were sent the stop signal, and none is killed
// before all are stopped, also those that came meanwhile.
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
			t.Errorf("Notify was not called for %d", p.PID)
		}
	}
}

// A process that comes while others still end is sent the stop signal too, within the
// grace.
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

// A failure to read a member is not its death, and until its death is seen it may have
// started others.
func TestReadOfAMemberFails(t *testing.T) {
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

// What is read behind a handle may name an owner that the scan did not know.
func TestOwnerReadLater(t *testing.T) {
	for _, life := range []snapshot.Life{snapshot.Dead, snapshot.Alive, snapshot.Unknown} {
		s := newStub(t)
		s.named, s.life = nil, life
		s.records = []ledger.Record{{RunID: theRun, Worker: proc.ID{PID: 20, Start: 20}, Watchdog: proc.ID{PID: 8, Start: 8},
			Parents: []proc.ID{{PID: 7, Start: 7, Inode: 7}}, Boot: simBoot, NS: simSpace, Seen: 900}}
		s.add(20)
		s.add(21, young(func(p *snapshot.Process) { p.EnvRuns, p.PPID = nil, 20 }), func(p *stubProc) {
			now := p.Process
			now.EnvRuns, now.Owner = []string{theRun}, "6:6:"+simBoot+":7"
			p.behind = &now
		})
		if life == snapshot.Dead {
			s.want("TERM 20, TERM 21", "20 1", "21 1")
		} else {
			s.want("")
		}
	}
}

// A process that was born in the tick of the scan, and has no evidence but its cgroup,
// is not found again by what is read behind its handle. A scan in the next tick finds it.
func TestBornInTheTickOfTheScan(t *testing.T) {
	s := newStub(t)
	s.records = []ledger.Record{{RunID: theRun, Worker: proc.ID{PID: 8, Start: 8}, Watchdog: proc.ID{PID: 7, Start: 7},
		Boot: simBoot, NS: simSpace, Seen: 900}}
	born := s.add(20, young(func(p *snapshot.Process) { p.EnvRuns, p.Inside = nil, []int{0} }), func(p *stubProc) {
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
	if s.scans != 2 || s.now != 0 {
		t.Errorf("%d scans, %v", s.scans, s.now)
	}
}

// A process that its watchdog is ending is waited for, up to the grace period, and ended
// if the watchdog has died by then.
func TestWaitsForWatchdogs(t *testing.T) {
	for _, dies := range []bool{false, true} {
		dog := proc.ID{PID: 8, Start: 8}
		s := newStub(t)
		s.named, s.alive = nil, []proc.ID{dog}
		s.records = []ledger.Record{{RunID: theRun, Worker: proc.ID{PID: 20, Start: 20}, Watchdog: dog,
			Parents: []proc.ID{{PID: 6, Start: 6}}, Boot: simBoot, NS: simSpace, Seen: 900}}
		worker := s.add(20)
		if dies {
			s.takes = []func() error{nil, func() error { s.alive = nil; return nil }}
			s.want("TERM 20", "20 1")
		} else {
			s.want("")
		}
		if !worker.notified || s.now < s.grace {
			t.Errorf("the watchdog dies: %t; Notify was called for its worker: %t, and the reaper ended after %v", dies, worker.notified, s.now)
		}
	}
}

// What cannot be read ends nothing, and what had begun is reported.
func TestTableFails(t *testing.T) {
	broken := errors.New("input/output error")
	for n, want := range []string{"", "TERM 20, CONT 20, STOP 20, KILL 20"} {
		s := newStub(t)
		s.takes = make([]func() error, n+1)
		s.takes[n] = func() error { return broken }
		s.add(20, stays)
		all, _, err := s.run()
		if !errors.Is(err, broken) || strings.Join(s.log, ", ") != want || len(all) != n {
			t.Errorf("scan %d fails: %v, %q, %+v", n+1, err, s.log, all)
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

// A zombie is dead, also if its end was not noticed.
func TestZombie(t *testing.T) {
	s := newStub(t)
	s.add(20, func(p *stubProc) { p.zombie = true })
	if s.want("TERM 20", "20 1"); s.now > time.Second {
		t.Errorf("it waited %v for a zombie", s.now)
	}
}

// The process that told that the run is dead may be the first to end.
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
	s.takes = []func() error{func() error { s.records = nil; return nil }, func() error { full.err = nil; return nil }}
	s.want("TERM 20, TERM 21", "20 1", "21 1")
}

// The process that has the PID by now is judged by what is read behind the handle.
func TestAnotherBehindTheHandle(t *testing.T) {
	s := newStub(t)
	bystander := snapshot.Process{Info: proc.Info{ID: proc.ID{PID: 20, Start: 1001}, PPID: 1, PGID: 9, SID: 9, State: 'S'}}
	s.add(20, func(p *stubProc) { p.other, p.behind = true, &bystander })
	s.add(21, func(p *stubProc) { p.other = true }) // young, and as it was
	s.add(22, func(p *stubProc) { p.behind = nil }) // gone
	s.add(23, young(func(p *snapshot.Process) { p.EnvRuns, p.PPID = nil, 20 }))
	s.add(24, young(func(p *snapshot.Process) { p.EnvRuns, p.PPID = nil, 22 }))
	s.add(25, young(func(p *snapshot.Process) { p.EnvRuns, p.PPID = nil, 24 }))
	s.add(26, young(func(p *snapshot.Process) { p.EnvRuns, p.PPID = nil, 21 }))
	s.takes = []func() error{nil, func() error { s.procs = s.procs[:2]; s.procs[0].EnvRuns = nil; return nil }}
	s.want("TERM 21, TERM 26", "21 1", "26 1")
}

// A leader that has ended when it is to be opened is evidence for no process: another may
// have its PID, and lead a group of that number.
func TestLeaderGoneMeanwhile(t *testing.T) {
	for _, gone := range []bool{true, false} {
		s := newStub(t)
		s.records = []ledger.Record{{RunID: theRun, Worker: proc.ID{PID: 20, Start: 20}, Watchdog: proc.ID{PID: 8, Start: 8},
			Group: 20, Session: 20, Boot: simBoot, NS: simSpace, Seen: 900}}
		s.add(20, func(p *stubProc) { p.PGID, p.SID = 20, 20 })
		s.add(21, young(func(p *snapshot.Process) { p.EnvRuns, p.PGID, p.SID = nil, 20, 20 }))
		s.add(22, func(p *stubProc) { p.EnvRuns, p.PGID, p.SID = nil, 20, 20 }) // old: it was in the group with the leader
		if gone {
			s.procs[0].behind = nil
			s.takes = []func() error{nil, func() error { s.procs = s.procs[1:]; return nil }}
			s.want("TERM 22", "22 1")
		} else {
			s.want("TERM 20, TERM 21, TERM 22", "20 1", "21 1", "22 1")
		}
	}
}

// Confirming makes a new snapshot: what the scan found stays as it was.
func TestConfirmLeavesTheSnapshot(t *testing.T) {
	s := newStub(t)
	s.add(20, func(p *stubProc) {
		now := p.Process
		now.Owner, now.Worker = "6:6:"+simBoot+":7", "w1"
		p.other, p.behind = true, &now
	})
	var seen, before *snapshot.Snapshot
	s.found = func(found *snapshot.Snapshot) {
		if seen == nil {
			clone := *found
			clone.Procs, clone.Lives = slices.Clone(found.Procs), maps.Clone(found.Lives)
			seen, before = found, &clone
		}
	}
	all := s.want("TERM 20", "20 1")
	if !reflect.DeepEqual(seen, before) {
		t.Errorf("the snapshot was changed to\n%+v\nfrom\n%+v", seen, before)
	}
	if len(all) != 1 || all[0].Worker != "w1" {
		t.Errorf("%+v is not what was read behind the handle", all)
	}
}
