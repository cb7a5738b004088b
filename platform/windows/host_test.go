//go:build windows

package windows

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
	"leash/internal/testkit"
	"leash/watch"
)

func newTestHost(t *testing.T, backend string) *Host {
	t.Helper()
	k := newTestKernel(t)
	k.exe = `C:\elsewhere\watchdog.exe`
	h, err := NewHost(k, backend, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func backends(t *testing.T, test func(*testing.T, string)) {
	for _, b := range []string{"event", "poll"} {
		t.Run(b, func(t *testing.T) { test(t, b) })
	}
}

// next waits for an event of one kind.
func next[E watch.Event](t *testing.T, h *Host) E {
	t.Helper()
	for {
		events, err := h.Wait(h.Now()+late, true)
		if err != nil || len(events) == 0 {
			t.Fatalf("no event: %v", err)
		}
		for _, e := range events {
			if e, ok := e.(E); ok {
				return e
			}
		}
	}
}

// guard runs the real machine until its end.
func guard(t *testing.T, h *Host, owns bool) (status int, records []watch.Record) {
	t.Helper()
	return guardFor(t, h, owns, 100*time.Millisecond)
}

func guardFor(t *testing.T, h *Host, owns bool, grace time.Duration) (status int, records []watch.Record) {
	t.Helper()
	m := watch.NewMachine(watch.Config{Owns: owns, Grace: grace, StopSignal: proc.TERM, Surveys: !owns})
	l := &logged{Host: h}
	status, err := watch.Guard(m, l)
	if err != nil {
		t.Fatal(err)
	}
	return status, l.records
}

type logged struct {
	*Host
	records []watch.Record
}

func (l *logged) Log(r watch.Record)    { l.records = append(l.records, r) }
func (l *logged) Hook(string) error     { return nil }
func (l *logged) EndHook()              {}
func (l *logged) PassOn(string)         {}
func (l *logged) Restart() (int, error) { return 0, nil }

func TestParentDies(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		h := newTestHost(t, backend)
		stays, a := start(t, "sleep", 0), start(t, "sleep", 0)
		for _, pid := range []int{stays.PID(), a.PID()} {
			if alive, err := h.AddParent(pid); !alive || err != nil {
				t.Fatal(alive, err)
			}
		}
		if events, err := h.Wait(h.Now()+20*time.Millisecond, true); len(events) > 0 || err != nil {
			t.Fatal(events, err)
		}
		a.cmd.Process.Kill()
		by := map[string]string{"event": "handle", "poll": "poll"}[backend]
		if e := next[watch.ParentDied](t, h); e.PID != a.PID() || e.By != by {
			t.Errorf("%+v", e)
		}
		a.End(t)
		if alive, err := h.AddParent(a.PID()); alive || err != nil {
			t.Errorf("a dead one: %v, %v", alive, err)
		}
	})
}

// More than one goroutine waits.
func TestManyParents(t *testing.T) {
	h := newTestHost(t, "event")
	a := start(t, "sleep", 0)
	hd := opened(t, h.Kernel, a.PID())
	var all []*handle
	for range 3*perWaiter + 1 {
		one := opened(t, h.Kernel, a.PID())
		h.notify(one)
		all = append(all, one)
	}
	if len(h.waits.all) != 4 || h.waited != len(all) {
		t.Errorf("%d goroutines wait for %d", len(h.waits.all), h.waited)
	}
	for _, one := range all[:perWaiter] { // and places are taken anew
		one.Close()
	}
	h.notify(hd)
	a.cmd.Process.Kill()
	h.ending = true
	next[watch.Quiet](t, h)
	for _, one := range append(all[perWaiter:], hd) {
		if one.entry != nil {
			t.Error("the end of one was not told")
		}
	}
	if h.waited != 0 {
		t.Errorf("%d are still waited for", h.waited)
	}
}

// Everything that descends from a worker ends: children, and theirs whose
// parents are gone. Nobody else does.
func TestGuard(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		h := newTestHost(t, backend)
		parent, worker, bystander := start(t, "sleep", 0), start(t, "fork", 0), start(t, "fork", 0)
		tree := []*handle{opened(t, h.Kernel, worker.PID()), opened(t, h.Kernel, worker.fork(t, "plain")), opened(t, h.Kernel, worker.fork(t, "group"))}
		other := opened(t, h.Kernel, bystander.fork(t, "plain"))
		h.AddParent(parent.PID())
		if _, err := h.Adopt(worker.PID()); err != nil {
			t.Fatal(err)
		}
		tree = append(tree, opened(t, h.Kernel, worker.fork(t, "plain")))
		if got := h.Containment(); got != "job,process,descendants" {
			t.Error(got)
		}
		parent.cmd.Process.Kill()
		status, records := guard(t, h, false)
		if status != 0 {
			t.Errorf("status %d, %v", status, records)
		}
		for i, p := range tree {
			if !p.ended() {
				t.Errorf("number %d lives", i)
			}
		}
		if other.ended() {
			t.Error("a bystander was hit")
		}
	})
}

// A worker that is gone leaves children which nobody had seen: they are found
// by the number of their parent, which stays his as long as we hold him.
func TestChildrenOfTheDead(t *testing.T) {
	h := newTestHost(t, "event")
	worker := start(t, "fork", 0)
	if _, err := h.Adopt(worker.PID()); err != nil {
		t.Fatal(err)
	}
	h.job.close(true) // as where no job is allowed
	h.job, h.tree.KillAll = nil, nil
	h.kin.enlist = nil
	child := opened(t, h.Kernel, worker.fork(t, "plain"))
	worker.cmd.Process.Kill()
	worker.cmd.Wait()
	status, records := guard(t, h, false)
	if status != 0 || !child.ended() {
		t.Errorf("status %d, the child ended: %v\n%v", status, child.ended(), records)
	}
}

func TestRun(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		h := newTestHost(t, backend)
		env := append(os.Environ(), roleVar+"=exit3")
		info, err := h.Start(os.Args[0], []string{"worker"}, env, nil)
		if err != nil || info.PID == 0 || info.Start == 0 {
			t.Fatal(info, err)
		}
		if got := h.Containment(); got != "job,process,descendants" && got != "job,group,descendants" {
			t.Error(got)
		}
		if status, records := guard(t, h, true); status != 3 {
			t.Errorf("status %d\n%v", status, records)
		}
		for _, path := range []string{`C:\no\such\thing.exe`, os.Args[0] + "x"} {
			if _, err := h.Start(path, []string{"x"}, env, nil); !os.IsNotExist(err) {
				t.Errorf("%s: %v", path, err)
			}
		}
		if _, err := h.Start(os.TempDir(), []string{"x"}, env, nil); err == nil || os.IsNotExist(err) {
			t.Errorf("a folder: %v", err)
		}
	})
}

// started is a worker of run, whose standard streams are ours to use.
func started(t *testing.T, h *Host, role string) *actor {
	t.Helper()
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { feed.Close(); out.Close() })
	stdin, stdout := syscall.Stdin, syscall.Stdout
	syscall.Stdin, syscall.Stdout = syscall.Handle(in.Fd()), syscall.Handle(w.Fd())
	_, err = h.Start(os.Args[0], os.Args[:1], append(os.Environ(), roleVar+"="+role), nil)
	syscall.Stdin, syscall.Stdout = stdin, stdout
	w.Close()
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	a := &actor{in: feed, out: bufio.NewReader(out)}
	if got := a.line(t); got != "ready" {
		t.Fatal(got)
	}
	return a
}

// A worker that does not listen is ended by force, with all its tree.
func TestRunIsEnded(t *testing.T) {
	h := newTestHost(t, "event")
	parent := start(t, "sleep", 0)
	h.AddParent(parent.PID())
	a := started(t, h, "deaf")
	child := opened(t, h.Kernel, a.fork(t, "group"))
	// A console's host may be there too.
	if got := h.job.pids(); len(got) > 3 || !slices.Contains(got, h.worker.pid) || !slices.Contains(got, child.pid) {
		t.Errorf("in the job: %d", got)
	}
	if !h.job.has(child.h) || h.job.has(opened(t, h.Kernel, parent.PID()).h) || h.job.empty() {
		t.Error("the job is wrong about who is in it")
	}
	parent.cmd.Process.Kill()
	status, records := guard(t, h, true)
	if !child.ended() || !h.job.empty() {
		t.Error("the child lives")
	}
	if exit, ok := h.Exit(); status != 137 || !ok || exit.Signal != proc.KILL {
		t.Errorf("status %d, %+v\n%v", status, exit, records)
	}
}

// A worker with a console of its own hears CTRL_C there, with all of its tree,
// and we do not take it for our own.
func TestAskInItsConsole(t *testing.T) {
	if hasConsole() {
		testkit.Skip(t, "we have a console, so the worker shares it")
	}
	h := newTestHost(t, "event")
	if err := h.Listen(true); err != nil {
		t.Fatal(err)
	}
	parent := start(t, "sleep", 0)
	h.AddParent(parent.PID())
	a := started(t, h, "polite")
	child := opened(t, h.Kernel, a.fork(t, "polite"))
	if got := a.line(t); got != "child ready" {
		t.Fatal(got)
	}
	parent.cmd.Process.Kill()
	status, records := guardFor(t, h, true, time.Hour)
	if status != 42 || child.exit().Code != 42 {
		t.Errorf("the worker ended with %d, its child with %+v\n%v", status, child.exit(), records)
	}
	if hasConsole() {
		t.Error("we are still attached")
	}
	for _, r := range records {
		if r.Event == "signal.sent" && r.Warn {
			t.Error(r)
		}
	}
}

// What we send to the console of the worker comes to us too, and is not for us.
func TestEventsToUs(t *testing.T) {
	h := newTestHost(t, "event")
	h.signalled(os.Interrupt)
	if got := len(h.events); hasConsole() != (got == 1) {
		t.Errorf("%v", h.events)
	}
	h.events = nil
	h.signalled(syscall.SIGTERM)
	want := watch.Signalled{Signal: proc.TERM, Role: watch.Ends}
	if len(h.events) != 1 || h.events[0] != want {
		t.Errorf("%v", h.events)
	}
}

// Who has no console, or shares one with others, cannot be asked.
func TestCannotBeAsked(t *testing.T) {
	if hasConsole() {
		testkit.Skip(t, "we have a console, so the worker shares it")
	}
	k := newTestKernel(t)
	none := opened(t, k, start(t, "sleep", win.DETACHED_PROCESS).PID())
	if err := none.Signal(proc.TERM); !errors.Is(err, errNoConsole) {
		t.Errorf("without a console: %v", err)
	}
	a := start(t, "polite", win.CREATE_NO_WINDOW)
	h, other := opened(t, k, a.PID()), opened(t, k, a.fork(t, "polite"))
	a.line(t)
	if err := h.Signal(proc.TERM); !errors.Is(err, errSharedConsole) {
		t.Errorf("with a bystander: %v", err)
	}
	if err := other.Signal(proc.TERM); !errors.Is(err, errSharedConsole) || h.ended() || other.ended() {
		t.Errorf("the other: %v", err)
	}
	k.mine = func(pid int) bool { return pid == other.pid }
	if err := h.Signal(proc.TERM); err != nil {
		t.Errorf("alone with its child: %v", err)
	}
	await(t, "the end of both", func() bool { return h.ended() && other.ended() })
}

// The system ends the tree when the job's last handle is closed.
func TestJobIsClosed(t *testing.T) {
	for _, spare := range []bool{false, true} {
		j, err := newJob(true)
		if err != nil {
			t.Fatal(err)
		}
		a := start(t, "fork", 0)
		h := opened(t, newTestKernel(t), a.PID())
		if err := j.add(h.h); err != nil {
			t.Fatal(err)
		}
		child := opened(t, h.k, a.fork(t, "plain"))
		j.close(spare)
		if !spare {
			await(t, "the end of the tree", func() bool { return h.ended() && child.ended() })
		} else if ev, _ := win.WaitForSingleObject(h.h, 50); ev == win.WAIT_OBJECT_0 {
			t.Error("it was to be spared")
		}
	}
}
