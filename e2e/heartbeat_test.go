//go:build linux

package e2e

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// together lets a test run beside other tests, and its subtests beside each other,
// more than there are processors: they mostly wait.
func together(t *testing.T) (run func(name string, body func(*testing.T)), wait func()) {
	t.Parallel()
	var all sync.WaitGroup
	return func(name string, body func(*testing.T)) { all.Go(func() { t.Run(name, body) }) }, all.Wait
}

// patient is a worker (hangs.py) that sends beats to a watchdog.
type patient struct {
	*testkit.Proc // the watchdog under run; the worker itself beside guard

	t      *testing.T
	log    *testkit.Lines // events, apart from what the worker says on standard error
	orders io.Writer
	worker testkit.Ident
	child  testkit.Ident // in a session of its own; none if there is no --child
	socket string
}

// patience is how these watchdogs are set up that are to find their worker hung:
// three beats missed, 1.05 s after the last sign of life. A machine may hold a
// healthy worker still for longer, so it has to be --mute until it hangs. What
// must not run out has minutes.
var patience = []string{"--heartbeat", "notify", "--heartbeat-interval", "300ms", "--max-missed", "3",
	"--grace", "1m", "--on-hang-timeout", "1m"}

// hasty is a patience of 0.5 s, for workers that are to send no beats for longer and not
// to be hung.
var hasty = []string{"--heartbeat", "notify", "--heartbeat-interval", "200ms", "--max-missed", "2", "--grace", "1m"}

// longer is how many seconds are more than hasty has.
const longer = "1.5"

// calm is for workers that beat, each fifth of a second, and are not to be hung
// even if the machine holds them still for some seconds. Its patience is 8 s, of
// 26 missed beats; what a worker says with hastens makes it 0.6 s, and one.
var calm = []string{"--heartbeat", "notify", "--heartbeat-interval", "300ms", "--heartbeat-timeout", "8s", "--max-missed", "100",
	"--grace", "1m", "--on-hang-timeout", "1m"}

const hastens = "WATCHDOG_USEC=600000"

// calmBeats are more than a calm watchdog's patience: one each 200 ms.
const calmBeats = 43

// unhurried never finds a worker hung that does not say so itself.
var unhurried = []string{"--heartbeat", "notify", "--heartbeat-interval", "1h", "--heartbeat-timeout", "2h", "--grace", "1m"}

// unjudged is READY=1 of a worker; from then on its missed beats do not count.
const unjudged = `READY=1\nWATCHDOG_USEC=0`

// beating is a command line of run around hangs.py.
func beating(t *testing.T, flags []string, args ...string) *exec.Cmd {
	t.Helper()
	line := slices.Concat([]string{"run"}, flags, []string{"--", testkit.NeedPython(t), peer(t, "hangs.py")}, args)
	cmd := watchdog(t, line...)
	cmd.Env = append(withClient(t, cmd.Env), "LEASH_LOG_LEVEL=debug", "LEASH_LOG_FD=3")
	return cmd
}

// withClient lets a Python worker find the client.
func withClient(t *testing.T, env []string) []string {
	t.Helper()
	return append(env, "PYTHONPATH="+filepath.Join(testkit.Root(t), "clients", "python"), "PYTHONDONTWRITEBYTECODE=1")
}

// startPatient starts the command and waits for its worker.
func startPatient(t *testing.T, cmd *exec.Cmd) *patient {
	t.Helper()
	p := unmet(t, cmd)
	p.awaitWorker(slices.Contains(cmd.Args, "--child"))
	return p
}

// unmet starts the command only: its worker may be ended before it says anything.
func unmet(t *testing.T, cmd *exec.Cmd) *patient {
	t.Helper()
	p := &patient{t: t, orders: input(t, cmd)}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	p.log = testkit.Collect(t, r)
	cmd.ExtraFiles = []*os.File{w}
	p.Proc = testkit.Start(t, cmd)
	w.Close()
	return p
}

// awaitWorker reads what a worker says until it is ready.
func (p *patient) awaitWorker(child bool) {
	p.t.Helper()
	p.socket = p.Stdout.Await("SOCKET ")
	if child {
		p.child = identOf(p.t, p.Stdout, "CHILD")
	}
	p.worker = identOf(p.t, p.Stdout, "READY")
}

// runPatient admits a worker under run.
func runPatient(t *testing.T, flags []string, args ...string) *patient {
	t.Helper()
	return startPatient(t, beating(t, flags, args...))
}

// alone starts hangs.py without a watchdog, but told of a socket.
func alone(t *testing.T, socket string, args ...string) *patient {
	t.Helper()
	return startPatient(t, aloneCommand(t, socket, args...))
}

func aloneCommand(t *testing.T, socket string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(testkit.NeedPython(t), append([]string{peer(t, "hangs.py")}, args...)...)
	cmd.Env = append(withClient(t, os.Environ()), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=600000")
	return cmd
}

// order tells the worker to do something, and does not wait.
func (p *patient) order(line string) { p.t.Helper(); tell(p.t, p.orders, line) }

// orderAndAwait waits for the answer too.
func (p *patient) orderAndAwait(line string) {
	p.t.Helper()
	p.order(line)
	p.Stdout.Await("STILL HERE")
}

// hang returns when the worker does.
func (p *patient) hang(way string) {
	p.t.Helper()
	p.order("hang " + way)
	p.Stdout.Await("HANGING")
}

// awaitEnd waits for the end of the watchdog and of every process that has its streams.
// Of the worker's processes none may be left that had the time to print its PID.
func (p *patient) awaitEnd(status int) {
	p.t.Helper()
	if got := p.Wait(); got != status {
		p.t.Errorf("status %d, want %d", got, status)
	}
	p.Stdout.AwaitEnd()
	p.Stderr.AwaitEnd()
	p.log.AwaitEnd()
	for _, word := range []string{"CHILD", "READY"} {
		noneLeft(p.t, p.Stdout, word)
	}
}

// told are the PIDs that were printed behind a keyword. Those processes may have ended.
func told(lines *testkit.Lines, word string) (pids []int) {
	for line := range strings.Lines(lines.All()) {
		if text, ok := strings.CutPrefix(line, word+" "); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// noneLeft fails the test if one of them lives.
func noneLeft(t *testing.T, lines *testkit.Lines, word string) {
	t.Helper()
	for _, pid := range told(lines, word) {
		if id, ok := testkit.Lookup(pid); ok && id.Alive() {
			testkit.Adopt(t, id)
			t.Errorf("%s is left: %v", word, id)
		}
	}
}

// inTime plays with a short time-out that must run out, or not, and with a longer
// one if the machine left no time for what was to happen before: then body says
// false.
func inTime(t *testing.T, first time.Duration, body func(limit time.Duration) bool) {
	t.Helper()
	for limit := first; !body(limit); limit *= 2 {
		if limit > time.Minute || t.Failed() {
			t.Fatalf("a time-out of %v was too short too", limit)
		}
	}
}

// awaitTreeGone waits for the end of the tree and of the watchdog.
func (p *patient) awaitTreeGone(status int) {
	p.t.Helper()
	testkit.AwaitGone(p.t, p.tree()...)
	if got := p.Wait(); got != status {
		p.t.Errorf("status %d, want %d", got, status)
	}
	p.Stderr.AwaitEnd()
	p.log.AwaitEnd()
}

func (p *patient) tree() []testkit.Ident {
	if p.child.PID == 0 {
		return []testkit.Ident{p.worker}
	}
	return []testkit.Ident{p.worker, p.child}
}

// named lists the events of a name.
func named(lines *testkit.Lines, name string) (found []testkit.Event) {
	for _, e := range lines.Events() {
		if e.Name() == name {
			found = append(found, e)
		}
	}
	return found
}

// before lists the events of a name that come before the first one of another.
func before(lines *testkit.Lines, name, end string) (found []testkit.Event) {
	for _, e := range lines.Events() {
		if e.Name() == end {
			return found
		}
		if e.Name() == name {
			found = append(found, e)
		}
	}
	return found
}

// unharmed fails the test if the watchdog ever took the worker for hung.
func (p *patient) unharmed(events ...string) {
	p.t.Helper()
	testkit.StillAlive(p.t, append(p.tree(), p.Ident)...)
	for _, name := range append(events, "heartbeat.timeout") {
		if found := named(p.log, name); len(found) != 0 {
			p.t.Errorf("a healthy worker: %v", found)
		}
	}
}

// wasHung checks the events of a watchdog about a worker that hung: misses one by one, the
// timeout, the end, and none of them twice.
func wasHung(t *testing.T, lines *testkit.Lines, worker testkit.Ident, misses int) {
	t.Helper()
	timeout := lines.AwaitEvent("heartbeat.timeout")
	if timeout.Str("reason") != "heartbeat_timeout" || timeout.Int("process.pid") != worker.PID || timeout.Int("missed") != misses {
		t.Errorf("want %d misses of %v: %v", misses, worker, timeout)
	}
	missed := before(lines, "heartbeat.missed", "heartbeat.timeout")
	if len(missed) < misses { // more, if one came late and it was well again
		t.Fatalf("%d misses before the end, want %d: %v", len(missed), misses, missed)
	}
	for i, e := range missed[len(missed)-misses:] {
		// The (i+1)th is declared half an interval after it was due.
		least := 300*(i+1) + 150
		if e.Int("missed") != i+1 || e.Int("silence_ms") < least || e.Str("level") != "WARN" {
			t.Errorf("miss %d, at least %d ms: %v", i+1, least, e)
		}
	}
	ended(t, lines, "heartbeat_timeout")
	if n := len(named(lines, "heartbeat.timeout")); n != 1 {
		t.Errorf("%d times hung", n)
	}
}

// ended checks the events of an end.
func ended(t *testing.T, lines *testkit.Lines, outcome string) {
	t.Helper()
	if e := lines.AwaitEvent("process.terminated"); e.Str("reason") != outcome {
		t.Errorf("terminated for another reason than %s: %v", outcome, e)
	}
	if e := lines.AwaitEvent("process.cleanup_completed"); e["success"] != true || e.Int("survivors") != 0 {
		t.Errorf("cleanup: %v", e)
	}
	if e := lines.AwaitEvent("watchdog.stopped"); e.Str("outcome") != outcome {
		t.Errorf("outcome is not %s: %v", outcome, e)
	}
}

// socketDir is a short way to a new folder: addresses of sockets hold 107 bytes.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "leash-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// manager is a socket as a service manager has it.
type manager struct {
	path  string
	said  chan string
	heard []string // what await has seen
}

func listen(t *testing.T, path string) *manager {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	m := &manager{path: path, said: make(chan string, 1000)}
	go receive(socket, m.said)
	return m
}

// await returns the next message that is about one key.
func (m *manager) await(t *testing.T, key string) string {
	t.Helper()
	late := time.After(testkit.Patience)
	for {
		select {
		case message := <-m.said:
			m.heard = append(m.heard, message)
			if slices.ContainsFunc(strings.Split(message, "\n"), func(l string) bool { return strings.HasPrefix(l, key+"=") }) {
				return message
			}
		case <-late:
			t.Fatalf("no process said %s, only %q", key, m.heard)
		}
	}
}

// Start-up may take any time, unless a limit is set.
func TestSlowStarterIsNotHung(t *testing.T) {
	t.Parallel()
	p := runPatient(t, hasty, "--startup", longer, "--beats", "none", "--says", unjudged, "--child")
	p.log.AwaitEvent("process.ready")
	if found := before(p.log, "heartbeat.missed", "process.ready"); len(found) != 0 {
		t.Errorf("missed before it was ready: %v", found)
	}
}

// A worker that never sends anything is never hung, and is not ready either.
func TestSilentWorker(t *testing.T) {
	run, wait := together(t)
	defer wait()
	run("for ever", func(t *testing.T) {
		p := runPatient(t, hasty, "--beats", "none", "--never-ready")
		p.orderAndAwait("later " + longer)
		p.unharmed("heartbeat.missed", "process.ready")
	})
	run("not ready in time", func(t *testing.T) {
		p := unmet(t, slowShell(t, "--startup-timeout", "300ms"))
		p.awaitEnd(124)
		notReady(t, p, 0)
	})
	run("well, and not ready in time", func(t *testing.T) {
		inTime(t, 2*time.Second, func(limit time.Duration) bool {
			p := unmet(t, beating(t, append(calm, "--startup-timeout", limit.String()), "--never-ready", "--child"))
			p.awaitEnd(124)
			notReady(t, p, 26)
			return len(named(p.log, "heartbeat.received")) > 0
		})
	})
	run("ready in time", func(t *testing.T) {
		inTime(t, 2*time.Second, func(limit time.Duration) bool {
			p := unmet(t, beating(t, append(unhurried, "--startup-timeout", limit.String())))
			if !p.log.Happens("process.ready") {
				return false
			}
			p.awaitWorker(false)
			p.orderAndAwait("later " + seconds(limit))
			p.unharmed()
			return true
		})
	})
	run("more time for the start", func(t *testing.T) {
		inTime(t, 2*time.Second, func(limit time.Duration) bool {
			p := unmet(t, beating(t, append(unhurried, "--startup-timeout", limit.String()), "--beats", "none", "--never-ready"))
			// All at once: the worker may have ended before it reads the last of it.
			_, _ = io.WriteString(p.orders, `send EXTEND_TIMEOUT_USEC=3600000000\nSTATUS=extended`+"\nlater "+seconds(limit)+"\nsend READY=1\n")
			ready := p.log.Happens("process.ready")
			if len(before(p.log, "process.status", "heartbeat.timeout")) == 0 {
				return false
			}
			if !ready {
				t.Fatal("it had asked for more time")
			}
			p.awaitWorker(false)
			p.unharmed()
			return true
		})
	})
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// slowShell is a worker that is there at once, and never ready.
func slowShell(t *testing.T, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := watchdog(t, slices.Concat([]string{"run"}, patience, flags, []string{"--", "sh", "-c",
		`setsid sleep 1000000 & echo "CHILD $!"; echo "READY $$"; exec sleep 1000000`})...)
	cmd.Env = append(cmd.Env, "LEASH_LOG_FD=3")
	return cmd
}

// notReady checks the events about it. As many beats may be missed, at most.
func notReady(t *testing.T, p *patient, missed int) {
	t.Helper()
	e := p.log.AwaitEvent("heartbeat.timeout")
	if e.Str("reason") != "startup_timeout" || e.Int("missed") < 0 || e.Int("missed") > missed {
		t.Errorf("%v", e)
	}
	ended(t, p.log, "startup_timeout")
}

// Beside guard the time for the start begins with the watch. READY=1 may have
// been said before that: then a beat shows that the start is over.
func TestStartBesideGuard(t *testing.T) {
	run, wait := together(t)
	defer wait()
	run("not ready in time", func(t *testing.T) {
		p := alone(t, "@leash-e2e-"+newRunID(), "--beats", "none", "--never-ready", "--child")
		g := guardPatient(t, p, append(patience, "--startup-timeout", "500ms")...)
		testkit.AwaitGone(t, p.tree()...)
		if status := g.Wait(); status != 0 {
			t.Errorf("status %d", status)
		}
		ended(t, g.Stderr, "startup_timeout")
	})
	run("ready before", func(t *testing.T) {
		inTime(t, time.Second, func(limit time.Duration) bool {
			p := alone(t, "@leash-e2e-"+newRunID(), "--never-ready")
			g := guardPatient(t, p, append(calm, "--startup-timeout", limit.String())...)
			g.Stderr.Happens("heartbeat.received")
			if len(before(g.Stderr, "heartbeat.received", "heartbeat.timeout")) == 0 {
				return false
			}
			p.orderAndAwait("later " + seconds(limit))
			testkit.StillAlive(t, append(p.tree(), g.Ident)...)
			if found := named(g.Stderr, "heartbeat.timeout"); len(found) != 0 {
				t.Errorf("it beats: %v", found)
			}
			return true
		})
	})
}

// A long request in which nothing of Python runs: with extend() it is no hang.
func TestLongRequest(t *testing.T) {
	run, wait := together(t)
	defer wait()
	run("extended", func(t *testing.T) {
		p := runPatient(t, hasty, "--mute", "--child")
		p.orderAndAwait("extend 3600")
		p.orderAndAwait("speak")     // from here on beats are due
		p.orderAndAwait("later 0.3") // the beats that follow take nothing of it away
		p.orderAndAwait("block " + longer)
		p.unharmed("heartbeat.missed")
	})
	run("extended, and over", func(t *testing.T) {
		p := runPatient(t, hasty, "--mute", "--hasten", "EXTEND_TIMEOUT_USEC=500000", "--child")
		p.hang("gil") // it is not repeated
		p.awaitTreeGone(124)
		p.log.AwaitEvent("heartbeat.timeout")
	})
}

// A watchdog that did not run counts no beat that was missed in that time.
func TestWatchdogThatWasStopped(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, stopped := range []string{"alone", "with its worker", "before a silent worker"} {
		run(stopped, func(t *testing.T) {
			p := runPatient(t, calm, "--hasten", hastens, "--child")
			p.log.AwaitEvent("heartbeat.received")
			processes := []testkit.Ident{p.Ident}
			switch stopped {
			case "with its worker":
				processes = append(processes, p.worker)
			case "before a silent worker": // no beat comes before the missed ones are counted
				p.order("block 11")
			}
			for _, id := range processes {
				if err := id.Signal(unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				awaitState(t, id.PID, "T")
			}
			// Longer than a worker may miss beats; there is no event to wait for.
			testkit.StayAlive(t, 8500*time.Millisecond, processes...)
			for _, id := range processes {
				if err := id.Signal(unix.SIGCONT); err != nil {
					t.Fatal(err)
				}
			}
			p.orderAndAwait("later 0")
			heard := len(named(p.log, "heartbeat.received"))
			for len(named(p.log, "heartbeat.received")) < heard+3 {
				p.log.AwaitEvent("heartbeat.received")
			}
			p.unharmed()
			// It has not only given up: the next hang is one.
			p.hang("gil")
			p.awaitTreeGone(124)
			wasHung(t, p.log, p.worker, 1)
		})
	}
}

// Beats at half of WATCHDOG_USEC, as the protocol asks for, are enough. One that
// was late is missed, and rightly so: then it is tried again.
func TestBeatAtEachIntervalIsNeverMissed(t *testing.T) {
	t.Parallel()
	for range 20 {
		p := runPatient(t, []string{"--heartbeat", "notify", "--heartbeat-interval", "1s", "--heartbeat-timeout", "1m", "--max-missed", "50"},
			"--beats", "none", "--mute")
		p.orderAndAwait("exact 3")
		longest, err := strconv.ParseFloat(p.Stdout.Await("LONGEST "), 64)
		if err != nil {
			t.Fatal(err)
		}
		if longest > 1.4 { // intervals; 1.5 are too many
			t.Logf("the machine let %g intervals pass between two beats", longest)
			continue
		}
		p.orderAndAwait("barrier")
		p.unharmed("heartbeat.missed")
		for range 3 {
			p.log.AwaitEvent("heartbeat.received")
		}
		return
	}
	t.Error("no beat was ever in time")
}

// A worker that has sent STOPPING=1 may stop beating; only the grace period ends it.
func TestSilenceWhileStopping(t *testing.T) {
	t.Parallel()
	p := runPatient(t, hasty, "--mute", "--child")
	p.orderAndAwait(`send READY=1\nSTOPPING=1`)
	p.orderAndAwait("block " + longer)
	p.log.AwaitEvent("process.stopping")
	p.unharmed()
	if n := len(named(p.log, "process.stopping")); n != 1 {
		t.Errorf("%d times stopping", n)
	}
}

// WATCHDOG_USEC=0 at run time: beats are not expected any more.
func TestJudgingSwitchedOff(t *testing.T) {
	t.Parallel()
	p := runPatient(t, hasty, "--mute")
	p.orderAndAwait("send " + unjudged)
	p.orderAndAwait("block " + longer)
	p.unharmed()
}

// Draining: a worker that stops may ask for more than the grace, up to
// --grace-max, and ends with its own status.
func TestDraining(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, c := range []struct {
		name, drain string
		flags       []string
		status      int
	}{
		{"stretched", "5.5", []string{"--grace", "5s", "--grace-max", "5m"}, 7},
		{"not stretched", "1000000", []string{"--grace", "2s"}, 137},
		{"too far", "1000000", []string{"--grace", "2s", "--grace-max", "4s"}, 137},
	} {
		run(c.name, func(t *testing.T) {
			p := runPatient(t, slices.Concat(unhurried, c.flags), "--drain", c.drain, "--child")
			p.log.AwaitEvent("process.ready")
			p.Signal(unix.SIGTERM)
			p.awaitTreeGone(c.status)
			if text := p.Stdout.AwaitEnd(); strings.Contains(text, "DRAINING") { // it may not have come to it in its grace
				p.log.AwaitEvent("process.stopping")
			}
			ended(t, p.log, "signalled")
		})
	}
}

// The same when the parent's death causes the stop, beside guard too.
func TestDrainingAfterTheParentsDeath(t *testing.T) {
	run, wait := together(t)
	defer wait()
	flags := append(unhurried, "--grace", "5s", "--grace-max", "5m")
	run("run", func(t *testing.T) {
		parent := sleeper(t)
		p := runPatient(t, append(flags, "--parent-pid", pid(parent)), "--drain", "5.5")
		p.log.AwaitEvent("process.ready")
		parent.Kill()
		p.Stdout.Await("DRAINED")
		testkit.AwaitGone(t, p.worker)
	})
	run("guard", func(t *testing.T) {
		parent := sleeper(t)
		p := alone(t, "@leash-e2e-"+newRunID(), "--drain", "5.5")
		g := guardPatient(t, p, append(flags, "--parent-pid", pid(parent))...)
		parent.Kill()
		p.Stdout.Await("DRAINED")
		testkit.AwaitGone(t, p.worker)
		if status := g.Wait(); status != 0 {
			t.Errorf("status %d", status)
		}
	})
}

// hangs are the ways in which real workers do.
var hangs = []struct {
	name, beats, way string
	stacks           []string // functions in which its threads are
}{
	{"GIL held by C code", "timer", "gil", []string{"hold_the_gil"}},
	{"deadlock", "progress", "lock", []string{"deadlock", "other_side"}},
	{"endless loop", "progress", "spin", []string{"spin_for_ever"}},
	{"endless loop in asyncio", "loop", "spin", []string{"spin_for_ever"}},
	{"blocked asyncio loop", "loop", "sleep", []string{"sleep_for_ever"}},
}

// Each kind of hang is noticed, the stack of every thread is printed before
// the end, and nothing of the tree is left.
func TestHungWorkersAreEnded(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, h := range hangs {
		run(h.name, func(t *testing.T) {
			p := runPatient(t, append(patience, "--on-hang-signal", "ABRT"), "--mute", "--beats", h.beats, "--child")
			p.hang(h.way)
			p.awaitTreeGone(124)
			wasHung(t, p.log, p.worker, 3)
			stacks(t, p.Stderr, h.stacks...)
		})
	}
}

// stacks searches for what faulthandler prints.
func stacks(t *testing.T, said *testkit.Lines, functions ...string) {
	t.Helper()
	for _, want := range append([]string{"Fatal Python error: Aborted"}, functions...) {
		said.AwaitMatch(match(want))
	}
}

// The control for the test above: a worker that is busy, beside a thread that beats,
// is not hung, and prints no stack.
func TestWorkersInAllWaysOfBeatingLive(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, beats := range []string{"timer", "progress", "loop"} {
		run(beats, func(t *testing.T) {
			p := runPatient(t, append(calm, "--on-hang-signal", "ABRT"), "--beats", beats, "--child")
			for range calmBeats {
				p.log.AwaitEvent("heartbeat.received")
			}
			p.unharmed()
		})
	}
}

func TestStoppedWorkerIsHung(t *testing.T) {
	t.Parallel()
	p := runPatient(t, append(patience, "--on-hang-signal", "ABRT"), "--mute", "--child")
	speaker := p.speaker("READY=1")
	if err := p.worker.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitState(t, p.worker.PID, "T")
	speaker.say(t)
	p.awaitTreeGone(124)
	wasHung(t, p.log, p.worker, 3)
	stacks(t, p.Stderr, "in run", "in main") // it was continued, or it could not have said it
	if s := p.log.AwaitEvent("signal.sent"); s.Str("signal") != "SIGABRT" || s.Int("target_pid") != p.worker.PID {
		t.Errorf("the first signal: %v", s)
	}
}

// speaker is a child of a worker that says one thing to the watchdog when the
// test wants it, whatever has become of the worker.
type speaker testkit.Ident

func (p *patient) speaker(message string) speaker {
	p.t.Helper()
	p.orderAndAwait("speaker " + message)
	return speaker(identOf(p.t, p.Stdout, "SPEAKER"))
}

func (s speaker) say(t *testing.T) {
	t.Helper()
	if err := testkit.Ident(s).Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
}

// A machine that has no time for the worker: a quota as it is set for
// containers, and work that uses it up.
func TestWorkerWithoutTimeIsHung(t *testing.T) {
	t.Parallel()
	p := runPatient(t, calm, "--child")
	p.orderAndAwait("busy")
	speaker := p.speaker(hastens)
	for range 4 {
		p.log.AwaitEvent("heartbeat.received")
	}
	p.unharmed() // it is the quota, and not the work, that makes it hang
	starve(t, p.worker)
	speaker.say(t)
	p.awaitTreeGone(124)
	wasHung(t, p.log, p.worker, 1)
}

// starve leaves a process 1 ms in each second. To change from one Python thread
// to another takes 5 ms, to end takes 1 or 2.
func starve(t *testing.T, id testkit.Ident) {
	t.Helper()
	name := "leash-quota-" + itoa(id.PID)
	for _, kind := range []struct {
		base  string
		files [][2]string
	}{
		{"/sys/fs/cgroup/cpu", [][2]string{{"cpu.cfs_period_us", "1000000"}, {"cpu.cfs_quota_us", "1000"}}},
		{"/sys/fs/cgroup", [][2]string{{"cpu.max", "1000 1000000"}}},
	} {
		dir := filepath.Join(kind.base, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			testkit.AwaitGone(t, id)
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		limited := true
		for _, f := range kind.files {
			limited = limited && os.WriteFile(filepath.Join(dir, f[0]), []byte(f[1]), 0) == nil
		}
		if limited {
			write(t, filepath.Join(dir, "cgroup.procs"), itoa(id.PID))
			return
		}
	}
	testkit.Skip(t, "no cgroup with a quota of CPU time can be made here")
}

// The timeout counts too, without so many misses; and a worker may say itself
// that it hangs.
func TestOtherWaysToBeHung(t *testing.T) {
	run, wait := together(t)
	defer wait()
	run("timeout", func(t *testing.T) {
		p := runPatient(t, []string{"--heartbeat", "notify", "--heartbeat-interval", "1s", "--heartbeat-timeout", "2s", "--max-missed", "100"}, "--mute")
		p.hang("gil")
		p.awaitTreeGone(124)
		e := p.log.AwaitEvent("heartbeat.timeout")
		if e.Int("missed") < 1 || e.Int("missed") > 2 || e.Int("silence_ms") < 2000 || e.Str("reason") != "heartbeat_timeout" {
			t.Errorf("%v", e)
		}
	})
	run("trigger", func(t *testing.T) {
		p := runPatient(t, unhurried)
		p.order("send WATCHDOG=trigger")
		p.awaitTreeGone(124)
		if e := p.log.AwaitEvent("heartbeat.timeout"); e.Str("reason") != "trigger" || e.Int("missed") != 0 {
			t.Errorf("%v", e)
		}
		ended(t, p.log, "heartbeat_timeout")
	})
	run("ignores TERM", func(t *testing.T) {
		p := runPatient(t, slices.Concat(patience, []string{"--grace", "200ms"}), "--mute", "--deaf", "--child")
		p.hang("gil")
		p.awaitTreeGone(124)
		wasHung(t, p.log, p.worker, 3)
		if e := named(p.log, "process.terminated"); e[0].Str("signal") != "SIGKILL" {
			t.Errorf("a worker that ignores TERM: %v", e)
		}
	})
	run("WATCHDOG_USEC at run time", func(t *testing.T) {
		p := runPatient(t, unhurried, "--beats", "none")
		p.order("send " + hastens)
		p.awaitTreeGone(124)
		if e := p.log.AwaitEvent("heartbeat.timeout"); e.Int("silence_ms") < 600 {
			t.Errorf("%v", e)
		}
	})
}

// Beside a worker that runs already the same is done; the status is guard's.
func TestHungWorkerBesideGuard(t *testing.T) {
	run, wait := together(t)
	defer wait()
	for _, name := range []string{"path", "abstract"} {
		run(name, func(t *testing.T) {
			socket := filepath.Join(socketDir(t), "notify")
			if name == "abstract" {
				socket = "@leash-e2e-" + newRunID()
			}
			p := alone(t, socket, "--mute", "--child")
			g := guardPatient(t, p, append(patience, "--on-hang-signal", "ABRT")...)
			p.hang("gil")
			testkit.AwaitGone(t, p.tree()...)
			if status := g.Wait(); status != 0 {
				t.Errorf("status %d", status)
			}
			wasHung(t, g.Stderr, p.worker, 3)
			stacks(t, p.Stderr, "hold_the_gil")
			if _, err := os.Lstat(socket); err == nil {
				t.Error("the socket is left behind")
			}
		})
	}
}

// guardPatient puts a watchdog beside a worker that has a socket already.
func guardPatient(t *testing.T, p *patient, flags ...string) *testkit.Proc {
	t.Helper()
	cmd := watchdog(t, append([]string{"guard", "--worker-pid", itoa(p.worker.PID), "--notify-socket", p.socket}, flags...)...)
	cmd.Env = append(cmd.Env, "LEASH_LOG_LEVEL=debug")
	g := testkit.Start(t, cmd)
	g.Stderr.AwaitEvent("watchdog.started")
	return g
}

// aboveAnother starts a watchdog with this shell script as its worker, in which "$0" is
// another watchdog.
func aboveAnother(t *testing.T, script string) *testkit.Proc {
	t.Helper()
	testkit.Need(t, "systemd-notify")
	cmd := watchdog(t, slices.Concat([]string{"run"}, calm, []string{"--", "sh", "-c", script, testkit.Watchdog(t)})...)
	cmd.Env = append(cmd.Env, "LEASH_LOG_LEVEL=debug", "LEASH_LOG_FORMAT=json")
	orders := input(t, cmd)
	p := testkit.Start(t, cmd)
	p.Stdout.Await("up")
	t.Cleanup(func() { tell(t, orders, "enough") })
	return p
}

// A watchdog that is the worker of another lets it know that it is ready, and
// beats for as long as it runs itself.
func TestWatchdogAsWorker(t *testing.T) {
	t.Parallel()
	p := aboveAnother(t, `exec "$0" run --log-file /dev/null --heartbeat notify -- sh -c "systemd-notify --ready; echo up; read x"`)
	p.Stderr.AwaitEvent("process.ready")
	for range 5 {
		p.Stderr.AwaitEvent("heartbeat.received")
	}
}

// One that is somewhere below the worker does not speak for it.
func TestWatchdogBelowTheWorker(t *testing.T) {
	t.Parallel()
	p := aboveAnother(t, `"$0" run --log-file /dev/null --heartbeat notify -- sh -c "
	systemd-notify --ready --status=inner; systemd-notify STOPPING=1"
systemd-notify --ready; echo up; read x`)
	p.Stderr.AwaitEvent("process.ready")
	for _, name := range []string{"process.status", "process.stopping", "heartbeat.received"} {
		if found := before(p.Stderr, name, "process.ready"); len(found) > 0 {
			t.Errorf("%s was taken for the worker's", name)
		}
	}
}
