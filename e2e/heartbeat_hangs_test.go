//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

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
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for _, h := range hangs {
		run(h.name, func(t *testing.T) {
			p := runPatient(t, append(patience, "--on-hang-signal", "ABRT"), "--mute", "--beats", h.beats, "--child")
			p.hang(h.way)
			p.gone(124)
			wasHung(t, p.log, p.worker, 3)
			stacks(t, p.Stderr, h.stacks...)
		})
	}
}

// stacks looks for what faulthandler prints.
func stacks(t *testing.T, said *testkit.Lines, functions ...string) {
	t.Helper()
	for _, want := range append([]string{"Fatal Python error: Aborted"}, functions...) {
		said.AwaitMatch(match(want))
	}
}

// The control for the test above: who only works, beside a thread that beats,
// is not hung, and prints no stack.
func TestWorkersInAllWaysOfBeatingLive(t *testing.T) {
	t.Parallel()
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
	p.gone(124)
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
	p.does("speaker " + message)
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
	p.does("busy")
	speaker := p.speaker(hastens)
	for range 4 {
		p.log.AwaitEvent("heartbeat.received")
	}
	p.unharmed() // it is the quota, and not the work, that makes it hang
	starve(t, p.worker)
	speaker.say(t)
	p.gone(124)
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
	t.Parallel()
	run, wait := together(t)
	defer wait()
	run("timeout", func(t *testing.T) {
		p := runPatient(t, []string{"--heartbeat", "notify", "--heartbeat-interval", "1s", "--heartbeat-timeout", "2s", "--max-missed", "100"}, "--mute")
		p.hang("gil")
		p.gone(124)
		e := p.log.AwaitEvent("heartbeat.timeout")
		if e.Int("missed") < 1 || e.Int("missed") > 2 || e.Int("silence_ms") < 2000 || e.Str("reason") != "heartbeat_timeout" {
			t.Errorf("%v", e)
		}
	})
	run("trigger", func(t *testing.T) {
		p := runPatient(t, unhurried)
		p.order("send WATCHDOG=trigger")
		p.gone(124)
		if e := p.log.AwaitEvent("heartbeat.timeout"); e.Str("reason") != "trigger" || e.Int("missed") != 0 {
			t.Errorf("%v", e)
		}
		ended(t, p.log, "heartbeat_timeout")
	})
	run("deaf", func(t *testing.T) {
		p := runPatient(t, slices.Concat(patience, []string{"--grace", "200ms"}), "--mute", "--deaf", "--child")
		p.hang("gil")
		p.gone(124)
		wasHung(t, p.log, p.worker, 3)
		if e := named(p.log, "process.terminated"); e[0].Str("signal") != "SIGKILL" {
			t.Errorf("a deaf worker: %v", e)
		}
	})
	run("WATCHDOG_USEC at run time", func(t *testing.T) {
		p := runPatient(t, unhurried, "--beats", "none")
		p.order("send " + hastens)
		p.gone(124)
		if e := p.log.AwaitEvent("heartbeat.timeout"); e.Int("silence_ms") < 600 {
			t.Errorf("%v", e)
		}
	})
}

// Beside a worker that runs already the same is done; the status is guard's.
func TestHungWorkerBesideGuard(t *testing.T) {
	t.Parallel()
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
