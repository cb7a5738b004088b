package darwin

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"leash/internal/owner"
	"leash/internal/proc"
	"leash/watch"
)

// events waits without patience: what is not there already never comes.
func events(t *testing.T, h *Host) []watch.Event {
	t.Helper()
	got, err := h.Wait(h.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(got)
}

func wantEvents(t *testing.T, h *Host, want ...watch.Event) {
	t.Helper()
	if got := events(t, h); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func parentOf(t *testing.T, h *Host, pid int) {
	t.Helper()
	if alive, err := h.AddParent(pid); !alive || err != nil {
		t.Fatal(alive, err)
	}
}

func TestParents(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	a := w.born(100, 1)
	parentOf(t, h, 100)
	w.zombie(w.born(101, 1))
	for _, pid := range []int{101, 102} {
		if alive, err := h.AddParent(pid); alive || err != nil {
			t.Errorf("%d, dead: %t, %v", pid, alive, err)
		}
	}
	w.unreadable[103] = syscall.EIO
	if _, err := h.AddParent(103); err == nil {
		t.Error("one that cannot be looked at is no parent to watch")
	}
	wantEvents(t, h)
	o, ok := owner.Parse(h.Owner())
	if !ok || o.PID != 100 || o.Start != a.Start || o.NS != 0 || o.Boot == "" {
		t.Errorf("owner %q", h.Owner())
	}
	w.exit(a, 0)
	wantEvents(t, h, watch.ParentDied{PID: 100, By: "kqueue"})
	wantEvents(t, h)
}

// It dies in the moment in which it is added.
func TestParentDiesWhenAdded(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	p := w.born(100, 1)
	looks := 0
	w.looked = func(int) {
		if looks++; looks == 4 { // after the first look, before that of the registration
			w.end(p, 0)
			w.reap(p)
			w.born(100, 1)
		}
	}
	parentOf(t, h, 100)
	wantEvents(t, h, watch.ParentDied{PID: 100, By: "kqueue"})
}

// Nobody will tell of its end: so it is looked at now and then.
func TestBlindPolls(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	p := w.born(100, 1)
	w.refused = []error{syscall.ENOMEM}
	parentOf(t, h, 100)
	if !h.polls() {
		t.Fatal("it does not poll")
	}
	w.end(p, 0)
	got, err := h.Wait(0, false)
	if err != nil || !slices.Equal(got, []watch.Event{watch.ParentDied{PID: 100, By: "poll"}}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestUnreadableParentLives(t *testing.T) {
	for _, backend := range []string{"event", "poll"} {
		w := newWorld(t)
		h := w.host(backend)
		w.born(100, 1)
		parentOf(t, h, 100)
		w.unreadable[100] = syscall.EIO
		w.ready = []kevent{{Ident: 100, Filter: filterProc, Flags: evEOF, Fflags: noteExit}}
		if got, err := h.Wait(h.Now()+5*time.Millisecond, true); len(got) > 0 || err != nil {
			t.Errorf("%s: %v, %v", backend, got, err)
		}
	}
}

func TestLifeline(t *testing.T) {
	w := newWorld(t)
	w.kinds = map[int]inputKind{5: waitable, 6: alwaysReady}
	h := w.host("event")
	if _, err := h.AddLifeline(4); err == nil {
		t.Error("a descriptor that is not open")
	}
	if alive, err := h.AddLifeline(6); alive || err != nil {
		t.Errorf("an empty file: %t, %v", alive, err)
	}
	w.endless = true
	if _, err := h.AddLifeline(6); err == nil {
		t.Error("a device that never ends")
	}
	w.refused = []error{syscall.EINVAL}
	if _, err := h.AddLifeline(5); err == nil {
		t.Error("refused, and no error")
	}
	if alive, err := h.AddLifeline(5); !alive || err != nil {
		t.Fatal(alive, err)
	}
	w.ready = []kevent{{Ident: 5, Filter: filterRead, Flags: evClear, Data: 10}, {Ident: 7, Filter: filterRead, Flags: evEOF}}
	wantEvents(t, h) // data is no end, and 7 is not ours
	w.ready = []kevent{{Ident: 5, Filter: filterRead, Flags: evClear | evEOF, Data: 10}}
	wantEvents(t, h, watch.ParentDied{By: "lifeline"})
	if w.inputs[5] {
		t.Error("it is waited for still")
	}
	w.ready = []kevent{{Ident: 5, Filter: filterRead, Flags: evEOF}}
	wantEvents(t, h)
}

func TestRoles(t *testing.T) {
	for _, forward := range []bool{false, true} {
		h := newWorld(t).host("event")
		h.Listen(forward)
		ends, passed, suspends := watch.Ends, watch.Ignored, watch.Ignored
		quit := watch.Ends
		if forward {
			passed, suspends, quit = watch.Forwarded, watch.Suspends, watch.Forwarded
		}
		for name, want := range map[string]watch.Role{"SIGTERM": ends, "SIGINT": ends, "SIGQUIT": quit, "SIGHUP": passed,
			"SIGUSR1": passed, "SIGINFO": passed, "SIGTSTP": suspends, "SIGTTIN": suspends, "SIGTTOU": suspends,
			"SIGCONT": passed, "SIGPIPE": watch.Ignored, "SIGCHLD": watch.Ignored} {
			if got := h.role(name); got != want {
				t.Errorf("%s, forwarded: %t: %v, want %v", name, forward, got, want)
			}
		}
	}
}

func TestSignalsWake(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	p := w.born(100, 1)
	parentOf(t, h, 100)
	h.Listen(true)
	usr := proc.Signal{Num: 30, Name: "SIGUSR1"}
	cont := proc.Signal{Num: 19, Name: "SIGCONT"}
	w.tell(usr)
	if len(w.ready) == 0 {
		t.Error("the queue is not woken")
	}
	w.tell(cont)
	wantEvents(t, h, watch.Signalled{Signal: usr, Role: watch.Forwarded}, watch.Signalled{Signal: cont, Role: watch.Forwarded})
	// Stopped while the parent died: that goes first, and the ending continues the
	// worker itself.
	w.zombie(p)
	w.tell(cont)
	wantEvents(t, h, watch.ParentDied{PID: 100, By: "kqueue"})
	w.exit(p, 0)
	wantEvents(t, h) // once
}

func launched(t *testing.T, w *world, h *Host, pid int) *fake {
	t.Helper()
	p := w.born(pid, self)
	p.Session = leadsSession
	w.children = append(w.children, p)
	if _, err := h.Start("/x/worker", []string{"worker"}, nil, []int{7}); err != nil {
		t.Fatal(err)
	}
	if s := w.started[len(w.started)-1]; !s.Session || s.Path != "/x/worker" || !slices.Equal(s.Files, []uintptr{0, 1, 2, ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), 7}) {
		t.Errorf("%+v", s)
	}
	return p
}

func TestWorkerEnds(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	p := launched(t, w, h, 100)
	wantEvents(t, h)
	w.exit(p, 3<<8) // no zombie yet: wait4(2) would have nothing to give
	wantEvents(t, h, watch.WorkerExited{Exit: proc.Exit{Known: true, Code: 3}})
	if exit, ok := h.Exit(); !ok || exit.Code != 3 || len(w.reaped) != 0 {
		t.Errorf("%+v, %t, reaped %v", exit, ok, w.reaped)
	}
	w.zombie(p)
	if err := h.worker.SignalGroup(proc.Signal{}); err != nil && !strings.Contains(err.Error(), "gone") {
		t.Errorf("the zombie holds the group's number: %v", err)
	}
	launched(t, w, h, 101) // the next one
	if !slices.Equal(w.reaped, []int{100}) {
		t.Errorf("reaped %v", w.reaped)
	}
	w.end(w.procs[101], 9)
	wantEvents(t, h, watch.WorkerExited{Exit: proc.Exit{Known: true, Signal: proc.Signal{Num: 9, Name: "SIG"}}})
	h.Close()
	if !slices.Equal(w.reaped, []int{100, 101}) {
		t.Errorf("reaped %v", w.reaped)
	}
}

// Without a status from the queue or a zombie, only reaping tells.
func TestWorkerEndsUntold(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	w.refused = []error{syscall.EACCES}
	p := launched(t, w, h, 100)
	w.exit(p, 5<<8)
	wantEvents(t, h, watch.WorkerExited{Exit: proc.Exit{Known: true, Code: 5}})
	if !slices.Equal(w.reaped, []int{100}) {
		t.Errorf("reaped %v", w.reaped)
	}
}

func TestWorkerCannotStart(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	if _, err := h.Start("/x/none", nil, nil, nil); err != syscall.ENOENT {
		t.Errorf("%v", err)
	}
	if _, ended := h.Exit(); ended {
		t.Error("a worker that never was has ended")
	}
	h.Close()
}

func TestAdopt(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	p := w.born(100, 1)
	p.args = [][]byte{labels}
	a, err := h.Adopt(100)
	if err != nil || a.RunID != "aaaaaaa" || a.WorkerID != "w1" || a.Info.PID != 100 { // arguments go first
		t.Errorf("%+v, %v", a, err)
	}
	h.Label("abc1234", "w1")
	if got := h.Containment(); got != "group,session,descendants,environment" {
		t.Error(got)
	}
	w.exit(p, 2<<8)
	wantEvents(t, h, watch.WorkerExited{Exit: proc.Exit{Known: true, Code: 2}})

	h = w.host("event")
	own := w.born(110, 1)
	own.PGID, own.session, own.Name = 1, 1, "watchdog"
	own.args = [][]byte{image{argc: -1, path: h.Kernel.dir + "watchdog", args: []string{"watchdog"}}.bytes()}
	if a, err := h.Adopt(110); err != nil || a.Info.Leash || h.Containment() != "process,descendants" {
		t.Errorf("a watchdog that somebody wants guarded: %+v, %v, %s", a, err, h.Containment())
	}

	h = w.host("event")
	w.born(101, 1).denied = true
	if _, err := h.Adopt(101); err == nil || !strings.Contains(err.Error(), "another user") {
		t.Errorf("%v", err)
	}
	if _, err := h.Adopt(103); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Error(err)
	}

	// A zombie holds its group; its end is told at once.
	h = w.host("event")
	w.zombie(w.born(102, 1))
	w.born(104, 1).PGID = 102
	if a, err := h.Adopt(102); err != nil || !a.Info.Dead() || a.RunID != "" {
		t.Errorf("%+v, %v", a, err)
	}
	if events, err := h.Wait(0, false); err != nil || len(events) != 1 || h.Count().Living != 1 {
		t.Errorf("%v, %v; %+v", events, err, h.Count())
	}

	// Of one that is gone the labels are left.
	h = w.host("event")
	stray := w.born(105, 1)
	stray.args, stray.UID = [][]byte{labels}, uint32(os.Geteuid())
	w.born(106, 1)
	if !h.AdoptGone(103) {
		t.Fatal("it is not supported")
	}
	h.Label("abc1234", "w1")
	if got, err := h.strays(); err != nil || !slices.Equal(got, []int{105}) {
		t.Errorf("%v, %v", got, err)
	}
}

// When all but the parents have ended, that is told, once nobody is waited for.
func TestQuiet(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	w.born(90, 1)
	parentOf(t, h, 90)
	p := w.born(100, 1)
	q := w.born(101, 100)
	q.PGID = 100
	if _, err := h.Adopt(100); err != nil {
		t.Fatal(err)
	}
	h.Ask(proc.TERM)
	w.end(p, 0)
	wantEvents(t, h, watch.WorkerExited{Exit: proc.Exit{Known: true}})
	w.end(q, 0)
	wantEvents(t, h, watch.Quiet{})
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	p := w.born(100, 1)
	p.args = [][]byte{labels}
	if _, err := h.Adopt(100); err != nil {
		t.Fatal(err)
	}
	h.Label("abc1234", "w1")
	root := h.tree.Worker()
	if root.SID != 100 || !h.tree.Leads() {
		t.Fatalf("%+v", root)
	}
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
	if got, err := h.strays(); err != nil || !slices.Equal(got, []int{100, 101, 102, 103}) {
		t.Error(got)
	}
	h.Label("", "")
	if got, err := h.strays(); err != nil || !slices.Equal(got, []int{100, 101, 102}) {
		t.Error("without labels:", got)
	}
	p.PGID, p.session = 1, 1
	h.tree.Adopt()
	if got, err := h.strays(); err != nil || got != nil {
		t.Error("with nothing to go by:", got)
	}
}

func TestSuspend(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	p := launched(t, w, h, 100)
	tstp := proc.Signal{Num: 18, Name: "SIGTSTP"}
	h.Suspend(tstp)
	if !slices.Contains(w.sent, sent{-100, 17}) || w.stopped != 1 {
		t.Errorf("%v, stopped %d times", w.sent, w.stopped)
	}
	p.Caught = 1 << (18 - 1)
	w.sent = nil
	h.Suspend(tstp)
	if !slices.Contains(w.sent, sent{-100, 18}) || w.stopped != 2 {
		t.Errorf("it handles the signal itself: %v", w.sent)
	}
	w.end(p, 0)
	events(t, h)
	w.sent = nil
	if h.Suspend(tstp); len(w.sent) != 0 || w.stopped != 3 {
		t.Errorf("nobody is there: %v", w.sent)
	}
}

func TestHook(t *testing.T) {
	for _, backend := range []string{"event", "poll"} {
		w := newWorld(t)
		h := w.host(backend)
		launched(t, w, h, 100)
		hook := w.born(110, self)
		w.children = append(w.children, hook)
		if err := h.RunHook("/bin/sh", []string{"sh"}, nil); err != nil {
			t.Fatal(err)
		}
		if s := w.started[1]; s.Session {
			t.Error("the hook has a session of its own")
		}
		if got, err := h.Wait(h.Now()+5*time.Millisecond, true); len(got) > 0 || err != nil {
			t.Errorf("%s: %v, %v", backend, got, err)
		}
		h.EndHook()
		if !slices.Contains(w.sent, sent{-110, 9}) {
			t.Errorf("%v", w.sent)
		}
		w.sent = nil
		w.born(111, 110).PGID = 110
		w.end(hook, 1<<8)
		got, err := h.Wait(0, false)
		if err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		if e, ok := got[0].(watch.HookEnded); !ok || e.Err == nil || !strings.Contains(e.Err.Error(), "status 1") {
			t.Errorf("%v", got[0])
		}
		// Whom it left is ended while the zombie holds the group's number.
		if !slices.Equal(w.reaped, []int{110}) || !slices.Equal(w.sent, []sent{{-110, 9}}) {
			t.Errorf("reaped %v, sent %v", w.reaped, w.sent)
		}
		h.EndHook() // none runs
		if err := h.RunHook("/bin/none", nil, nil); err == nil {
			t.Error("no error")
		}
	}
}

func TestRecord(t *testing.T) {
	w := newWorld(t)
	h := w.host("event")
	w.born(90, 1)
	parentOf(t, h, 90)
	p := launched(t, w, h, 100)
	r, err := h.Record()
	if err != nil || r.Watchdog.PID != self || r.Worker != (proc.ID{PID: 100, Start: p.Start}) || r.Group != 100 || r.Session != 100 ||
		len(r.Parents) != 1 || r.Boot == "" || r.Seen <= p.Start {
		t.Errorf("%+v, %v", r, err)
	}
	if h.Refresh(&r) {
		t.Error("stale at once")
	}
	w.born(101, 100)
	h.Survey()
	if !h.Refresh(&r) {
		t.Error("somebody was born, and it is not stale")
	}
	if got := h.Created(r.Worker); got.UnixMicro() != int64(p.Start) {
		t.Error(got)
	}
}

func TestNoHeartbeats(t *testing.T) {
	h := newWorld(t).host("event")
	if _, err := h.ListenForBeats("@x", false); err == nil || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}
