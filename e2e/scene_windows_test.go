package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"

	"leash/internal/testkit"
)

// aloneVar says that no other tests run beside these, so that the reaper may be
// called as people call it. It ends what is left of every dead run that it finds.
const aloneVar = "LEASH_TEST_ALONE"

// family is what belongs to one worker of the scene.
type family struct {
	spec
	worker, child, watchdog testkit.Ident
}

// sceneSpecs are workers of all kinds: ten that the watchdog starts, and ten that
// are known by their environment, by their arguments, or by nothing but the
// watchdog's record. One of each of these would end at Ctrl-C.
func sceneSpecs() (specs []spec) {
	for i := range 10 {
		specs = append(specs, labelled("run", fmt.Sprint("r", i), "small"))
		id := fmt.Sprint("g", i)
		s := labelled("guard", id, "small")
		s.Console = i < 3
		if s.Console {
			s.Args = []string{"polite"}
		}
		switch i % 3 {
		case 1:
			s.Args = append(s.Args, "--run-id", runID)
		case 2:
			s.Flags = []string{"--run-id", runID}
		}
		if i%3 > 0 {
			s.Env = map[string]string{"TEST_NAME": id}
		}
		specs = append(specs, s)
	}
	return specs
}

// sceneDecoys are of no dead run, or only seem to be: they have the same parent,
// and the same script. What is ended of them is ended wrongly.
func sceneDecoys() []spec {
	return []spec{
		{Way: "none", ID: "plain", Args: []string{"small"}},
		{Way: "none", ID: "text", Args: []string{"small", "see --run-id=" + runID}},
		{Way: "none", ID: "longer", Args: []string{"small", "--run-id=" + runID + "0", "--run-id-x", runID}},
		{Way: "none", ID: "value", Args: []string{"small"}, Env: map[string]string{"NOTE": "LEASH_RUN_ID=" + runID, "LEASH_RUN_IDS": runID}},
		{Way: "none", ID: "upper", Args: []string{"small"}, Env: map[string]string{"LEASH_RUN_ID": strings.ToUpper(runID)}},
		{Way: "none", ID: "other", Args: []string{"small"}, Env: map[string]string{"LEASH_RUN_ID": "xyz9876"}}, // its owner is unknown
	}
}

// A parent dies together with all its watchdogs. What they have started ends with
// them; what they have only guarded is left behind, until the reaper is
// called: then nothing of the run is left, and all others live.
func TestSceneOfTwentyWorkers(t *testing.T) {
	specs, decoys := sceneSpecs(), sceneDecoys()
	for i := range decoys {
		env := map[string]string{"TEST_NAME": decoys[i].ID}
		for name, value := range decoys[i].Env {
			env[name] = value
		}
		decoys[i].Env = env
	}
	// By its arguments it is of the run, but its own parent lives: the test.
	claimed := testkit.Start(t, worker(t, "claimed", "--run-id", runID))
	cmd := parentOf(t, testkit.Watchdog(t), slices.Concat(specs, decoys)...)
	state := stateOf(cmd)
	cmd.SysProcAttr = &syscall.SysProcAttr{} // to Wine, an event for all is one for the sender's group
	parent := testkit.Start(t, cmd)

	var families []family
	for _, s := range specs {
		ids := awaitRoles(t, parent.Stdout, s.ID, "worker", "child", "watchdog")
		families = append(families, family{s, ids[0], ids[1], ids[2]})
	}
	strangers := awaitPIDs(t, claimed)
	for _, s := range decoys {
		strangers = append(strangers, awaitRoles(t, parent.Stdout, s.ID, "worker", "child")...)
	}
	for range specs {
		parent.Stderr.AwaitEvent("watchdog.started")
	}
	if files := ledgerOf(t, state); len(files) != len(specs) {
		t.Errorf("%d records of %d workers: %q", len(files), len(specs), files)
	}

	orphans := terminateAll(t, parent, families)
	checkEnded(t, reapWindows(t, state), orphans)
	testkit.AwaitGone(t, orphans...)
	testkit.StillAlive(t, strangers...)

	// The records are kept for as long as a process is left that they may describe.
	claimed.Kill()
	testkit.AwaitGone(t, claimed.Ident)
	if again := reapWindows(t, state); again.Terminated+again.Killed+again.Survived != 0 {
		t.Errorf("there was still something to do: %+v", again)
	}
	if files := ledgerOf(t, state); len(files) != 0 {
		t.Errorf("still in the ledger: %q", files)
	}
	testkit.StillAlive(t, strangers[1:]...)
}

// terminateAll ends the watchdogs, then the parent, and returns the processes that are left:
// the guarded workers and their children, all of which live.
func terminateAll(t *testing.T, parent *testkit.Proc, families []family) (orphans []testkit.Ident) {
	t.Helper()
	gone := []testkit.Ident{parent.Ident}
	for _, f := range families {
		if err := f.watchdog.Kill(); err != nil {
			t.Fatal(err)
		}
		gone = append(gone, f.watchdog)
		if f.Way == "run" {
			gone = append(gone, f.worker, f.child)
		} else {
			orphans = append(orphans, f.worker, f.child)
		}
	}
	parent.Kill()
	testkit.AwaitGone(t, gone...)
	testkit.StillAlive(t, orphans...)
	for _, e := range parent.Stderr.Events() {
		if e.Name() == "watchdog.parent_death_detected" {
			t.Errorf("a watchdog noticed, so this is not the scene that was meant: %v", e)
		}
	}
	return orphans
}

// windowsReport is what the reaper reports, as far as it is compared here.
type windowsReport struct {
	Runs []struct {
		RunID     string `json:"run_id"`
		State     string
		Processes []reported
	}
	Terminated, Killed, Survived int
}

type reported struct {
	PID            int
	Action, Reason string
}

// about is what the report holds of one process.
func (r windowsReport) about(id testkit.Ident) reported {
	for _, run := range r.Runs {
		for _, p := range run.Processes {
			if p.PID == id.PID {
				return p
			}
		}
	}
	return reported{}
}

func reapWindows(t *testing.T, state string) (r windowsReport) {
	t.Helper()
	cmd := exec.Command(testkit.Reaper(t), "--json", "--grace", "10s")
	if os.Getenv(aloneVar) != "1" {
		cmd.Args = append(cmd.Args, "--run-id", runID)
	}
	cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+state)
	// A process with a console cannot send Ctrl-C to one in another.
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS}
	status, stdout, stderr := testkit.Run(t, cmd)
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || status != 0 {
		t.Fatalf("reaper: status %d, %v\n%s\n%s", status, err, stdout, stderr)
	}
	return r
}

// checkEnded compares what the reaper says that it ended with what it had to end.
func checkEnded(t *testing.T, r windowsReport, want []testkit.Ident) {
	t.Helper()
	var ended []int
	for _, run := range r.Runs {
		if run.RunID == runID && run.State != "dead" {
			t.Errorf("the run is %s", run.State)
		}
		for _, p := range run.Processes {
			if p.Action == "terminated" || p.Action == "killed" {
				ended = append(ended, p.PID)
			}
		}
	}
	for _, id := range want {
		if !slices.Contains(ended, id.PID) {
			t.Errorf("%v is not among those that were ended", id)
		}
	}
	if len(ended) != len(want) || r.Terminated+r.Killed != len(want) || r.Survived != 0 {
		t.Errorf("%d ended, %d wanted: %+v", len(ended), len(want), r)
	}
	if r.Terminated == 0 || r.Killed == 0 {
		t.Errorf("expected some workers to end at Ctrl-C and some to be killed, but %d were terminated and %d killed", r.Terminated, r.Killed)
	}
}

// ledgerOf lists the records.
func ledgerOf(t *testing.T, state string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(state)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() != "totals" && f.Name() != "reaped" { // they stay
			names = append(names, f.Name())
		}
	}
	return names
}
