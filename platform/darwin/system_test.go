package darwin

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/watch"
)

// wantWakes waits without patience: what is not there already never comes.
func wantWakes(t *testing.T, s *System, want ...system.Wake) {
	t.Helper()
	got, err := s.Wait(s.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("Wait tells %+v, want %+v", got, want)
	}
}

// mustWatch opens a process and waits for its end.
func mustWatch(t *testing.T, s *System, p *fake, owner any) stop.Handle {
	t.Helper()
	h, err := s.OpenParent(p.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Watch(h, owner); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWatch(t *testing.T) {
	w := newWorld(t)
	s := w.system("auto")
	if s.Backend() != "event" || s.Means() != "kqueue" {
		t.Errorf("auto is %s by %s", s.Backend(), s.Means())
	}
	p, q, r := w.born(100, 1), w.born(101, 1), w.born(102, 1)
	a, b := mustWatch(t, s, p, "one"), mustWatch(t, s, q, "one")
	c := mustWatch(t, s, r, "another")
	if err := s.Watch(a, "one"); err != nil || s.Waiting("one") != 2 || s.Waiting("another") != 1 || s.Waiting("none") != 0 {
		t.Errorf("%v; waits for %d and %d", err, s.Waiting("one"), s.Waiting("another"))
	}
	wantWakes(t, s)
	w.exit(p, 0)
	wantWakes(t, s, system.Wake{Kind: system.Ended, Owner: "one", Handle: a})
	wantWakes(t, s)
	if err := s.Watch(a, "one"); err != nil || s.Waiting("one") != 1 {
		t.Errorf("%v; waits for %d, after one has ended", err, s.Waiting("one"))
	}
	b.Close()
	c.Close()
	w.end(q, 0)
	wantWakes(t, s)
	if len(s.waiting) != 0 {
		t.Errorf("waits for %v, after all were closed", s.waiting)
	}

	// Dead before it was watched: it is waited for until that is told.
	w.zombie(r)
	d := mustWatch(t, s, r, "one")
	if s.Waiting("one") != 1 {
		t.Error("its end was not told yet")
	}
	wantWakes(t, s, system.Wake{Kind: system.Ended, Owner: "one", Handle: d})
	if s.Waiting("one") != 0 {
		t.Error("its end was told")
	}
}

func TestPollTellsNothing(t *testing.T) {
	w := newWorld(t)
	s := w.system("poll")
	p := w.born(100, 1)
	h := mustWatch(t, s, p, "one")
	w.end(p, 0)
	wantWakes(t, s)
	if s.Waiting("one") != 0 || len(w.knotes) != 0 {
		t.Error("it waits")
	}
	if exit, ended := h.(*handle).Exit(); !ended || !exit.Known {
		t.Errorf("%+v, %t", exit, ended)
	}
}

// No event will tell the end of a process: its owner has to check.
func TestUnwatched(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	w.born(100, 1)
	h, _ := s.Open(100)
	w.refused = []error{syscall.ENOMEM}
	if err := s.Watch(h, "one"); err != syscall.ENOMEM || s.Waiting("one") != 0 {
		t.Errorf("%v; waits for %d", err, s.Waiting("one"))
	}
	if err := s.Watch(h, "one"); err != nil {
		t.Fatal(err)
	}
	w.ready = []kevent{{Ident: 100, Filter: filterProc, Flags: evEOF, Fflags: noteExit}}
	w.refused = []error{syscall.ENOMEM}
	wantWakes(t, s, system.Wake{Kind: system.Unwatched, Owner: "one", Handle: h})
	if s.Waiting("one") != 0 {
		t.Error("it is waited for still")
	}
}

// The end of a sentinel is noticed in any case, by the queue or by a check.
func TestEndOfASentinel(t *testing.T) {
	for name, c := range map[string]struct {
		backend string
		lose    func(*world)
	}{
		"told":            {"event", func(*world) {}},
		"poll":            {"poll", func(*world) {}},
		"refused":         {"event", func(w *world) { w.refused = []error{syscall.ENOMEM} }},
		"lost after that": {"event", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.system(c.backend)
			p := w.born(100, self)
			h, err := s.open(100)
			if err != nil {
				t.Fatal(err)
			}
			unwatched := system.Wake{Kind: system.Unwatched, Owner: "one", Handle: h}
			ends := 0
			if c.lose != nil {
				c.lose(w)
			}
			s.whenEnded(h, "one", func() { ends++; h.Close() })
			if c.lose == nil {
				w.ready = []kevent{{Ident: 100, Filter: filterProc, Flags: evEOF, Fflags: noteExit}}
				w.refused = []error{syscall.ENOMEM}
			}
			if name != "told" {
				wantWakes(t, s, unwatched) // so that its owner does not wait for ever
			}
			wantWakes(t, s)
			if ends != 0 {
				t.Error("it is taken for dead")
			}
			w.end(p, 9)
			wantWakes(t, s)
			wantWakes(t, s)
			if ends != 1 || len(s.unwatched) != 0 || s.Waiting("one") != 0 {
				t.Errorf("its end was noticed %d times", ends)
			}
		})
	}
}

func TestLifeline(t *testing.T) {
	w := newWorld(t)
	w.kinds = map[int]inputKind{5: waitable, 6: alwaysReady}
	s := w.system("event")
	if _, err := s.WatchFD(4, "one"); err == nil {
		t.Error("a descriptor that is not open")
	}
	if open, err := s.WatchFD(6, "one"); open || err != nil {
		t.Errorf("an empty file: %t, %v", open, err)
	}
	w.endless = true
	if _, err := s.WatchFD(6, "one"); err == nil {
		t.Error("a device that never ends")
	}
	w.refused = []error{syscall.EINVAL}
	if _, err := s.WatchFD(5, "one"); err == nil {
		t.Error("refused, and no error")
	}
	if open, err := s.WatchFD(5, "one"); !open || err != nil {
		t.Fatal(open, err)
	}
	end := kevent{Ident: 5, Filter: filterRead, Flags: evClear | evEOF, Data: 10}
	w.ready = []kevent{{Ident: 5, Filter: filterRead, Flags: evClear, Data: 10}, {Ident: 7, Filter: filterRead, Flags: evEOF}}
	wantWakes(t, s) // data is no end, and 7 is not ours
	if s.FDEnded(5) || s.FDEnded(7) {
		t.Error("it has not ended")
	}
	for range 20 { // more than are taken at once
		w.ready = append(w.ready, kevent{Ident: 5, Filter: filterRead, Flags: evClear, Data: 10})
	}
	w.ready = append(w.ready, end)
	for range 2 {
		if !s.FDEnded(5) {
			t.Error("it has ended, and was not told yet")
		}
	}
	wantWakes(t, s, system.Wake{Kind: system.FDEnded, Owner: "one"})
	if w.inputs[5] || !s.FDEnded(5) {
		t.Error("it is waited for still")
	}
	w.ready = []kevent{end}
	wantWakes(t, s)
}

var (
	usr1 = proc.Signal{Num: 30, Name: "SIGUSR1"}
	cont = proc.Signal{Num: 19, Name: "SIGCONT"}
	tstp = proc.Signal{Num: 18, Name: "SIGTSTP"}
	ttin = proc.Signal{Num: 21, Name: "SIGTTIN"}
)

func TestSignals(t *testing.T) {
	for name, c := range map[string]struct{ come, told []proc.Signal }{
		"in turn":                  {[]proc.Signal{usr1, proc.TERM, usr1}, []proc.Signal{usr1, proc.TERM, usr1}},
		"raised by what we do":     {[]proc.Signal{{Num: 13, Name: "SIGPIPE"}, {Num: 20, Name: "SIGCHLD"}}, nil},
		"SIGCONT takes back stops": {[]proc.Signal{tstp, usr1, ttin, cont}, []proc.Signal{usr1, cont}},
		"and not those after it":   {[]proc.Signal{cont, tstp}, []proc.Signal{cont, tstp}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.system("event")
			if err := s.Listen(true); err != nil {
				t.Fatal(err)
			}
			var want []system.Wake
			for _, sig := range c.told {
				want = append(want, system.Wake{Kind: system.Signalled, Signal: sig})
			}
			for _, sig := range c.come {
				w.tell(sig)
			}
			if woken := len(w.ready) > 0; woken != (len(want) > 0) {
				t.Errorf("the queue is woken: %t", woken)
			}
			wantWakes(t, s, want...)
			w.ready = nil
			wantWakes(t, s)
		})
	}
}

func TestSuspend(t *testing.T) {
	yes, no := func() bool { return true }, func() bool { return false }
	for name, c := range map[string]struct {
		unless  func() bool
		comes   []proc.Signal // during the pause
		stopped int
	}{
		"it stops":              {no, nil, 1},
		"a parent is dead":      {yes, nil, 0},
		"continued meanwhile":   {no, []proc.Signal{usr1, cont}, 0},
		"another signal is not": {no, []proc.Signal{usr1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.system("event")
			s.Listen(true)
			w.pauses = func() {
				for _, sig := range c.comes {
					w.tell(sig)
				}
			}
			if s.Suspend(c.unless); w.stopped != c.stopped {
				t.Errorf("stopped %d times, want %d", w.stopped, c.stopped)
			}
			if w.pauses = func() {}; len(c.comes) > 0 { // they are told as ever
				if got, err := s.Wait(s.Now(), true); err != nil || len(got) != len(c.comes) {
					t.Errorf("%+v, %v", got, err)
				}
			}
		})
	}
}

func launched(t *testing.T, w *world, c system.Containment, pid int) (*fake, system.Handle) {
	t.Helper()
	p := w.born(pid, self)
	p.Session = leadsSession
	w.children = append(w.children, p)
	h, err := c.Start(system.Command{Path: "/x/worker", Args: []string{"worker"}, Keep: []int{7}})
	if err != nil {
		t.Fatal(err)
	}
	if s := w.started[len(w.started)-1]; !s.Session || s.Path != "/x/worker" || !slices.Equal(s.Files, []uintptr{0, 1, 2, ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), 7}) {
		t.Errorf("started %+v", s)
	}
	return p, h
}

// A worker of ours is reaped when it is let go of: until then its zombie holds the number
// of the group.
func TestWorkerEnds(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	c := s.Contain(system.Options{Owner: "one"})
	p, h := launched(t, w, c, 100)
	if err := s.Watch(h, "one"); err != nil {
		t.Fatal(err)
	}
	if _, ended := h.Exit(); ended {
		t.Error("it lives")
	}
	w.exit(p, 3<<8) // no zombie yet: wait4(2) would have nothing to give
	wantWakes(t, s, system.Wake{Kind: system.Ended, Owner: "one", Handle: h})
	for range 2 {
		if exit, ended := h.Exit(); !ended || exit != (proc.Exit{Known: true, Code: 3}) || len(w.reaped) != 0 {
			t.Errorf("%+v, %t, reaped %v", exit, ended, w.reaped)
		}
	}
	w.zombie(p)
	if err := h.SignalGroup(proc.Signal{}); err != nil && !errors.Is(err, proc.ErrGone) {
		t.Errorf("the zombie holds the group's number: %v", err)
	}
	c.Forget()
	if !slices.Equal(w.reaped, []int{100}) {
		t.Errorf("reaped %v", w.reaped)
	}
	q, h := launched(t, w, c, 101) // the next one, found dead by a check
	w.end(q, 9)
	if exit, ended := h.Exit(); !ended || exit.Signal.Num != 9 || len(w.reaped) != 1 {
		t.Errorf("%+v, %t, reaped %v", exit, ended, w.reaped)
	}
	c.Close(0)
	if !slices.Equal(w.reaped, []int{100, 101}) {
		t.Errorf("reaped %v", w.reaped)
	}
	c = s.Contain(system.Options{})
	launched(t, w, c, 102)
	if c.Close(1); len(w.reaped) != 2 {
		t.Errorf("reaped %v, and it lives", w.reaped)
	}
}

// Without a status from the queue or a zombie, only reaping tells.
func TestWorkerEndsUntold(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	w.refused = []error{syscall.EACCES}
	c := s.Contain(system.Options{})
	p, h := launched(t, w, c, 100)
	s.Watch(h, "one")
	w.exit(p, 5<<8)
	wantWakes(t, s, system.Wake{Kind: system.Ended, Owner: "one", Handle: h})
	if exit, ended := h.Exit(); !ended || exit.Code != 5 || !slices.Equal(w.reaped, []int{100}) {
		t.Errorf("%+v, %t, reaped %v", exit, ended, w.reaped)
	}
	c.Close(0)
	if len(w.reaped) != 1 {
		t.Errorf("reaped %v", w.reaped)
	}
}

func TestWorkerCannotStart(t *testing.T) {
	w := newWorld(t)
	c := w.system("event").Contain(system.Options{})
	if h, err := c.Start(system.Command{Path: "/x/none"}); err != syscall.ENOENT || h != nil {
		t.Errorf("%v, %v", h, err)
	}
	// A child that cannot be read is ended: it would be unguarded.
	w.children = []*fake{w.born(100, self)}
	w.unreadable[100] = syscall.EIO
	w.onKill = func(p *fake) { w.end(p, 9) }
	if h, err := c.Start(system.Command{Path: "/x/worker"}); err == nil || h != nil || !slices.Equal(w.reaped, []int{100}) {
		t.Errorf("%v, %v; reaped %v", h, err, w.reaped)
	}
	c.Close(0)
}

// A watchdog may be the worker of another.
func TestWorkerIsAWatchdog(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	p, h := launched(t, w, s.Contain(system.Options{}), 100)
	p.Name, p.args = "watchdog", [][]byte{image{argc: -1, path: s.dir + "watchdog", args: []string{"watchdog"}}.bytes()}
	if info, err := h.Info(); err != nil || info.Leash {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestKillWorker(t *testing.T) {
	w := newWorld(t)
	c := w.system("event").Contain(system.Options{})
	launched(t, w, c, 100)
	if c.Kill(); !slices.Equal(w.sent, []sent{{-100, 9}, {100, 9}}) {
		t.Errorf("sent %v", w.sent)
	}
}

func TestOpenWorker(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	p := w.born(100, 1)
	p.args, p.Caught = [][]byte{labels}, 1<<(tstp.Num-1)
	h, err := s.OpenWorker(100)
	if err != nil {
		t.Fatal(err)
	}
	if run, worker := h.Names(); run != "aaaaaaa" || worker != "w1" { // arguments go first
		t.Errorf("its names are %q and %q", run, worker)
	}
	if !h.Catches(tstp) || h.Catches(usr1) {
		t.Error("it catches SIGTSTP alone")
	}
	w.unreadable[100] = syscall.EIO
	if h.Catches(tstp) {
		t.Error("what cannot be read catches nothing")
	}
	if run, worker := h.Names(); run != "" || worker != "" {
		t.Errorf("what cannot be read is called %q and %q", run, worker)
	}
	own := w.born(110, 1)
	own.Name, own.args = "watchdog", [][]byte{image{argc: -1, path: s.dir + "watchdog", args: []string{"watchdog"}}.bytes()}
	h, err = s.OpenWorker(110)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := h.Info(); err != nil || info.Leash {
		t.Errorf("a watchdog that is to be guarded: %+v, %v", info, err)
	}
	w.born(101, 1).denied = true
	if h, err := s.OpenWorker(101); err == nil || !strings.Contains(err.Error(), "another user") || h != nil {
		t.Errorf("%v, %v", h, err)
	}
	if h, err := s.OpenWorker(103); !errors.Is(err, proc.ErrGone) || h != nil {
		t.Errorf("%v, %v", h, err)
	}
}

// The containment as the portable worker says it.
func TestContainment(t *testing.T) {
	w := newWorld(t)
	worker := func() *watch.Worker { return watch.NewWorker(w.system("event"), 0, -1, 0) }
	leads, shares := w.born(100, 1), w.born(101, 1)
	shares.PGID, shares.session = 1, 1
	for p, want := range map[*fake]string{leads: "session,group,descendants,environment", shares: "process,descendants,environment"} {
		g := worker()
		if _, err := g.Adopt(p.PID); err != nil {
			t.Fatal(err)
		}
		g.Label("abc1234", "w1")
		if got := g.Containment(); got != want {
			t.Errorf("%d: %q, want %q", p.PID, got, want)
		}
	}

	// A zombie holds its group, and its status.
	w.end(w.born(102, 1), 4<<8)
	w.born(104, 1).PGID = 102
	g := worker()
	if a, err := g.Adopt(102); err != nil || !a.Info.Dead() || a.RunID != "" || g.Count().Living != 1 {
		t.Errorf("%+v, %v; %+v", a, err, g.Count())
	}
	if exit, ended := g.Exit(); !ended || exit != (proc.Exit{Known: true, Code: 4}) {
		t.Errorf("it ended with %+v, %t", exit, ended)
	}

	// Of one that was reaped the labels are left.
	g = worker()
	left := w.born(105, 1)
	left.args, left.UID = [][]byte{labels}, uint32(os.Geteuid())
	w.born(106, 1)
	if !g.AdoptGone(103) {
		t.Fatal("it is not supported")
	}
	g.Label("abc1234", "w1")
	if c := g.Count(); c.Living != 1 || len(g.Survivors()) != 1 || g.Survivors()[0].PID != 105 {
		t.Errorf("%+v, %v", c, g.Survivors())
	}
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	p := w.born(100, 1)
	p.args = [][]byte{labels}
	root, err := s.OpenWorker(100)
	if err != nil {
		t.Fatal(err)
	}
	tree := &stop.Tree{Kernel: s, Root: root, RunID: "abc1234", WorkerID: "w1"}
	tree.Adopt()
	w.born(101, 1).PGID = 100
	w.born(102, 1).session = 100
	w.born(103, 1).args = [][]byte{labels}
	w.born(104, 1).args = [][]byte{image{argc: -1, path: "/x", args: []string{"x"}, env: []string{"LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w2"}}.bytes()}
	other := w.born(105, 1)
	other.args, other.UID = [][]byte{labels}, 502
	w.zombie(w.born(106, 1))
	w.procs[106].PGID = 100
	kernel := w.born(107, 1)
	kernel.PGID, kernel.Flags = 100, flagSystem
	found := func(what string, want ...int) {
		t.Helper()
		if got, err := s.Contain(system.Options{}).Search()(tree); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: found %v, want %v (%v)", what, got, want, err)
		}
	}
	found("by group, session or labels", 100, 101, 102, 103)
	tree.RunID, tree.WorkerID = "", ""
	found("without labels", 100, 101, 102)
	p.PGID, p.session = 1, 1
	tree.Adopt()
	found("with nothing to go by")
}

func TestHook(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	hook := w.born(110, self)
	w.children = append(w.children, hook)
	h, err := s.StartHook(system.Command{Path: "/bin/sh", Args: []string{"sh"}})
	if err != nil {
		t.Fatal(err)
	}
	if s := w.started[0]; s.Session || len(s.Files) != 3 || s.Files[0] <= 2 || s.Files[1] != 2 || s.Files[2] != 2 {
		t.Errorf("started %+v", s)
	}
	w.born(111, 110).PGID = 110
	w.end(hook, 1<<8)
	// What it left is killed while the zombie holds the group's number.
	if err := h.SignalGroup(proc.KILL); err != nil || !slices.Equal(w.sent, []sent{{-110, 9}}) {
		t.Errorf("%v, sent %v", err, w.sent)
	}
	if exit, ended := h.Exit(); !ended || exit.Status() != 1 {
		t.Errorf("%+v, %t", exit, ended)
	}
	if h.Close(); !slices.Equal(w.reaped, []int{110}) {
		t.Errorf("reaped %v", w.reaped)
	}
	if h, err := s.StartHook(system.Command{Path: "/bin/none"}); err == nil || h != nil {
		t.Errorf("%v, %v", h, err)
	}
}

func TestIdentity(t *testing.T) {
	w := newWorld(t)
	s := w.system("event")
	if id, err := s.Self(); err != nil || id != (proc.ID{PID: self, Start: w.procs[self].Start}) {
		t.Errorf("%+v, %v", id, err)
	}
	if boot, namespace, err := s.Here(); boot != "8d0c9a6e-1111-4222-8333-abcdef012345" || namespace != 0 || err != nil {
		t.Error(boot, namespace, err)
	}
	if got := s.Created(proc.ID{Start: 1_700_000_000_000_010}); got.UnixMicro() != 1_700_000_000_000_010 {
		t.Error(got)
	}
	w.unreadable[self] = syscall.EIO
	if _, err := s.Self(); err == nil {
		t.Error("it cannot be read, and there is no error")
	}
}

func TestNoHeartbeats(t *testing.T) {
	if ears, err := newWorld(t).system("event").ListenForBeats(system.Beats{}); err == nil || strings.Contains(err.Error(), "\n") || ears != nil {
		t.Errorf("%v, %v", ears, err)
	}
}
