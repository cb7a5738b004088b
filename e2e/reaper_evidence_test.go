//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

// actor is a process that seems to be something.
type actor struct {
	name string
	Path string
	Args []string
	Env  []string
	Dir  string
}

// decoys mention the ID and do not belong to the run. All are orphans of the
// user of the run, so nothing but an exact comparison saves them.
func decoys(t *testing.T, id string) []actor {
	list := slices.Concat(decoyArguments(id), decoyPrograms(id), decoyVariables(id), decoyPlaces(t, id))
	names := map[string]bool{}
	for _, a := range list {
		names[a.name] = true
	}
	if len(names) != len(list) || len(list) < 60 {
		t.Fatalf("%d decoys with %d names", len(list), len(names))
	}
	return list
}

// decoyArguments are almost the flag, or almost the ID.
func decoyArguments(id string) []actor {
	args := func(name string, args ...string) actor {
		return actor{name: name, Args: append([]string{"worker"}, args...)}
	}
	return []actor{
		args("another flag before it", "--other-run-id", id),
		args("another flag with =", "--other-run-id="+id),
		args("one dash", "-run-id", id),
		args("one dash and =", "-run-id="+id),
		args("three dashes", "---run-id", id),
		args("a longer flag", "--run-id-x", id),
		args("a longer flag with =", "--run-id-x="+id),
		args("plural", "--run-ids="+id),
		args("plural, two arguments", "--run-ids", id),
		args("no dashes", "run-id="+id),
		args("no dashes, two arguments", "run-id", id),
		args("an underscore", "--run_id", id),
		args("an underscore with =", "--run_id="+id),
		args("an upper case flag", "--RUN-ID", id),
		args("an upper case flag with =", "--Run-Id="+id),
		args("the flag without its end", "--run-i", id),
		args("no hyphen in the flag", "--runid", id),
		args("a colon", "--run-id:"+id),
		args("two equals signs", "--run-id=="+id),
		args("an equals sign alone", "--run-id=", id),
		args("a blank after =", "--run-id= "+id),
		args("a blank before =", "--run-id ="+id),
		args("blank and ID in one argument", "--run-id "+id),
		args("tab and ID in one argument", "--run-id\t"+id),
		args("a trailing blank", "--run-id="+id+" "),
		args("a trailing line feed", "--run-id="+id+"\n"),
		args("a trailing line feed, two arguments", "--run-id", id+"\n"),
		args("a leading blank, two arguments", "--run-id", " "+id),
		args("a longer ID", "--run-id", id+"0"),
		args("a longer ID with =", "--run-id="+id+"z"),
		args("a shorter ID", "--run-id", id[:6]),
		args("a shorter ID with =", "--run-id="+id[1:]),
		args("upper case", "--run-id", shout(id)),
		args("upper case with =", "--run-id="+shout(id)),
		args("quotes", "--run-id='"+id+"'"),
		args("a suffix", "--run-id="+id+".log"),
		args("something between", "--run-id", "--", id),
		args("an empty argument between", "--run-id", "", id),
		args("the ID before the flag", id, "--run-id"),
		args("the ID alone", id),
		args("the variable as an argument", "LEASH_RUN_ID="+id),
		args("another snakepit flag", "--snakepit-run-ids", id),
		args("half of the snakepit flag", "--snakepit-run="+id),
		args("a comma in the snakepit flag", "--snakepit-run-id,"+id),
		args("two IDs", "--run-id="+id+","+id),
	}
}

// decoyPrograms are programs that people use beside workers.
func decoyPrograms(id string) []actor {
	return []actor{
		{name: "an editor", Args: []string{"vi", "--run-id=" + id + ".txt"}},
		{name: "an editor with a search", Args: []string{"vim", "+/--run-id " + id, "notes"}},
		{name: "grep", Args: []string{"grep", "-r", "run-id=" + id, "."}},
		{name: "grep for the flag as text", Args: []string{"grep", "-e--run-id=" + id, "log"}},
		{name: "grep with a pattern", Args: []string{"grep", "--regexp=--run-id=" + id}},
		{name: "tail", Args: []string{"tail", "-f", "/tmp/--run-id=" + id}},
		{name: "tail of a file named so", Args: []string{"tail", "-f", "./--run-id=" + id}},
		{name: "a shell script's text", Args: []string{"sh", "-c", "worker --run-id " + id + " & wait"}},
		{name: "a shell script's lines", Args: []string{"bash", "-c", "wait\n--run-id\n" + id}},
		{name: "pgrep", Args: []string{"pgrep", "-f", "worker.*--run-id " + id}},
		{name: "ps piped to awk", Args: []string{"awk", "/--run-id=" + id + "/ {print $2}"}},
		{name: "ssh", Args: []string{"ssh", "host", "worker --run-id=" + id}},
		{name: "journalctl", Args: []string{"journalctl", "LEASH_RUN_ID=" + id, "-f"}},
		{name: "less on a log", Args: []string{"less", "/var/log/" + id + "/worker.log"}},
		{name: "the ID as its name", Args: []string{id}},
		{name: "the flag as its name", Args: []string{"--run-id", id}},
		{name: "flag and ID as its name", Args: []string{"--run-id=" + id}},
		{name: "the variable as its name", Args: []string{"LEASH_RUN_ID=" + id}},
		{name: "no arguments at all", Args: []string{""}, Env: []string{"RUN=" + id}},
	}
}

// decoyVariables are almost the variable, or almost the ID.
func decoyVariables(id string) []actor {
	var list []actor
	for _, entry := range []string{
		"XLEASH_RUN_ID=" + id, "_LEASH_RUN_ID=" + id, "LEASH_RUN_IDS=" + id, "LEASH_RUN_ID_OLD=" + id,
		"leash_run_id=" + id, "Leash_Run_Id=" + id, "LEASH-RUN-ID=" + id, "LEASH_RUN_ID =" + id, " LEASH_RUN_ID=" + id,
		"RUN_ID=" + id, "LEASH_RUN=" + id, "LEASH_RUNID=" + id, "LEASH_WORKER_ID=" + id, "LEASH_RUN_OWNER=" + id,
		"FOO=LEASH_RUN_ID=" + id, "FOO=bar LEASH_RUN_ID=" + id, "FOO=x\nLEASH_RUN_ID=" + id,
		"ARGS=--run-id " + id, "--run-id=" + id, "LEASH_RUN_ID=" + id + " ", "LEASH_RUN_ID= " + id,
		"LEASH_RUN_ID=" + id + "\n", "LEASH_RUN_ID=" + id + "0", "LEASH_RUN_ID=" + id[:6], "LEASH_RUN_ID=" + id[1:],
		"LEASH_RUN_ID=" + shout(id), "LEASH_RUN_ID=\"" + id + "\"", "LEASH_RUN_ID==" + id,
		"LEASH_RUN_ID:" + id, "XSNAKEPIT_RUN_ID=" + id, "SNAKEPIT_RUN_IDS=" + id,
		"snakepit_run_id=" + id, "SNAKEPIT_RUN_ID=" + id + ".",
	} {
		list = append(list, actor{name: "variable " + entry, Args: []string{"worker"}, Env: []string{entry}})
	}
	return list
}

// shout writes an ID in upper case, or wrongly if it has no letters.
func shout(id string) string { return strings.ToUpper(strings.ReplaceAll(id, "_", "-")) }

// decoyPlaces have the ID in a name of the file system.
func decoyPlaces(t *testing.T, id string) []actor {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "--run-id="+id)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary := readFile(t, actors(t))
	var list []actor
	for _, name := range []string{id, "--run-id=" + id, "LEASH_RUN_ID=" + id} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, binary, 0o755); err != nil {
			t.Fatal(err)
		}
		list = append(list, actor{name: "executable " + name, Path: path, Args: []string{path}})
	}
	return append(list, actor{name: "directory", Dir: dir, Args: []string{"worker"}})
}

// members belong to the run: what differs from a decoy by a character.
func members(id string) []actor {
	return []actor{
		{name: "two arguments", Args: []string{"worker", "--run-id", id}},
		{name: "one argument", Args: []string{"worker", "-v", "--run-id=" + id, "x"}},
		{name: "the older flag", Args: []string{"worker", "--snakepit-run-id", id}},
		{name: "the older flag with =", Args: []string{"worker", "--snakepit-run-id=" + id}},
		{name: "behind --", Args: []string{"worker", "--", "--run-id", id}},
		{name: "variable", Args: []string{"worker"}, Env: []string{"A=b", "LEASH_RUN_ID=" + id}},
		{name: "older variable", Args: []string{"worker"}, Env: []string{"SNAKEPIT_RUN_ID=" + id, "A=b"}},
		{name: "both", Args: []string{"worker", "--run-id", id}, Env: []string{"LEASH_RUN_ID=" + id}},
	}
}

func actors(t *testing.T) string { t.Helper(); return testkit.Build(t, "./testdata/peers/actors") }

// play starts the actors and makes orphans of them.
func play(t *testing.T, list []actor) (ids []testkit.Ident) {
	t.Helper()
	cmd := exec.Command(actors(t))
	// A process in the session of PID 1 may be a child that PID 1 started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in := input(t, cmd)
	director := testkit.Start(t, cmd)
	for _, a := range list {
		role, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		tell(t, in, string(role))
		ids = append(ids, identOf(t, director.Stdout, "actor"))
	}
	director.Kill()
	director.Wait()
	testkit.StillAlive(t, ids...)
	return ids
}

// Beside real members of a dead run stand orphans that only mention its ID.
func TestReaperAndDecoys(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		for _, id := range []string{"k3x9a2p", "1760151234493767_621181"} {
			t.Run(id, func(t *testing.T) { decoysLive(t, id) })
		}
	})
}

func decoysLive(t *testing.T, id string) {
	list := decoys(t, id)
	bystanders := play(t, list)
	real := members(id)
	real = append(real, actor{name: "owner", Args: []string{"worker"},
		Env: []string{"LEASH_RUN_ID=" + id, "LEASH_RUN_OWNER=" + deadOwner(t)}})
	orphans := play(t, real)
	calls := [][]string{{}, {"--run-id", id}}
	if len(id) == 7 { // what is longer or shorter is no other run's ID either
		calls = append(calls, []string{"--unclaimed"})
	}
	for _, args := range calls {
		r := reap(t, args...)
		if len(args) == 0 {
			r.expectState(t, id, "dead")
			for i, a := range real {
				if p := r.process(orphans[i].PID); p.Action != "terminated" && p.Action != "killed" {
					t.Errorf("member %q: %+v", a.name, p)
				}
			}
			testkit.AwaitGone(t, orphans...)
		}
		for i, a := range list {
			if p := r.process(bystanders[i].PID); !bystanders[i].Alive() || slices.Contains(idsOf(r, id), p.PID) {
				t.Errorf("reaper %q: decoy %q (%q, %q): alive %t, %+v", args, a.name, a.Args, a.Env, bystanders[i].Alive(), p)
			}
		}
	}
	t.Logf("%d decoys", len(list))
}

// idsOf lists the PIDs that a report gives to a run.
func idsOf(r report, id string) (pids []int) {
	for _, run := range r.Runs {
		for _, p := range run.Processes {
			if run.RunID == id {
				pids = append(pids, p.PID)
			}
		}
	}
	return pids
}

// A grep for the ID at a prompt has the very arguments of a member. Its parent
// lives and is not of the run, so a plain reaper leaves it alone.
func TestReaperAndAGrepAtAPrompt(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		id := newRunID()
		owner := []string{"LEASH_RUN_ID=" + id, "LEASH_RUN_OWNER=" + deadOwner(t)}
		orphan := play(t, []actor{{Args: []string{"worker"}, Env: owner}})[0]
		cmd := exec.Cmd{Path: actors(t), Args: []string{"grep", "--run-id", id}, Env: []string{"ACTORS_PLAY=1"}}
		grep := testkit.Start(t, &cmd)
		grep.Stdout.Await("up")

		r := reap(t)
		r.expectEnded(t, orphan)
		r.expect(t, "skipped", grep.Ident)
		testkit.StillAlive(t, grep.Ident)
		reap(t, "--unclaimed")
		testkit.StillAlive(t, grep.Ident)

		// With the run named, the caller's word is enough.
		reap(t, "--run-id", id).expectEnded(t, grep.Ident)
	})
}

// A worker that wiped its arguments and its environment is found by its
// record, and its child by what the record says of the worker.
func TestReaperFindsWipedTitles(t *testing.T) {
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
func TestReaperFindsProcessesByCgroupAlone(t *testing.T) {
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
		port := awaitGunicornPort(t, p.parent)
		p.awaitWatchdog()
		p.children = testkit.Descendants(t, p.workers[0].PID)
		testkit.Adopt(t, p.children...)
		if len(p.children) < 4 {
			t.Fatalf("gunicorn and %v", p.children)
		}
		orphans := p.kill()
		wiped(t, runID, orphans...)
		openRequest(t, p.parent, port).Close() // it serves, and nothing would end it
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
	text := readFile(t, "/proc/"+itoa(id.PID)+"/cgroup")
	out, err := exec.Command("findmnt", "--noheadings", "--types", "cgroup2", "--output", "TARGET").Output()
	m := unified.FindSubmatch(text)
	if err != nil || m == nil || string(m[1]) == "/" {
		t.Fatalf("cgroup2 is on %q, %v; the process is in:\n%s", out, err, text)
	}
	return strings.TrimSpace(string(out)) + string(m[1])
}
