//go:build linux

package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// poolScript is a parent with workers. It waits for a line when a worker has
// started: then the worker leads its session, and a watchdog may come to it.
const poolScript = `
watchdog=$1 run=$2 worker=$3
shift 3
for mode; do
  n=$((n + 1))
  labels="--parent-pid $$ --run-id $run --worker-id w$n"
  case $mode in
  guard) LEASH_RUN_ID=$run LEASH_WORKER_ID=w$n setsid sh -c "$worker" & ;;
  unlabelled) setsid sh -c "$worker" & ;;
  run) "$watchdog" run --sentinel off $labels -- sh -c "$worker" & ;;
  esac
  pid=$!
  read -r go
  if [ "$mode" != run ]; then
    "$watchdog" guard --worker-pid $pid $labels &
    pid=$!
  fi
  echo "watchdog $pid"
done
wait
`

// plainWorker is a worker with one child.
const plainWorker = `sleep 1000000 & echo "child $!"; echo "worker $$"; exec sleep 1000001`

// pool is a parent with small workers: one for each mode (guard, unlabelled,
// run), with one child each.
type pool struct {
	t                            *testing.T
	user                         user
	runID                        string
	modes                        []string
	parent                       *testkit.Proc
	stdin                        io.Writer
	watchdogs, workers, children []testkit.Ident
	containment                  []string
}

// startPool starts workers of the user that runs the test.
func startPool(t *testing.T, modes ...string) *pool {
	t.Helper()
	return root().pool(t, newRunID(), plainWorker, modes...)
}

// pool starts workers of a user.
func (u user) pool(t *testing.T, runID, worker string, modes ...string) *pool {
	t.Helper()
	p := u.newPool(t, runID, worker, modes)
	for range modes {
		p.children = append(p.children, identOf(t, p.parent.Stdout, "child"))
		p.workers = append(p.workers, identOf(t, p.parent.Stdout, "worker"))
		p.awaitWatchdog()
	}
	return p
}

// newPool starts the parent only. Its workers may be awaited one by one.
func (u user) newPool(t *testing.T, runID, worker string, modes []string, more ...string) *pool {
	t.Helper()
	args := append([]string{"-c", poolScript, "parent", testkit.Watchdog(t), runID, worker}, modes...)
	cmd := u.as(exec.Command("sh", args...))
	cmd.Env = append(cmd.Env, "LEASH_GRACE=1s")
	cmd.Env = append(cmd.Env, more...)
	p := &pool{t: t, user: u, runID: runID, modes: modes, stdin: input(t, cmd)}
	p.parent = testkit.Start(t, cmd)
	t.Cleanup(p.end)
	return p
}

// awaitWatchdog waits until the watchdog of the worker that came last watches.
func (p *pool) awaitWatchdog() {
	p.t.Helper()
	tell(p.t, p.stdin, "go")
	p.watchdogs = append(p.watchdogs, identOf(p.t, p.parent.Stdout, "watchdog"))
	ev := p.parent.Stderr.AwaitEvent("watchdog.started")
	p.containment = append(p.containment, ev.Str("containment"))
}

// end kills what is left of the pool, also what never told its PID.
func (p *pool) end() {
	for _, id := range ofRun(p.t, p.runID) {
		_ = id.Signal(unix.SIGKILL)
		testkit.AwaitGone(p.t, id)
	}
}

// members are the workers and their children.
func (p *pool) members() []testkit.Ident { return slices.Concat(p.workers, p.children) }

// kill ends the parent together with all watchdogs, and waits until they are
// gone. It returns the orphans, which live. Under run that is the child alone:
// the worker itself dies with its watchdog.
func (p *pool) kill() (orphans []testkit.Ident) {
	p.t.Helper()
	killTogether(p.t, append(slices.Clone(p.watchdogs), p.parent.Ident)...)
	orphans = slices.Clone(p.children)
	for i, mode := range p.modes {
		if mode == "run" {
			testkit.AwaitGone(p.t, p.workers[i])
		} else {
			orphans = append(orphans, p.workers[i])
		}
	}
	testkit.StillAlive(p.t, orphans...)
	return orphans
}

// killTogether stops all processes before it kills the first: so none of them
// can react to the end of another. Watchdogs come before their parent: the
// signal that his end sends them would wake them.
func killTogether(t *testing.T, ids ...testkit.Ident) {
	t.Helper()
	for _, id := range ids {
		if err := id.Signal(unix.SIGSTOP); err != nil {
			t.Fatalf("stop %v: %v", id, err)
		}
	}
	for _, id := range ids {
		awaitState(t, id.PID, "T")
	}
	for _, id := range ids {
		if err := id.Signal(unix.SIGKILL); err != nil {
			t.Fatalf("kill %v: %v", id, err)
		}
	}
	testkit.AwaitGone(t, ids...)
}

// labelled starts a process that sleeps with these entries in its environment.
func (u user) labelled(t *testing.T, entries ...string) *testkit.Proc {
	t.Helper()
	cmd := u.as(exec.Command("sleep", "1000000"))
	cmd.Env = append(cmd.Env, entries...)
	return testkit.Start(t, cmd)
}

// ownerOf is what a watchdog writes into LEASH_RUN_OWNER for a parent.
func ownerOf(t *testing.T, id testkit.Ident) string {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	space := regexp.MustCompile(`\d+`).FindString(link)
	return fmt.Sprintf("%d:%d:%.36s:%s", id.PID, id.Start, boot, space)
}

// deadOwner is the owner of a run whose parent is gone.
func deadOwner(t *testing.T) string {
	t.Helper()
	p := testkit.Start(t, exec.Command("true"))
	owner := ownerOf(t, p.Ident)
	p.Wait()
	testkit.AwaitGone(t, p.Ident)
	return owner
}
