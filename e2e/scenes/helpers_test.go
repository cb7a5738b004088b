//go:build linux

package scenes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/testkit"
)

// grace is what the deaf ones get.
const grace = "300ms"

// aloneVar is set where no other processes are: there the reaper is called as users do, and
// else for one run only.
const aloneVar = "LEASH_TEST_ALONE"

// cgroupVar says whether a watchdog can make cgroups here, yes or no, where that
// is known.
const cgroupVar = "LEASH_SCENES_CGROUP"

// stage is where the programs of one scene keep their records.
type stage struct {
	t     *testing.T
	state string
	runID string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	h := &stage{t: t, state: filepath.Join(t.TempDir(), "state")}
	status, id, stderr := testkit.Run(t, exec.Command(testkit.Reaper(t), "id"))
	if status != 0 {
		t.Fatalf("reaper id: status %d: %s", status, stderr)
	}
	h.runID = strings.TrimSpace(id)
	return h
}

// command runs with the records of the stage and a log in JSON.
func (h *stage) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+h.state, "LEASH_LOG_FORMAT=json", "LEASH_LOG_LEVEL=info")
	return cmd
}

// run is the command line of a worker below a watchdog.
func (h *stage) run(flags []string, worker ...string) []string {
	args := append([]string{testkit.Watchdog(h.t), "run", "--grace", grace, "--run-id", h.runID, "--worker-id", "w1"}, flags...)
	return append(append(args, "--"), worker...)
}

// members reads the PIDs that a tree prints.
func members(t *testing.T, from *testkit.Lines) (ids []testkit.Ident) {
	t.Helper()
	for _, name := range names {
		ids = append(ids, ident(t, from, name))
	}
	return ids
}

func ident(t *testing.T, from *testkit.Lines, name string) testkit.Ident {
	t.Helper()
	n, err := strconv.Atoi(from.Await(name + " "))
	if err != nil {
		t.Fatal(err)
	}
	id := testkit.Identify(t, n)
	testkit.Adopt(t, id)
	return id
}

// bystander is a process that would be taken for one of the run by a program that matches
// parts of arguments.
func (h *stage) bystander() testkit.Ident {
	h.t.Helper()
	p := testkit.Start(h.t, h.command(part("stay", "bystander", "text: --run-id "+h.runID)...))
	p.Stdout.Await("bystander ")
	return p.Ident
}

// gone waits until nothing is left, and returns how long that took: two seconds are
// promised, and machines that emulate others are slow.
func gone(t *testing.T, since time.Time, ids ...testkit.Ident) {
	t.Helper()
	testkit.AwaitGone(t, ids...)
	took := time.Since(since)
	t.Logf("nothing is left after %v", took.Round(time.Millisecond))
	if took > time.Minute {
		t.Errorf("it took %v until nothing was left", took)
	}
}

// containment checks what watchdog.started says.
func containment(t *testing.T, from *testkit.Lines, want ...string) {
	t.Helper()
	got := from.AwaitEvent("watchdog.started").Str("containment")
	t.Logf("containment %s", got)
	has := make(map[string]bool)
	for word := range strings.SplitSeq(got, ",") {
		has[word] = true
	}
	for _, word := range want {
		if !has[word] {
			t.Errorf("containment %q, want %s in it", got, word)
		}
	}
	if known := os.Getenv(cgroupVar); known != "" && has["cgroup"] != (known == "yes") {
		t.Errorf("containment %q, but can it make cgroups? %s", got, known)
	}
}

// withoutSentinel are the flags for a watchdog that has none, where there could be
// one.
func withoutSentinel(t *testing.T) []string {
	t.Helper()
	_, help, _ := testkit.Run(t, exec.Command(testkit.Watchdog(t), "run", "--help"))
	if strings.Contains(help, "--sentinel") {
		return []string{"--sentinel", "off"}
	}
	return nil
}
