//go:build linux

package e2e

import (
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// Start-up may take as long as it likes, unless somebody says how long.
func TestSlowStarterIsNotHung(t *testing.T) {
	t.Parallel()
	p := runPatient(t, hasty, "--startup", longer, "--child")
	p.log.AwaitEvent("process.ready")
	if found := before(p.log, "heartbeat.missed", "process.ready"); len(found) != 0 {
		t.Errorf("missed before it was ready: %v", found)
	}
}

// Who never says anything is never hung, and is not ready either.
func TestSilentWorker(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	run("for ever", func(t *testing.T) {
		p := runPatient(t, hasty, "--beats", "none", "--never-ready")
		p.does("later " + longer)
		p.unharmed("heartbeat.missed", "process.ready")
	})
	run("not ready in time", func(t *testing.T) {
		p := admit(t, slowShell(t, "--startup-timeout", "300ms"))
		p.gone(124)
		notReady(t, p)
	})
	run("well, and not ready in time", func(t *testing.T) {
		p := runPatient(t, append(patience, "--startup-timeout", "2s"), "--never-ready", "--child")
		p.log.AwaitEvent("heartbeat.received")
		p.gone(124)
		notReady(t, p)
	})
	run("ready in time", func(t *testing.T) {
		p := runPatient(t, append(patience, "--startup-timeout", "10s"))
		p.log.AwaitEvent("process.ready")
		p.does("later " + longer)
		p.unharmed()
	})
	run("more time for the start", func(t *testing.T) {
		p := runPatient(t, []string{"--heartbeat", "notify", "--startup-timeout", "2s"}, "--beats", "none", "--never-ready")
		p.does("extend 3600")
		p.does("later 2.2")
		p.does("send READY=1")
		p.log.AwaitEvent("process.ready")
		p.unharmed()
	})
}

// slowShell is a worker that is there at once, and never ready.
func slowShell(t *testing.T, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := watchdog(t, slices.Concat([]string{"run"}, patience, flags, []string{"--", "sh", "-c",
		`echo "SOCKET "; setsid sleep 1000000 & echo "CHILD $!"; echo "READY $$"; exec sleep 1000000`, "--child"})...)
	cmd.Env = append(cmd.Env, "LEASH_LOG_FD=3")
	return cmd
}

func notReady(t *testing.T, p *patient) {
	t.Helper()
	e := p.log.AwaitEvent("heartbeat.timeout")
	if e.Str("reason") != "startup_timeout" || e.Int("missed") != 0 {
		t.Errorf("%v", e)
	}
	ended(t, p.log, "startup_timeout")
}

// Beside guard the time for the start begins with the watch. READY=1 may have
// been said before that: then a beat shows that the start is over.
func TestStartBesideGuard(t *testing.T) {
	t.Parallel()
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
		p := alone(t, "@leash-e2e-"+newRunID(), "--never-ready", "--child")
		g := guardPatient(t, p, append(patience, "--startup-timeout", "1s")...)
		p.does("later " + longer)
		testkit.StillAlive(t, append(p.tree(), g.Ident)...)
		if found := named(g.Stderr, "heartbeat.timeout"); len(found) != 0 {
			t.Errorf("it beats: %v", found)
		}
	})
}

// A long request in which nothing of Python runs: with extend() it is no hang.
func TestLongRequest(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	run("extended", func(t *testing.T) {
		p := runPatient(t, hasty, "--child")
		p.does("extend 3600")
		p.does("later 0.3") // the beats that follow take nothing of it away
		p.does("block " + longer)
		p.unharmed("heartbeat.missed")
	})
	run("extended, and over", func(t *testing.T) {
		p := runPatient(t, hasty, "--child")
		p.does("extend 0.5")
		p.hang("gil") // nobody repeats it
		p.gone(124)
		p.log.AwaitEvent("heartbeat.timeout")
	})
}

// A watchdog that did not run knows nothing of the silence in that time.
func TestWatchdogThatWasStopped(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for _, who := range []string{"alone", "with its worker"} {
		run(who, func(t *testing.T) {
			p := runPatient(t, patience, "--child")
			p.log.AwaitEvent("heartbeat.received")
			stopped := []testkit.Ident{p.Ident}
			if who != "alone" {
				stopped = append(stopped, p.worker)
			}
			for _, id := range stopped {
				if err := id.Signal(unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				awaitState(t, id.PID, "T")
			}
			testkit.StayAlive(t, 1500*time.Millisecond, stopped...) // nobody can tell of it, nor wait
			for _, id := range stopped {
				if err := id.Signal(unix.SIGCONT); err != nil {
					t.Fatal(err)
				}
			}
			p.does("later 1.2") // longer than the patience once more
			p.unharmed()
			// It has not only given up: the next hang is one.
			p.hang("gil")
			p.gone(124)
			wasHung(t, p.log, p.worker, 3)
		})
	}
}

// Beats at half of WATCHDOG_USEC, as the protocol asks for, are enough.
func TestBeatAtEachIntervalIsNeverMissed(t *testing.T) {
	t.Parallel()
	p := runPatient(t, []string{"--heartbeat", "notify", "--heartbeat-interval", "1s"}, "--beats", "none")
	p.does("exact 3")
	p.unharmed("heartbeat.missed")
	if n := len(named(p.log, "heartbeat.received")); n < 2 { // the last may be on its way
		t.Errorf("%d of 3 beats were heard", n)
	}
}

// Who has said that it stops may be silent; nobody ends it but its grace.
func TestSilenceWhileStopping(t *testing.T) {
	t.Parallel()
	p := runPatient(t, hasty, "--child")
	p.does("stopping")
	p.does("block " + longer)
	p.unharmed()
	if n := len(named(p.log, "process.stopping")); n != 1 {
		t.Errorf("%d times stopping", n)
	}
}

// WATCHDOG_USEC=0 at run time: nobody is to watch any more.
func TestJudgingSwitchedOff(t *testing.T) {
	t.Parallel()
	p := runPatient(t, hasty)
	p.does("send WATCHDOG_USEC=0")
	p.does("block " + longer)
	p.unharmed()
}

// Draining: a worker that stops may ask for more than the grace, up to
// --grace-max, and ends with its own status.
func TestDraining(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for _, c := range []struct {
		name, drain string
		flags       []string
		status      int
	}{
		{"stretched", "3.5", []string{"--grace", "2s", "--grace-max", "50s"}, 7},
		{"not stretched", "1000000", []string{"--grace", "2s"}, 137},
		{"too far", "1000000", []string{"--grace", "2s", "--grace-max", "4s"}, 137},
	} {
		run(c.name, func(t *testing.T) {
			p := runPatient(t, slices.Concat([]string{"--heartbeat", "notify"}, c.flags), "--drain", c.drain, "--child")
			p.log.AwaitEvent("process.ready")
			p.Signal(unix.SIGTERM)
			p.Stdout.Await("DRAINING")
			p.gone(c.status)
			p.log.AwaitEvent("process.stopping")
			ended(t, p.log, "signalled")
		})
	}
}

// The same when it is the parent's death that asks, beside guard too.
func TestDrainingAfterTheParentsDeath(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	flags := []string{"--heartbeat", "notify", "--grace", "2s", "--grace-max", "50s"}
	run("run", func(t *testing.T) {
		parent := sleeper(t)
		p := runPatient(t, append(flags, "--parent-pid", pid(parent)), "--drain", "3.5")
		p.log.AwaitEvent("process.ready")
		parent.Kill()
		p.Stdout.Await("DRAINED")
		testkit.AwaitGone(t, p.worker)
	})
	run("guard", func(t *testing.T) {
		parent := sleeper(t)
		p := alone(t, "@leash-e2e-"+newRunID(), "--drain", "3.5")
		g := guardPatient(t, p, append(flags, "--parent-pid", pid(parent))...)
		parent.Kill()
		p.Stdout.Await("DRAINED")
		testkit.AwaitGone(t, p.worker)
		if status := g.Wait(); status != 0 {
			t.Errorf("status %d", status)
		}
	})
}
