//go:build linux

package e2e

import (
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// Start-up may take as long as it likes, unless somebody says how long.
func TestSlowStarterIsNotHung(t *testing.T) {
	t.Parallel()
	p := runPatient(t, hasty, "--startup", longer, "--beats", "none", "--says", unjudged, "--child")
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
		p := unmet(t, slowShell(t, "--startup-timeout", "300ms"))
		p.over(124)
		notReady(t, p, 0)
	})
	run("well, and not ready in time", func(t *testing.T) {
		inTime(t, 2*time.Second, func(limit time.Duration) bool {
			p := unmet(t, beating(t, append(calm, "--startup-timeout", limit.String()), "--never-ready", "--child"))
			p.over(124)
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
			p.meet(false)
			p.does("later " + seconds(limit))
			p.unharmed()
			return true
		})
	})
	run("more time for the start", func(t *testing.T) {
		inTime(t, 2*time.Second, func(limit time.Duration) bool {
			p := unmet(t, beating(t, append(unhurried, "--startup-timeout", limit.String()), "--beats", "none", "--never-ready"))
			// All at once: nobody may be there any more to hear the last of it.
			_, _ = io.WriteString(p.orders, `send EXTEND_TIMEOUT_USEC=3600000000\nSTATUS=extended`+"\nlater "+seconds(limit)+"\nsend READY=1\n")
			ready := p.log.Happens("process.ready")
			if len(before(p.log, "process.status", "heartbeat.timeout")) == 0 {
				return false
			}
			if !ready {
				t.Fatal("it had asked for more time")
			}
			p.meet(false)
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

// notReady looks at what was said of it. As many beats may be missed, at most.
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
		inTime(t, time.Second, func(limit time.Duration) bool {
			p := alone(t, "@leash-e2e-"+newRunID(), "--never-ready")
			g := guardPatient(t, p, append(calm, "--startup-timeout", limit.String())...)
			g.Stderr.Happens("heartbeat.received")
			if len(before(g.Stderr, "heartbeat.received", "heartbeat.timeout")) == 0 {
				return false
			}
			p.does("later " + seconds(limit))
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
	t.Parallel()
	run, wait := together(t)
	defer wait()
	run("extended", func(t *testing.T) {
		p := runPatient(t, hasty, "--mute", "--child")
		p.does("extend 3600")
		p.does("speak")     // from here on it is judged
		p.does("later 0.3") // the beats that follow take nothing of it away
		p.does("block " + longer)
		p.unharmed("heartbeat.missed")
	})
	run("extended, and over", func(t *testing.T) {
		p := runPatient(t, hasty, "--mute", "--hasten", "EXTEND_TIMEOUT_USEC=500000", "--child")
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
	for _, who := range []string{"alone", "with its worker", "before a silent worker"} {
		run(who, func(t *testing.T) {
			p := runPatient(t, calm, "--hasten", hastens, "--child")
			p.log.AwaitEvent("heartbeat.received")
			stopped := []testkit.Ident{p.Ident}
			switch who {
			case "with its worker":
				stopped = append(stopped, p.worker)
			case "before a silent worker": // no beat comes before the silence is judged
				p.order("block 11")
			}
			for _, id := range stopped {
				if err := id.Signal(unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				awaitState(t, id.PID, "T")
			}
			// Longer than the patience; nobody can tell of it, nor wait.
			testkit.StayAlive(t, 8500*time.Millisecond, stopped...)
			for _, id := range stopped {
				if err := id.Signal(unix.SIGCONT); err != nil {
					t.Fatal(err)
				}
			}
			p.does("later 0")
			heard := len(named(p.log, "heartbeat.received"))
			for len(named(p.log, "heartbeat.received")) < heard+3 {
				p.log.AwaitEvent("heartbeat.received")
			}
			p.unharmed()
			// It has not only given up: the next hang is one.
			p.hang("gil")
			p.gone(124)
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
		p.does("exact 3")
		longest, err := strconv.ParseFloat(p.Stdout.Await("LONGEST "), 64)
		if err != nil {
			t.Fatal(err)
		}
		if longest > 1.4 { // intervals; 1.5 are too many
			t.Logf("the machine let %g intervals pass between two beats", longest)
			continue
		}
		p.does("barrier")
		p.unharmed("heartbeat.missed")
		for range 3 {
			p.log.AwaitEvent("heartbeat.received")
		}
		return
	}
	t.Error("no beat was ever in time")
}

// Who has said that it stops may be silent; nobody ends it but its grace.
func TestSilenceWhileStopping(t *testing.T) {
	t.Parallel()
	p := runPatient(t, hasty, "--mute", "--child")
	p.does(`send READY=1\nSTOPPING=1`)
	p.does("block " + longer)
	p.log.AwaitEvent("process.stopping")
	p.unharmed()
	if n := len(named(p.log, "process.stopping")); n != 1 {
		t.Errorf("%d times stopping", n)
	}
}

// WATCHDOG_USEC=0 at run time: nobody is to watch any more.
func TestJudgingSwitchedOff(t *testing.T) {
	t.Parallel()
	p := runPatient(t, hasty, "--mute")
	p.does("send " + unjudged)
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
		{"stretched", "5.5", []string{"--grace", "5s", "--grace-max", "5m"}, 7},
		{"not stretched", "1000000", []string{"--grace", "2s"}, 137},
		{"too far", "1000000", []string{"--grace", "2s", "--grace-max", "4s"}, 137},
	} {
		run(c.name, func(t *testing.T) {
			p := runPatient(t, slices.Concat(unhurried, c.flags), "--drain", c.drain, "--child")
			p.log.AwaitEvent("process.ready")
			p.Signal(unix.SIGTERM)
			p.gone(c.status)
			if text := p.Stdout.AwaitEnd(); strings.Contains(text, "DRAINING") { // it may not have come to it in its grace
				p.log.AwaitEvent("process.stopping")
			}
			ended(t, p.log, "signalled")
		})
	}
}

// The same when it is the parent's death that asks, beside guard too.
func TestDrainingAfterTheParentsDeath(t *testing.T) {
	t.Parallel()
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
