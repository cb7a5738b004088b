//go:build linux

package darwin

import (
	"crypto/rand"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"leash/internal/owner"
	"leash/internal/runid"
	"leash/internal/testkit"
	"leash/platform/platformtest"
	"leash/reap"
	"leash/scan"
)

// Only the run of this test is named: the machine may have dead ones of others.
func TestReap(t *testing.T) {
	t.Run("stop signal", func(t *testing.T) { testReap(t, testkit.Patience) })
	// A process that ignores TERM uses up the grace; the others may be late.
	t.Run("kill", func(t *testing.T) { testReap(t, 300*time.Millisecond) })
}

func testReap(t *testing.T, grace time.Duration) {
	t.Helper()
	k, table := newStandInTable(t)
	system := platformtest.WithoutLedger{SystemTable: table}
	run, err := runid.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent := sleeper(t)
	h, err := k.open(parent.PID)
	if err != nil {
		t.Fatal(err)
	}
	of := owner.Owner{PID: parent.PID, Start: h.start, Boot: table.boot}.String()
	g := newGuarded(t, "event") // for what its worker says
	cmd := exec.Command(testkit.NeedPython(t), "-c", stays, g.fifo)
	cmd.Env = append(os.Environ(), "LEASH_RUN_ID="+run, "LEASH_RUN_OWNER="+of)
	worker := testkit.Start(t, cmd)
	ids := append(g.members(), worker.Ident)
	deaf := ids[2]
	polite := grace == testkit.Patience
	if polite {
		if err := deaf.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testkit.AwaitGone(t, deaf)
		ids = append(ids[:2], ids[3])
	}
	grep := exec.Command("sh", "-c", "echo ready; : --run-id="+run+"; read line")
	in, err := grep.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	bystander := testkit.Start(t, grep)
	bystander.Stdout.Await("ready")

	request := scan.Request{RunIDs: []string{run}}
	state := func() scan.State {
		t.Helper()
		snap, err := system.Take(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range scan.Judge(snap, request) {
			if r.ID == run {
				return r.State
			}
		}
		t.Fatal("the run is not found")
		return 0
	}
	if got := state(); got != scan.AliveRun {
		t.Errorf("%v, while its owner lives", got)
	}
	parent.Kill()
	parent.Wait()
	if got := state(); got != scan.DeadRun {
		t.Errorf("%v, after its owner's end", got)
	}
	r := reap.Reaper{System: system, Request: request, Grace: grace}
	ended, err := r.Run()
	if err != nil {
		t.Fatal(err)
	}
	fates := make(map[int]reap.Fate)
	for _, e := range ended {
		fates[e.PID] = e.Fate
	}
	for _, id := range ids {
		switch got := fates[id.PID]; {
		case got == reap.Terminated && id != deaf, got == reap.Killed && !polite:
		default:
			t.Errorf("%v: fate %v", id, got)
		}
	}
	if len(ended) != len(ids) {
		t.Errorf("%d were ended, want %d", len(ended), len(ids))
	}
	testkit.AwaitGone(t, ids...)
	testkit.StillAlive(t, bystander.Ident)
	if p, err := table.Read(bystander.PID); err != nil || !strings.Contains(strings.Join(p.Args, " "), strconv.Quote(run)[1:8]) {
		t.Errorf("%+v, %v", p, err)
	}
}
