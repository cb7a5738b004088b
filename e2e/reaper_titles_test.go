//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"leash/internal/testkit"
)

// A worker that wiped its arguments and its environment is found by its
// record, and its child by what the record says of the worker.
func TestReaperFindsWhoWipedItsTitle(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		python := testkit.NeedPython(t, "setproctitle")
		worker := "exec env -u SPT_NOENV " + python + " " + peer(t, "title_worker.py") + " --run-id $LEASH_RUN_ID"
		p := root().pool(t, newRunID(), worker, "guard", "unlabelled")
		orphans := p.kill()
		wiped(t, p.runID, orphans...)
		r := reap(t)
		r.expectState(t, p.runID, "dead")
		for i := range p.workers {
			r.expectEvidence(t, p.workers[i], "ledger")
			r.expectEvidence(t, p.children[i], "group", "session", "descendant")
		}
		r.expectEnded(t, orphans...)
	})
}

// The daemon of a wiped worker: no label, no group, no parent. What is left is
// the cgroup that its watchdog had made.
func TestReaperFindsWhoIsInTheCgroupAlone(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		python := testkit.NeedPython(t, "setproctitle")
		worker := "exec env -u SPT_NOENV " + python + " " + peer(t, "title_worker.py") + " --daemon"
		p := root().pool(t, newRunID(), worker, "run")
		if !strings.Contains(p.containment[0], "cgroup") {
			testkit.Skip(t, "no cgroup can be made here: "+p.containment[0])
		}
		orphans := p.kill()
		wiped(t, p.runID, orphans...)
		cgroup := cgroupOf(t, orphans[0])
		r := reap(t)
		r.expectEvidence(t, orphans[0], "cgroup")
		r.expectEnded(t, orphans...)
		if left := records(t, root()); len(left) != 0 {
			t.Errorf("records of what is gone: %q", left)
		}
		if _, err := os.Stat(cgroup); err == nil {
			t.Errorf("the cgroup is left: %s", cgroup)
		}
	})
}

// gunicorn sets the titles of its processes and wipes their environment.
func TestReaperFindsGunicorn(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		python := testkit.NeedPython(t, "gunicorn", "setproctitle")
		testkit.Need(t, gunicorn)
		runID := newRunID()
		worker := "echo worker $$; exec " + python + " " + gunicorn +
			" --workers 4 --bind 127.0.0.1:0 --chdir " + peer(t, "") + " web_app:app"
		p := root().newPool(t, runID, worker, []string{"unlabelled"}, "PYTHONDONTWRITEBYTECODE=1")
		p.workers = append(p.workers, identOf(t, p.parent.Stdout, "worker"))
		port := gunicornPort(t, p.parent)
		p.awaitWatchdog()
		p.children = testkit.Descendants(t, p.workers[0].PID)
		testkit.Adopt(t, p.children...)
		if len(p.children) < 4 {
			t.Fatalf("gunicorn and %v", p.children)
		}
		orphans := p.kill()
		wiped(t, runID, orphans...)
		openRequest(t, p.parent, port).Close() // it serves, and nobody would end it
		r := reap(t)
		r.expectState(t, runID, "dead")
		r.expectEvidence(t, p.workers[0], "ledger")
		for _, id := range p.children {
			r.expectEvidence(t, id, "group", "session")
		}
		r.expectEnded(t, orphans...)
		portIsFree(t, port)
	})
}

// wiped fails the test if a process can be found by a label: then the test
// would prove nothing.
func wiped(t *testing.T, runID string, ids ...testkit.Ident) {
	t.Helper()
	for _, id := range ids {
		for _, file := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile("/proc/" + itoa(id.PID) + "/" + file)
			if err != nil || strings.Contains(string(text), runID) {
				t.Fatalf("%v is not wiped: %s has %.200q, %v", id, file, text, err)
			}
		}
	}
}

// expectEvidence fails the test if the report does not give all this evidence.
func (r report) expectEvidence(t *testing.T, id testkit.Ident, want ...string) {
	t.Helper()
	got := r.process(id.PID).Evidence
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("evidence for %d is %q, want %q: %+v", id.PID, got, want, r.process(id.PID))
			return
		}
	}
}

var unified = regexp.MustCompile(`(?m)^0::(.*)$`)

// cgroupOf is the directory of a process's cgroup.
func cgroupOf(t *testing.T, id testkit.Ident) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + itoa(id.PID) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("findmnt", "--noheadings", "--types", "cgroup2", "--output", "TARGET").Output()
	m := unified.FindSubmatch(text)
	if err != nil || m == nil || string(m[1]) == "/" {
		t.Fatalf("cgroup2 is on %q, %v; the process is in:\n%s", out, err, text)
	}
	return strings.TrimSpace(string(out)) + string(m[1])
}
