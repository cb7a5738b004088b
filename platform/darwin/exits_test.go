package darwin

import (
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"leash/internal/proc"
)

// watching is a world, and the ends of processes in it.
type watching struct {
	*world
	k *Kernel
	*exits
	ends []*handle // in the order told
	lost []*handle
}

func newWatching(t *testing.T) *watching {
	w := newWorld(t)
	return &watching{world: w, k: w.kernel(), exits: newExits(&loop{q: w})}
}

func (w *watching) open(p *fake) *handle {
	w.t.Helper()
	h, err := w.k.open(p.PID)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// watch registers a process, which must work.
func (w *watching) watch(p *fake) *handle {
	w.t.Helper()
	h := w.open(p)
	if err := w.exits.add(h); err != nil {
		w.t.Fatal(err)
	}
	return h
}

// fetch takes all that the queue has.
func (w *watching) fetch() {
	w.t.Helper()
	for {
		some := false
		err := w.loop.wait(0, true, func(e kevent) {
			some = true
			ended, lost := w.event(e, w.WaitStatus)
			w.ends, w.lost = append(w.ends, ended...), append(w.lost, lost...)
		})
		if err != nil {
			w.t.Fatal(err)
		}
		w.ends = append(w.ends, w.take()...)
		if !some {
			return
		}
	}
}

func (w *watching) want(what string, ends ...*handle) {
	w.t.Helper()
	w.fetch()
	if !slices.Equal(w.ends, ends) {
		w.t.Errorf("%s: %d ends were told, not %d", what, len(w.ends), len(ends))
	}
}

func TestExitIsTold(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	h := w.watch(p)
	if err := w.exits.add(h); err != nil { // to ask again changes nothing
		t.Error(err)
	}
	w.want("before")
	w.exit(p, 3<<8) // and no zombie yet
	w.want("after", h)
	if h.exit != (proc.Exit{Known: true, Code: 3}) {
		t.Errorf("%+v", h.exit)
	}
	if info, err := h.Info(); err != nil || !info.Dead() {
		t.Errorf("it was told, and reads %+v, %v", info, err)
	}
	if err := w.exits.add(h); err != nil {
		t.Error(err)
	}
	w.want("told once", h)
}

// A registration finds no zombies, and of a PID that was taken anew another process.
func TestDeadBeforeRegistration(t *testing.T) {
	for name, die := range map[string]func(*watching, *fake){
		"a zombie":             func(w *watching, p *fake) { w.end(p, 0) },
		"reaped":               func(w *watching, p *fake) { w.end(p, 0); w.reap(p) },
		"its PID is another's": func(w *watching, p *fake) { w.end(p, 0); w.reap(p); w.born(p.PID, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatching(t)
			p := w.born(100, 1)
			h := w.open(p)
			die(w, p)
			if err := w.exits.add(h); err != nil {
				t.Fatal(err)
			}
			w.want("it is dead", h)
			if len(w.knotes) != 0 {
				t.Error("another process is waited for")
			}
		})
	}
}

func TestRefusedIsNotDead(t *testing.T) {
	for _, refused := range []syscall.Errno{syscall.ESRCH, syscall.ENOMEM} {
		w := newWatching(t)
		h := w.open(w.born(100, 1))
		w.refused = []error{refused}
		if err := w.exits.add(h); err != refused {
			t.Errorf("%v, want %v", err, refused)
		}
		w.want("it reads as alive")
	}
}

func TestNoStatusOfOthers(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	w.refused = []error{syscall.EACCES}
	h := w.watch(p)
	w.end(p, 3<<8)
	w.want("after", h)
	if h.exit.Known {
		t.Errorf("%+v", h.exit)
	}
}

func TestInterrupted(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	w.broken = []error{syscall.EINTR, syscall.EINTR}
	h := w.watch(p)
	w.end(p, 0)
	w.broken = []error{syscall.EINTR}
	if err := w.loop.wait(0, true, func(kevent) { t.Error("an event, and interrupted") }); err != nil {
		t.Error(err)
	}
	w.want("after", h)
	w.broken = []error{syscall.EBADF}
	if err := w.loop.wait(0, true, func(kevent) {}); err != syscall.EBADF {
		t.Errorf("%v", err)
	}
}

// It ends between the registration and the second read.
func TestDiesDuringRegistration(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	h := w.open(p)
	w.reading = func(int) {
		if len(w.knotes) > 0 && !p.over() {
			w.end(p, 1<<8)
		}
	}
	if err := w.exits.add(h); err != nil {
		t.Fatal(err)
	}
	w.want("once, though there was an event too", h)
}

// The event of an earlier owner of the number was not fetched when the next one
// was registered: that changed nothing for the queue.
func TestLateEvent(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	old := w.watch(p)
	w.end(p, 1<<8)
	w.reap(p)
	q := w.born(100, 1)
	h := w.watch(q)
	w.want("only the first has ended", old)
	if old.exit.Known {
		t.Errorf("a status, of one of two: %+v", old.exit)
	}
	w.end(q, 2<<8)
	w.want("then the second", old, h)
	if h.exit.Code != 2 {
		t.Errorf("%+v", h.exit)
	}
}

func TestSpuriousWakeups(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	h := w.watch(p)
	w.ready = []kevent{
		{Ident: 999, Filter: filterProc, Flags: evEOF, Fflags: noteExit},
		{Ident: 100, Filter: filterProc, Flags: evError, Data: int64(syscall.ESRCH)},
		{Ident: 100, Filter: filterProc, Flags: evEOF, Fflags: noteExit | noteExitStatus, Data: 9},
		{Ident: 100, Filter: filterProc},
	}
	w.want("it lives")
	w.end(p, 0)
	w.want("and is waited for all the same", h)
	if h.exit != (proc.Exit{Known: true}) {
		t.Errorf("%+v", h.exit)
	}
}

// An event takes the registration along, and there is no other to be had.
func TestLostRegistration(t *testing.T) {
	w := newWatching(t)
	h := w.watch(w.born(100, 1))
	w.ready = []kevent{{Ident: 100, Filter: filterProc, Flags: evEOF, Fflags: noteExit}}
	w.refused = []error{syscall.ENOMEM}
	w.want("it lives")
	if !slices.Equal(w.lost, []*handle{h}) || h.watched {
		t.Errorf("%d lost", len(w.lost))
	}
}

// An error does not tell of its end, but is a reason to check; and a registration that
// is left would keep the next owner of the number from being registered.
func TestErrorOfADeadOne(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	h := w.watch(p)
	w.zombie(p)
	w.ready = []kevent{{Ident: 100, Filter: filterProc, Flags: evError, Fflags: noteExit | noteExitStatus, Data: int64(syscall.EIO)}}
	w.want("it is over", h)
	if h.exit.Known || len(w.knotes) != 0 {
		t.Errorf("%+v, %d registrations", h.exit, len(w.knotes))
	}
}

// What was registered for one handle holds for the next.
func TestRegisteredAlready(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	a := w.watch(p)
	w.refused = []error{syscall.ENOMEM}
	b := w.watch(p)
	w.end(p, 1<<8)
	w.want("both", a, b)
	if a.exit.Code != 1 || b.exit.Code != 1 {
		t.Errorf("%+v, %+v", a.exit, b.exit)
	}
}

func TestUnreadableIsNotOver(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	h := w.watch(p)
	w.unreadable[100] = syscall.EIO
	w.ready = []kevent{{Ident: 100, Filter: filterProc, Flags: evEOF, Fflags: noteExit}}
	w.want("unknown is not dead")
	delete(w.unreadable, 100)
	w.end(p, 0)
	w.want("then it is", h)
}

func TestDrop(t *testing.T) {
	w := newWatching(t)
	p := w.born(100, 1)
	a, b := w.watch(p), w.watch(p)
	w.drop(a)
	w.end(p, 0)
	w.want("the other is told", b)

	q := w.born(101, 1)
	c := w.watch(q)
	w.drop(c)
	w.drop(c)
	if len(w.knotes) != 0 || len(w.waited) != 0 {
		t.Error("something is waited for still")
	}
	w.end(q, 0)
	w.want("no more are told", b)

	d := w.open(w.born(102, 1))
	w.zombie(w.procs[102])
	w.exits.add(d)
	w.drop(d) // told, and closed before it was taken
	w.want("no more are told", b)
}

// Whatever happens in whichever order: an end is told once, and only of the dead.
func TestEndsAreToldOnce(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWatching(t)
		of := make(map[*handle]*fake)
		dropped := make(map[*handle]bool)
		var all []*fake
		var handles []*handle
		step := func() {
			pid := 100 + r.IntN(3)
			p := w.procs[pid]
			switch r.IntN(8) {
			case 0, 1:
				if p == nil {
					all = append(all, w.born(pid, 1))
				}
			case 2:
				if p != nil && !p.over() {
					w.exit(p, r.IntN(5)<<8)
				}
			case 3:
				if p != nil && p.over() {
					w.zombie(p)
				}
			case 4:
				if p != nil && p.Stat == statZombie {
					w.reap(p)
				}
			case 5:
				if p != nil {
					h, err := w.k.open(pid)
					if err == nil && w.procs[pid] == p {
						of[h] = p
						handles = append(handles, h)
						if w.exits.add(h) != nil {
							dropped[h] = true
						}
					}
				}
			case 6:
				w.fetch()
			case 7:
				if len(handles) > 0 {
					h := handles[r.IntN(len(handles))]
					w.drop(h)
					dropped[h] = true
				}
			}
		}
		for range 60 {
			step()
			for _, h := range w.ends {
				if p := of[h]; p != nil && !p.over() {
					t.Fatalf("seed %d: %d was told, and lives", seed, p.PID)
				}
			}
		}
		for _, p := range all {
			if !p.over() {
				w.end(p, 0)
			}
		}
		w.fetch()
		told := make(map[*handle]int)
		for _, h := range w.ends {
			told[h]++
		}
		for _, h := range handles {
			if n := told[h]; n > 1 || n == 0 && !dropped[h] {
				t.Fatalf("seed %d: process %d was told %d times", seed, h.pid, n)
			}
			if h.exit.Known && h.exit.Code != of[h].Status>>8 {
				t.Fatalf("seed %d: status %d, not %d", seed, h.exit.Code, of[h].Status>>8)
			}
		}
		if len(w.knotes) != 0 {
			t.Fatalf("seed %d: %d registrations are left", seed, len(w.knotes))
		}
	}
}
