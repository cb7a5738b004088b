//go:build linux

package pool

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// A stop between two lives has the outcome of watchdog.stopped.
func TestStopWhileRestarting(t *testing.T) {
	t.Parallel()
	c := start(t)
	c.run("a", params{"restart": "always", "max_restarts": 1000}, "false")
	c.event("a", "process.restarting")
	answer := c.call("stop", params{"worker_id": "a"})
	if m := c.event("a", "watchdog.stopped"); m.Params["outcome"] != answer["outcome"] || answer["outcome"] != "signalled" {
		t.Errorf("the answer is %v, the event %v", answer, m.Params)
	}
}

// When the parent dies the one line on standard error says so.
func TestWhatIsSaidOfTheParentsDeath(t *testing.T) {
	t.Parallel()
	c := startAs(t, dialect{args: []string{"--grace=300ms"}})
	w := c.run("a", nil, "sh", "-c", `trap "" TERM; echo begun; while :; do sleep 0.05; done`)
	c.line("a", "begun")
	c.in.Close()
	c.out.Close()
	testkit.AwaitGone(t, w)
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
	b, _ := os.ReadFile(c.stderr.Name())
	if text := string(b); strings.Count(text, "\n") != 1 || !strings.Contains(text, "parent has exited") || strings.Contains(text, "as before") {
		t.Errorf("standard error: %q", text)
	}
}

// A folder that may not be entered is a wrong parameter.
func TestFolderThatMayNotBeEntered(t *testing.T) {
	t.Parallel()
	c := startAs(t, dialect{uid: 65534})
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if m := c.fails(-32602, "run", params{"worker_id": "a", "argv": []string{"true"}, "cwd": dir}); !strings.HasPrefix(m.Error.Message, "cwd: ") {
		t.Errorf("%q", m.Error.Message)
	}
}

// Each worker has its record in the ledger, the pool has none, and a worker that was guarded
// by a pool that was killed is unguarded.
func TestReaperReadsTheRecords(t *testing.T) {
	t.Parallel()
	c := start(t)
	state := ""
	for _, v := range c.cmd.Env {
		if path, ok := strings.CutPrefix(v, "LEASH_STATE_DIR="); ok {
			state = path
		}
	}
	guarded := testkit.Start(t, exec.Command("sleep", "1000000"))
	c.call("guard", params{"worker_id": "g", "pid": guarded.PID})
	started := c.run("r", nil, "sleep", "1000000")
	list := func() map[int]bool {
		cmd := exec.Command(testkit.Reaper(t), "list", "--json")
		cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+state)
		_, out, problems := testkit.Run(t, cmd)
		if strings.Contains(problems, state) {
			t.Errorf("%s", problems)
		}
		var all struct {
			Runs []struct {
				Processes []struct {
					PID       int
					Unguarded bool
					Evidence  []string
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			t.Fatal(err)
		}
		found := map[int]bool{}
		for _, r := range all.Runs {
			for _, p := range r.Processes {
				if strings.Contains(strings.Join(p.Evidence, " "), "ledger") {
					found[p.PID] = p.Unguarded
				}
			}
		}
		return found
	}
	found := list()
	for _, pid := range []int{guarded.PID, started.PID} {
		if unguarded, ok := found[pid]; !ok || unguarded {
			t.Errorf("process %d: by the ledger %t, unguarded %t", pid, ok, unguarded)
		}
	}
	c.self.Kill()
	testkit.AwaitGone(t, c.self, started)
	if found := list(); !found[guarded.PID] {
		t.Errorf("the guarded worker is not listed as unguarded: %v", found)
	}
	testkit.StillAlive(t, guarded.Ident)
}
