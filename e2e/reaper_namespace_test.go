//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/testkit"
)

// A reaper of the host leaves the processes of another PID namespace alone,
// whatever it can read of them. A reaper inside ends them.
func TestReaperLeavesContainersAlone(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		testkit.Need(t, "nsenter")
		outside := startPool(t, "guard", "run")
		box := startBox(t)
		orphans := box.kill()

		check := func(r report) {
			t.Helper()
			testkit.StillAlive(t, orphans...)
			for _, id := range orphans {
				if p := r.process(id.PID); p.Action == "" || p.Action != "none" && p.Action != "skipped" {
					t.Errorf("process %d of another namespace: %+v", id.PID, p)
				}
			}
		}
		check(reap(t))
		check(reap(t, "--unclaimed"))
		check(reap(t, "--run-id", box.runID))
		testkit.StillAlive(t, outside.members()...)
		inside := reapWith(t, root().as(exec.Command("nsenter", "--target", itoa(box.init.PID), "--pid", "--mount",
			testkit.Reaper(t), "--json")))
		inside.expectState(t, box.runID, "dead")
		testkit.AwaitGone(t, orphans...)
		testkit.StillAlive(t, outside.members()...)
	})
}

// box is a pool inside a PID namespace below that of the test.
type box struct {
	*pool
	init testkit.Ident
}

// startBox starts a pool whose PIDs are others outside.
func startBox(t *testing.T) *box {
	t.Helper()
	p := &pool{t: t, user: root(), runID: newRunID(), modes: []string{"guard", "run"}}
	cmd := p.user.as(exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", `"$@" <&3 & exec sleep 1000002`, "init",
		"sh", "-c", poolScript, "parent", testkit.Watchdog(t), p.runID, plainWorker, "guard", "run"))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	cmd.ExtraFiles, p.stdin = []*os.File{r}, w
	top := testkit.Start(t, cmd)
	r.Close()
	t.Cleanup(p.end)
	b := &box{pool: p}
	for range p.modes {
		b.children = append(b.children, b.outer(top, "child"))
		b.workers = append(b.workers, b.outer(top, "worker"))
		tell(t, p.stdin, "go")
		b.watchdogs = append(b.watchdogs, b.outer(top, "watchdog"))
		top.Stderr.AwaitEvent("watchdog.started")
	}
	b.init = innerPID(t, top, "1")
	for _, id := range testkit.Descendants(t, b.init.PID) {
		if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id.PID)); has(args, "parent") && !has(args, "init") {
			p.parent = &testkit.Proc{Ident: id}
		}
	}
	if p.parent == nil {
		t.Fatal("there is no parent in the namespace")
	}
	return b
}

// outer reads a PID of the namespace and finds whose it is.
func (b *box) outer(top *testkit.Proc, word string) testkit.Ident {
	b.t.Helper()
	return innerPID(b.t, top, strings.TrimSpace(top.Stdout.Await(word+" ")))
}

// innerPID finds the process below top that has that PID in its own namespace.
func innerPID(t *testing.T, top *testkit.Proc, pid string) testkit.Ident {
	t.Helper()
	for _, id := range testkit.Descendants(t, top.PID) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", id.PID))
		_, list, _ := strings.Cut(string(status), "\nNSpid:")
		list, _, _ = strings.Cut(list, "\n")
		if pids := strings.Fields(list); len(pids) == 2 && pids[1] == pid {
			testkit.Adopt(t, id)
			return id
		}
	}
	t.Fatalf("nobody has PID %s inside", pid)
	return testkit.Ident{}
}

// The number of a worker that is gone is taken anew, group and session too.
// Whoever has it now lives, and so does his child.
func TestReaperAndTheWorkersPIDTakenAnew(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "guard")
		p.kill()
		worker := p.workers[0]
		for _, id := range p.members() {
			if err := id.Signal(unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		testkit.AwaitGone(t, p.members()...)
		if len(records(t, root())) != 1 {
			t.Fatal("the worker's record should be there")
		}

		innocent, out := withPID(t, worker.PID, "setsid", "sh", "-c", "sleep 1000000 & echo child $!; wait")
		child := identOf(t, out, "child")
		if group, err := unix.Getpgid(child.PID); err != nil || group != worker.PID {
			t.Fatalf("group %d, %v", group, err)
		}
		for _, args := range [][]string{{}, {"--unclaimed"}, {"--run-id", p.runID}} {
			r := reap(t, args...)
			testkit.StillAlive(t, innocent, child)
			for _, id := range []testkit.Ident{innocent, child} {
				if a := r.process(id.PID).Action; a != "" && a != "none" && a != "skipped" {
					t.Errorf("%q: action %q for a bystander", args, a)
				}
			}
		}
		for _, id := range []testkit.Ident{innocent, child} {
			if err := id.Signal(unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		testkit.AwaitGone(t, innocent, child)
		reap(t)
		if left := records(t, root()); len(left) != 0 {
			t.Errorf("records of what is gone: %q", left)
		}
	})
}

// The number of the parent that is gone is taken anew: the run is dead all the
// same, and whoever has the number lives.
func TestReaperAndTheOwnersPIDTakenAnew(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "guard", "run")
		orphans := p.kill()
		innocent, _ := withPID(t, p.parent.PID, "sleep", "1000000")
		r := reap(t)
		r.expectState(t, p.runID, "dead")
		r.expectEnded(t, orphans...)
		testkit.StillAlive(t, innocent)
	})
}

// The number of a watchdog that is gone is taken anew: nobody claims the worker.
func TestReaperAndTheWatchdogsPIDTakenAnew(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "unlabelled")
		orphans := p.kill()
		innocent, _ := withPID(t, p.watchdogs[0].PID, "sleep", "1000000")
		reap(t).expectEnded(t, orphans...)
		testkit.StillAlive(t, innocent)
	})
}

// PIDs were seen to be taken anew within one tick of the start time, so PID
// and start time alone prove nothing.
func TestReaperAndTheSameTick(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		// A record to start from, of a run that is dead.
		p := startPool(t, "guard")
		members := p.kill()
		names := records(t, root())
		if len(names) != 1 {
			t.Fatalf("records %q", names)
		}
		text, err := os.ReadFile(filepath.Join(root().state, names[0]))
		if err != nil {
			t.Fatal(err)
		}
		record, err := ledger.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var innocents []testkit.Ident
		for i, inode := range []uint64{1, 0} { // another process for certain; an old kernel's record
			innocent := testkit.Start(t, exec.Command("sleep", "1000000"))
			innocents = append(innocents, innocent.Ident)
			record.Worker = proc.ID{PID: innocent.PID, Start: innocent.Start, Inode: inode}
			record.Watchdog.Start += uint64(i + 1) // a file name of its own
			if inode == 0 {
				record.Group, record.Session = p.workers[0].PID, p.workers[0].PID
			} else {
				record.Group, record.Session = innocent.PID, innocent.PID
			}
			save(t, record)
		}
		r := reap(t)
		r.expectEnded(t, members...)
		testkit.StillAlive(t, innocents...)
	})
}

// save writes a record into the ledger of the test.
func save(t *testing.T, record ledger.Record) {
	t.Helper()
	dir, err := os.Open(root().state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := ledger.Save(dir, &record); err != nil {
		t.Fatal(err)
	}
}

// withPID starts a command that gets a PID which is free. That takes a PID
// namespace of the test's own, and a shell: it has one thread, and forks right
// after it has set the number.
func withPID(t *testing.T, want int, command ...string) (testkit.Ident, *testkit.Lines) {
	t.Helper()
	// Afterwards it is set far from the numbers of processes that are gone: a
	// thread of this program would get one, and a thread takes no signal.
	const script = `last=/proc/sys/kernel/ns_last_pid
		echo $(($1 - 1)) >$last; shift; "$@" & echo 20000 >$last; echo "PID $!"; wait`
	// Who is dead has his number until he is reaped.
	awaitThat(t, "free number", func() bool { _, err := os.Stat("/proc/" + itoa(want)); return err != nil })
	var seen []string
	for range 100 {
		args := append([]string{"-c", script, "sh", itoa(want)}, command...)
		shell := testkit.Start(t, exec.Command("sh", args...))
		pid := shell.Stdout.Await("PID ")
		if pid == itoa(want) {
			return testkit.Identify(t, want), shell.Stdout
		}
		// Somebody else was faster: a thread of this program, say. The shell's
		// child ends with the test.
		seen = append(seen, pid)
	}
	slices.Sort(seen)
	t.Fatalf("nobody got PID %d, but %v", want, slices.Compact(seen))
	return testkit.Ident{}, nil
}
