//go:build linux

package scenes

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"leash/internal/testkit"
)

// guarded is a worker with every kind of child, without any environment, below a
// watchdog and its sentinel.
type guarded struct {
	run *testkit.Proc
	ids []testkit.Ident
}

func newGuarded(t *testing.T) guarded {
	t.Helper()
	h := newHouse(t)
	run := testkit.Start(t, h.command(h.run(nil, part("tree", "wiped")...)...))
	g := guarded{run: run, ids: members(t, run.Stdout)}
	run.Stderr.AwaitEvent("watchdog.started")
	return g
}

func (g guarded) worker() testkit.Ident { return g.ids[len(g.ids)-1] }

// sentinels are the children of the watchdog that run the same program.
func (g guarded) sentinels(t *testing.T) (found []testkit.Ident) {
	t.Helper()
	mine, err := os.Stat("/proc/" + strconv.Itoa(g.run.PID) + "/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range testkit.Descendants(t, g.run.PID) {
		exe, err := os.Stat("/proc/" + strconv.Itoa(id.PID) + "/exe")
		if err == nil && os.SameFile(mine, exe) {
			testkit.Adopt(t, id)
			found = append(found, id)
		}
	}
	return found
}

func (g guarded) sentinel(t *testing.T) testkit.Ident {
	t.Helper()
	all := g.sentinels(t)
	if len(all) != 1 {
		t.Fatalf("%d processes below the watchdog run its program, want 1: %v", len(all), all)
	}
	return all[0]
}

func kill(t *testing.T, id testkit.Ident) time.Time {
	t.Helper()
	since := time.Now()
	if err := id.Kill(); err != nil {
		t.Fatal(err)
	}
	return since
}

func TestWatchdogIsKilled(t *testing.T) {
	g := newGuarded(t)
	sentinel := g.sentinel(t)
	gone(t, kill(t, g.run.Ident), append(g.ids, sentinel)...)
}

// To its group and its session: what ends the watchdog must not reach the sentinel too.
func TestGroupOfTheWatchdogIsKilled(t *testing.T) {
	g := newGuarded(t)
	sentinel := g.sentinel(t)
	since := time.Now()
	if err := syscall.Kill(-g.run.PID, syscall.SIGKILL); err != nil { // ours: the test has not waited for it
		t.Fatal(err)
	}
	gone(t, since, append(g.ids, sentinel)...)
}

// The tree ends, or it is as protected as before.
func TestSentinelIsKilled(t *testing.T) {
	g := newGuarded(t)
	old := g.sentinel(t)
	since := kill(t, old)
	for end := time.Now().Add(testkit.Patience); ; {
		if !g.worker().Alive() {
			gone(t, since, g.ids...)
			if status := g.run.Wait(); status != 125 {
				t.Errorf("the tree had to end, and the status is %d, not 125", status)
			}
			return
		}
		if now := g.sentinels(t); len(now) == 1 && now[0] != old {
			t.Logf("the sentinel was replaced after %v", time.Since(since).Round(time.Millisecond))
			testkit.StillAlive(t, g.run.Ident)
			gone(t, kill(t, g.run.Ident), append(g.ids, now[0])...)
			return
		}
		if time.Now().After(end) {
			t.Fatal("after the death of the sentinel nothing has happened")
		}
		select { // nobody notifies of a new sentinel
		case <-g.run.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestWorkerIsKilled(t *testing.T) {
	g := newGuarded(t)
	sentinel := g.sentinel(t)
	gone(t, kill(t, g.worker()), append(g.ids, sentinel)...)
	if status := g.run.Wait(); status != 128+int(syscall.SIGKILL) {
		t.Errorf("status %d", status)
	}
}

// No process but the one that the user started names the worker: a kill by
// name would hit it.
func TestSentinelDoesNotNameTheWorker(t *testing.T) {
	g := newGuarded(t)
	args, err := os.ReadFile("/proc/" + strconv.Itoa(g.sentinel(t).PID) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{self(), "tree", "wiped", "w1"} {
		if strings.Contains(string(args), word) {
			t.Errorf("%q is among the arguments of the sentinel: %q", word, args)
		}
	}
	g.run.Signal(syscall.SIGTERM)
	testkit.AwaitGone(t, g.ids...)
	g.run.Wait()
}

func TestWithoutSentinelThereIsNone(t *testing.T) {
	h := newHouse(t)
	run := testkit.Start(t, h.command(h.run([]string{"--sentinel", "off"}, part("tree", "wiped")...)...))
	g := guarded{run: run, ids: members(t, run.Stdout)}
	if all := g.sentinels(t); len(all) != 0 {
		t.Errorf("%v", all)
	}
	testkit.AwaitGone(t, func() testkit.Ident { kill(t, run.Ident); return g.worker() }())
}
