package pool

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"leash/internal/testkit"
)

// onMacOS is the name of the test whose pools have the mechanisms of macOS.
const onMacOS = "TestMacOS"

// program is the watchdog that a test is about.
func program(t *testing.T) string {
	t.Helper()
	if strings.HasPrefix(t.Name(), onMacOS+"/") {
		return standIn(t)
	}
	return testkit.Watchdog(t)
}

// standIn is a watchdog with the mechanisms of macOS, over Linux.
func standIn(t *testing.T) string {
	t.Helper()
	path, err := buildStandIn()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildStandIn = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	path := filepath.Join(os.Getenv("LEASH_TESTKIT_DIR"), "standin", "watchdog")
	cmd := exec.Command("go", "build", "-tags", "standin", "-o", path, "./cmd/watchdog")
	cmd.Dir = root
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, text)
	}
	return path, nil
})

// TestMacOS is what a pool does everywhere, and what it does without a subreaper.
func TestMacOS(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"RelativeFolder":                   TestRelativeFolder,
		"OnAnyUnix":                        TestOnAnyUnix,
		"EnvironmentFolderAndOutputs":      TestEnvironmentFolderAndOutputs,
		"NoDescriptors":                    TestNoDescriptors,
		"Restart":                          TestRestart,
		"Output":                           TestOutput,
		"Flood":                            TestFlood,
		"GuardAndRelease":                  TestGuardAndRelease,
		"GuardedLiveOnWhenThePoolIsKilled": TestGuardedLiveOnWhenThePoolIsKilled,
		"GuardRefuses":                     TestGuardRefuses,
		"Signal":                           TestSignal,
		"StopAllAndShutdown":               TestStopAllAndShutdown,
		"OneWorkerIDTwice":                 TestOneWorkerIDTwice,
		"HalfALine":                        TestHalfALine,
		"ParentThatDoesNotReadDies":        TestParentThatDoesNotReadDies,
		"BadLines":                         TestBadLines,
		"RunListStop":                      runListStopOnMacOS,
		"TreesAreTheirOwnWorkers":          treesOnMacOS,
		"NoSingleKillLeavesAnything":       killsOnMacOS,
		"HeartbeatsAreRefused":             heartbeatsOnMacOS,
	} {
		t.Run(name, test)
	}
}

// labelled is a tree that does all it can to stay, but for its labels: one process that
// ignores signals, and a daemon in a session of its own.
const labelled = `
sh -c 'trap "" TERM HUP INT; echo deaf $$; sleep 1000000 & wait' &
(setsid sh -c 'trap "" TERM HUP INT; echo daemon $$; sleep 1000000 & wait' &)
echo worker $$
exec sleep 1000000
`

func (c *client) labelled(id string) (ids []testkit.Ident) {
	c.t.Helper()
	c.run(id, nil, "sh", "-c", labelled)
	for _, word := range []string{"worker", "deaf", "daemon"} {
		ids = append(ids, c.process(id, word))
	}
	return ids
}

func runListStopOnMacOS(t *testing.T) {
	t.Parallel()
	c := start(t)
	started := c.await("pool.started", func(m message) bool { return m.event() == "pool.started" })
	if started.Params["containment"] != "sentinel,session,group,descendants,environment" {
		t.Errorf("%v", started.Params)
	}
	w := c.run("a", nil, "sh", "-c", "echo begun; exec sleep 1000000")
	c.line("a", "begun")
	if m := c.event("a", "watchdog.started"); m.Params["containment"] != "sentinel,session,group,descendants,environment" {
		t.Errorf("%v", m.Params)
	}
	list := c.call("list", nil)["workers"].([]any)
	if first := list[0].(map[string]any); len(list) != 1 || first["pid"] != float64(w.PID) || first["processes"] != 1.0 {
		t.Errorf("%v", list)
	}
	if r := c.call("stop", params{"worker_id": "a"}); r["outcome"] != "signalled" || r["signal"] != "SIGTERM" || r["survivors"] != 0.0 {
		t.Errorf("%v", r)
	}
	testkit.AwaitGone(t, w)
	// Nothing proves that the tree is empty.
	if m := c.event("a", "process.cleanup_completed"); m.Params["verified"] != false {
		t.Errorf("%v", m.Params)
	}
	c.run("a", nil, "true") // the ID is free again
	c.event("a", "watchdog.stopped")
	for argv, status := range map[string]float64{"/nowhere/at/all": 127, "/etc/passwd": 126} {
		if m := c.fails(-32003, "run", params{"worker_id": "b", "argv": []string{argv}}); m.Error.Data["status"] != status {
			t.Errorf("%s: %+v", argv, m.Error)
		}
	}
	c.call("shutdown", nil)
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

func treesOnMacOS(t *testing.T) {
	t.Parallel()
	c := start(t, "--grace", "100ms")
	a, b := c.labelled("a"), c.labelled("b")
	sentinels := c.macSentinels(2)
	if r := c.call("stop", params{"worker_id": "b"}); r["survivors"] != 0.0 {
		t.Errorf("%v", r)
	}
	testkit.AwaitGone(t, b...)
	testkit.StillAlive(t, a...)
	if r := c.call("stop_all", nil); r["ended"] != 1.0 || r["survivors"] != 0.0 {
		t.Errorf("%v", r)
	}
	testkit.AwaitGone(t, append(a, sentinels...)...)
}

// macSentinels waits until there are so many that have begun to ignore signals, which is when
// they know, or are told next, of their workers.
func (c *client) macSentinels(want int) []testkit.Ident {
	c.t.Helper()
	for until := time.Now().Add(patience); ; {
		var ids []testkit.Ident
		for _, id := range testkit.Descendants(c.t, c.self.PID) {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id.PID))
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", id.PID))
			if strings.HasPrefix(string(line), "watchdog\x00(sentinel)") && !strings.Contains(string(status), "SigIgn:\t0000000000000000") {
				ids = append(ids, id)
			}
		}
		if len(ids) == want {
			testkit.Adopt(c.t, ids...)
			c.call("list", nil) // the pool has done what it was doing: to tell the new sentinel
			return ids
		}
		if time.Now().After(until) {
			c.t.Fatalf("%d sentinels, want %d", len(ids), want)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-c.t.Context().Done():
		}
	}
}

func killsOnMacOS(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"pool", "sentinel", "worker", "end-of-file", "TERM"} {
		t.Run(what, func(t *testing.T) {
			c := start(t, "--grace", "100ms")
			a, b := c.labelled("a"), c.labelled("b")
			both := append(a, b...)
			sentinels := c.macSentinels(2)
			switch what {
			case "pool":
				c.self.Kill()
			case "sentinel": // another takes its place, and no worker ends
				sentinels[0].Kill()
				testkit.AwaitGone(t, sentinels[0])
				sentinels = c.macSentinels(2)
				testkit.StillAlive(t, both...)
				c.self.Kill()
			case "worker":
				a[0].Kill()
				testkit.AwaitGone(t, a...)
				testkit.StillAlive(t, b...)
				c.in.Close()
			case "end-of-file":
				c.in.Close()
			case "TERM":
				c.cmd.Process.Signal(syscall.SIGTERM)
			}
			testkit.AwaitGone(t, append(both, sentinels...)...)
			if status := c.status(); status != 0 && what != "pool" && what != "sentinel" {
				t.Errorf("status %d", status)
			}
		})
	}
}

// A datagram does not say there which process sent it.
func heartbeatsOnMacOS(t *testing.T) {
	t.Parallel()
	c := start(t)
	m := c.fails(-32005, "run", params{"worker_id": "a", "argv": []string{"true"}, "heartbeat": "notify"})
	if !strings.Contains(m.Error.Message, "macOS") {
		t.Errorf("%q", m.Error.Message)
	}
}
