//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// stranger has somebody who is no part of the worker talk to its socket
// without end, and returns when he has begun.
func stranger(t *testing.T, u user, socket, message string) *testkit.Proc {
	t.Helper()
	p := strangerTo(t, u, socket, message)
	for range 3 { // not only its first
		p.Stdout.Await("SAID")
	}
	return p
}

// strangerTo is that somebody, whether there is anybody to hear or not.
func strangerTo(t *testing.T, u user, socket, message string) *testkit.Proc {
	t.Helper()
	script, err := os.ReadFile(peer(t, "stranger.py"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := u.as(exec.Command(testkit.NeedPython(t), "-c", string(script), message))
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket)
	return testkit.Start(t, cmd)
}

func strangers(t *testing.T) map[string]user {
	t.Helper()
	testkit.NeedRoot(t)
	return map[string]user{"same user": root(), "another user": ordinary(t, alice)}
}

// Whoever else beats, or says that the worker is stopping, keeps no hung
// worker alive.
func TestStrangersBeatForNobody(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for name, u := range strangers(t) {
		run(name, func(t *testing.T) {
			p := runPatient(t, patience, "--mute", "--child")
			s := stranger(t, u, p.socket, `WATCHDOG=1\nEXTEND_TIMEOUT_USEC=1000000000\nSTOPPING=1\nWATCHDOG_USEC=0`)
			p.hang("gil")
			testkit.StillAlive(t, s.Ident)
			p.gone(124)
			wasHung(t, p.log, p.worker, 3)
			if found := named(p.log, "process.stopping"); len(found) != 0 {
				t.Errorf("a stranger's word: %v", found)
			}
		})
	}
}

// Nor can they have a worker ended, or say that it is ready.
func TestStrangersEndNobody(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for name, u := range strangers(t) {
		run(name, func(t *testing.T) {
			p := runPatient(t, hasty, "--beats", "none", "--never-ready")
			s := stranger(t, u, p.socket, `READY=1\nWATCHDOG=trigger\nWATCHDOG_USEC=1000`)
			p.does("later " + longer) // and the silence does not count, since nobody was ready
			testkit.StillAlive(t, s.Ident)
			p.unharmed("process.ready", "heartbeat.received", "heartbeat.missed")
			p.does("send " + unjudged) // the worker itself is heard
			p.log.AwaitEvent("process.ready")
		})
	}
}

// READY=1 of a stranger does not save who is not ready in time.
func TestStrangersMakeNobodyReady(t *testing.T) {
	t.Parallel()
	inTime(t, 2*time.Second, func(limit time.Duration) bool {
		socket := "@leash-e2e-" + newRunID()
		p := alone(t, socket, "--beats", "none", "--never-ready", "--child")
		s := strangerTo(t, root(), socket, "READY=1") // before anybody listens
		g := guardPatient(t, p, append(patience, "--startup-timeout", limit.String())...)
		testkit.AwaitGone(t, p.tree()...)
		testkit.StillAlive(t, s.Ident)
		if status := g.Wait(); status != 0 {
			t.Errorf("status %d", status)
		}
		ended(t, g.Stderr, "startup_timeout")
		return strings.Contains(s.Stdout.All(), "SAID")
	})
}

// Beats from below count: of a grandchild, and of a daemon that left by a
// double fork (beside guard: with the labels of its worker). The worker itself
// says nothing more.
func TestBeatsFromBelowCount(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	for _, how := range []string{"grandchild", "daemon"} {
		run("run "+how, func(t *testing.T) {
			p := runPatient(t, calm, "--beats", "none", "--never-ready")
			p.does("below " + how)
			p.livesBy(p.log)
		})
		run("guard "+how, func(t *testing.T) {
			cmd := aloneCommand(t, "@leash-e2e-"+newRunID(), "--beats", "none", "--never-ready")
			cmd.Env = append(cmd.Env, "LEASH_RUN_ID=k3x9a2p", "LEASH_WORKER_ID="+newRunID())
			p := admit(t, cmd)
			p.does("below " + how)
			p.livesBy(guardPatient(t, p, calm...).Stderr)
		})
	}
}

// livesBy waits for a beat from below, and for a time that would be too long
// without; then whoever beats is killed, and that ends the worker.
func (p *patient) livesBy(log *testkit.Lines) {
	p.t.Helper()
	beater := identOf(p.t, p.Stdout, "BEATER")
	log.AwaitEvent("heartbeat.received")
	p.does("block 8.5") // more than a calm watchdog's patience
	testkit.StillAlive(p.t, p.worker, beater)
	if found := named(log, "heartbeat.timeout"); len(found) != 0 {
		p.t.Errorf("%v", found)
	}
	if err := beater.Signal(unix.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	p.order("send " + hastens)
	testkit.AwaitGone(p.t, p.worker)
	log.AwaitEvent("heartbeat.timeout")
	log.AwaitEvent("process.cleanup_completed") // what is left is ended after the worker
}

// A sender that has ended and was reaped before anybody could look still
// counts: the watchdog is stopped meanwhile.
func TestMessagesOfTheDeadCount(t *testing.T) {
	t.Parallel()
	p := runPatient(t, unhurried, "--beats", "none", "--never-ready")
	p.Signal(unix.SIGSTOP)
	awaitState(t, p.PID, "T")
	p.does("once-gone READY=1")
	p.does("once-gone WATCHDOG=1")
	p.Signal(unix.SIGCONT)
	p.log.AwaitEvent("process.ready")
	p.log.AwaitEvent("heartbeat.received")
	p.unharmed()
}

// A worker in sh, whose beats come from commands that end at once. Without a
// cgroup of the worker's own (root alone can make one here) nobody knows whose
// a command was that has ended and was reaped: then the command has to wait.
func TestSystemdNotifyInALoop(t *testing.T) {
	t.Parallel()
	run, wait := together(t)
	defer wait()
	testkit.Need(t, "systemd-notify")
	testkit.NeedRoot(t)
	bin := publicBinaries(t)
	for name, c := range map[string]struct {
		user user
		flag string
	}{"root": {user{state: stateDir(t)}, "--no-block"}, "ordinary user": {ordinary(t, alice), ""}} {
		run(name, func(t *testing.T) {
			cmd := c.user.as(exec.Command(filepath.Join(bin, "watchdog"), slices.Concat([]string{"run"}, calm, []string{"--", "sh", "-c",
				`systemd-notify --ready; n=0
				while [ $n -lt 15 ]; do systemd-notify ` + c.flag + ` WATCHDOG=1; sleep 0.1; n=$((n + 1)); done
				systemd-notify STATUS=over; echo STILL HERE
				systemd-notify ` + c.flag + " " + hastens + `; exec sleep 1000000`})...))
			cmd.Env = append(cmd.Env, "LEASH_LOG_LEVEL=debug")
			p := testkit.Start(t, cmd)
			p.Stderr.AwaitEvent("process.ready")
			p.Stdout.Await("STILL HERE")
			if status := p.Wait(); status != 124 { // now it is silent
				t.Errorf("status %d", status)
			}
			p.Stderr.AwaitEnd()
			if n := len(named(p.Stderr, "heartbeat.received")); n != 15 {
				t.Errorf("%d of 15 beats were heard", n)
			}
		})
	}
}
