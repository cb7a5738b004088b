package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"

	"leash/internal/ledger"
	"leash/internal/testkit"
)

func state(t *testing.T) string { return t.TempDir() + `\state` }

// aloneVar is set if no other tests run on this machine: then all dead runs may be reaped.
const aloneVar = "LEASH_TEST_ALONE"

func needAlone(t *testing.T) {
	t.Helper()
	if os.Getenv(aloneVar) != "1" {
		testkit.Skip(t, "this test ends what is left of all dead runs, so it needs a machine where nothing else tests, and "+aloneVar+"=1")
	}
}

// scene has a dead run, a live one, one whose owner is unknown, and bystanders.
type scene struct {
	dead, alive, unclaimed string
	doomed                 []testkit.Ident
	shell                  *family // a bystander's
	grep                   testkit.Ident
	worker, nobodys        testkit.Ident // of the living run, of the unclaimed one
	nested                 testkit.Ident // the living run's, started by one that is to be ended
	bystanders             []testkit.Ident
}

func newTestScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{dead: newRun(t), alive: newRun(t), unclaimed: newRun(t), shell: newFamily(t)}
	boss, gone := newFamily(t), newFamily(t)
	labels := append(ownedBy(s.dead, boss.Ident), "LEASH_WORKER_ID=w1")
	worker := newFamily(t, labels...)
	s.doomed = []testkit.Ident{
		worker.Ident,
		worker.start(t, "stay", nil), // without labels of its own
		boss.start(t, "stay", labels),
		gone.start(t, "stay", nil, "--run-id="+s.dead), // and its parent is gone
	}
	s.nested = worker.start(t, "stay", ownedBy(s.alive, s.shell.Ident))
	s.worker = s.shell.start(t, "stay", ownedBy(s.alive, s.shell.Ident))
	s.nobodys = s.shell.start(t, "stay", []string{"SNAKEPIT_RUN_ID=" + s.unclaimed})
	s.grep = s.shell.start(t, "stay", nil, "--run-id", s.dead)
	for _, args := range [][]string{
		{"x--run-id=" + s.dead},
		{"--run-id " + s.dead},
		{"-c", "grep --run-id=" + s.dead + " *"},
		{"--run-id", s.dead + ".txt"},
	} {
		s.bystanders = append(s.bystanders, s.shell.start(t, "stay", nil, args...))
	}
	s.bystanders = append(s.bystanders, s.shell.Ident,
		s.shell.start(t, "stay", []string{"NOTE=LEASH_RUN_ID=" + s.dead, "MY_LEASH_RUN_ID=" + s.dead, "LEASH_RUN_ID_OLD=" + s.dead}))
	gone.end(t)
	boss.end(t)
	return s
}

func (s *scene) left() []testkit.Ident {
	return append([]testkit.Ident{s.grep, s.worker, s.nobodys, s.nested}, s.bystanders...)
}

// told checks the report on each process.
func (s *scene) told(t *testing.T, o outcomeOf, action string) {
	t.Helper()
	o.acted(s.dead, action, s.doomed...)
	o.acted(s.dead, "skipped", s.grep)
	o.acted(s.alive, "none", s.worker, s.nested)
	o.acted(s.unclaimed, "none", s.nobodys)
	for run, want := range map[string]string{s.dead: "dead", s.alive: "alive", s.unclaimed: "unclaimed"} {
		if got := o.run(run); got.State != want {
			t.Errorf("run %s is %s (%s), not %s", run, got.State, got.Reason, want)
		}
	}
	for _, r := range o.Runs {
		for _, p := range r.Processes {
			if slices.ContainsFunc(s.bystanders, func(b testkit.Ident) bool { return b.PID == p.PID }) {
				t.Errorf("a bystander is listed: %+v", p)
			}
		}
	}
}

// The reaper ends the processes of the dead run, and no others.
func TestReapDeadRuns(t *testing.T) {
	needAlone(t)
	s, dir := newTestScene(t), state(t)
	o := reaper(t, dir, "--dry-run")
	s.told(t, o, "would_terminate")
	testkit.StillAlive(t, append(s.left(), s.doomed...)...)
	if o.status != 0 {
		t.Errorf("status %d", o.status)
	}
	for id, want := range map[testkit.Ident]string{s.doomed[0]: "environ", s.doomed[1]: "descendant", s.doomed[2]: "environ", s.doomed[3]: "argv"} {
		if got := strings.Join(o.process(s.dead, id).Evidence, ","); got != want {
			t.Errorf("%d by %s, not %s", id.PID, got, want)
		}
	}
	if r := o.process(s.dead, s.grep).Reason; !strings.Contains(r, "its parent (PID "+strconv.Itoa(s.shell.PID)+") is alive") {
		t.Errorf("the grep: %s", r)
	}
	o = reaper(t, dir, "--grace", "200ms")
	s.told(t, o, "killed")
	if o.status != 0 || o.Killed != len(s.doomed) || o.Skipped != 1 || o.Survived+o.Terminated != 0 {
		t.Errorf("status %d, %+v", o.status, o.report)
	}
	testkit.AwaitGone(t, s.doomed...)
	testkit.StillAlive(t, s.left()...)
	o = reaper(t, dir, "--grace", "200ms", "--unclaimed")
	o.acted(s.unclaimed, "killed", s.nobodys)
	testkit.AwaitGone(t, s.nobodys)
	testkit.StillAlive(t, append(s.bystanders, s.grep, s.worker, s.nested)...)
}

// A run that is named on the command line is ended whatever its state, and no other is
// reported.
func TestReapNamedRun(t *testing.T) {
	s, dir := newTestScene(t), state(t)
	o := reaper(t, dir, "--grace", "200ms", "--run-id", s.alive, "--run-id", s.unclaimed)
	o.acted(s.alive, "killed", s.worker, s.nested)
	o.acted(s.unclaimed, "killed", s.nobodys)
	if o.status != 0 || len(o.Runs) != 2 {
		t.Errorf("status %d, %+v", o.status, o.report)
	}
	testkit.AwaitGone(t, s.worker, s.nested, s.nobodys)
	testkit.StillAlive(t, append(s.bystanders, s.doomed...)...)
	o = reaper(t, dir, "--grace", "200ms", "--run-id", s.dead)
	o.acted(s.dead, "killed", append(s.doomed, s.grep)...)
	testkit.AwaitGone(t, append(s.doomed, s.grep)...)
	testkit.StillAlive(t, s.bystanders...)
}

func TestListAndExplain(t *testing.T) {
	s, dir := newTestScene(t), state(t)
	o := reaper(t, dir, "list")
	o.acted(s.dead, "none", s.doomed...)
	if p := o.process(s.dead, s.doomed[0]); !strings.HasPrefix(p.Reason, "reap would end it: its owner") || len(p.Argv) == 0 || p.PPID != os.Getpid() {
		t.Errorf("%+v", p)
	}
	status, out, _ := testkit.Run(t, program(t, dir, "list"))
	for _, want := range []string{"run " + s.dead + "  dead", "run " + s.alive + "  alive", "run " + s.unclaimed + "  unclaimed",
		fmt.Sprintf("─ %d ", s.worker.PID), " MiB  environ"} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("status %d, no %q in\n%s", status, want, out)
		}
	}
	for _, c := range []struct {
		id   testkit.Ident
		want string
	}{
		{s.doomed[0], "would end it: its owner"},
		{s.doomed[3], "would end it: its owner"},
		{s.worker, "would leave it alone: its owner (PID " + strconv.Itoa(s.shell.PID) + ") lives"},
		{s.grep, "would leave it alone: only its arguments name the run"},
		{s.bystanders[0], "would leave it alone: there is no evidence that it belongs to a run"},
	} {
		status, out, errs := testkit.Run(t, program(t, dir, "explain", strconv.Itoa(c.id.PID)))
		if status != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%d: status %d, no %q in\n%s%s", c.id.PID, status, c.want, out, errs)
		}
	}
	testkit.StillAlive(t, append(s.left(), s.doomed...)...)
}

// Processes that only the ledger names: a worker without labels, and its children. Its
// watchdog is dead, and so is the parent.
func TestReapRecorded(t *testing.T) {
	needAlone(t)
	run, dir := newRun(t), state(t)
	parent, worker := newFamily(t), newFamily(t)
	child := worker.start(t, "stay", nil)
	guard := program(t, dir, "guard", "--run-id", run, "--worker-pid", strconv.Itoa(worker.PID), "--parent-pid", strconv.Itoa(parent.PID))
	guard.Path = testkit.Watchdog(t)
	w := testkit.Start(t, guard)
	w.Stderr.AwaitEvent("watchdog.started")
	// While the parent lives the run is alive, and the watchdog does not belong to it.
	o := reaper(t, dir, "--grace", "200ms")
	o.acted(run, "none", worker.Ident, child)
	if n := len(o.run(run).Processes); n != 2 || o.run(run).State != "alive" {
		t.Errorf("%d processes, %+v", n, o.run(run))
	}
	w.Kill()
	w.Wait()
	if o = reaper(t, dir, "--grace", "200ms"); o.run(run).State != "alive" {
		t.Errorf("without its watchdog, and with its owner: %+v", o.run(run))
	}
	parent.end(t)
	o = reaper(t, dir, "list")
	for id, want := range map[testkit.Ident]string{worker.Ident: "ledger", child: "descendant"} {
		if got := strings.Join(o.process(run, id).Evidence, ","); got != want {
			t.Errorf("%d by %s, not %s", id.PID, got, want)
		}
	}
	o = reaper(t, dir, "--grace", "200ms")
	o.acted(run, "killed", worker.Ident, child)
	testkit.AwaitGone(t, worker.Ident, child)
	files, err := os.ReadDir(dir)
	records := slices.DeleteFunc(files, func(f os.DirEntry) bool { return ledger.Others(f.Name()) })
	if err != nil || len(records) != 0 {
		t.Errorf("the ledger: %v, %v", records, err)
	}
}

// A watchdog is never ended, although all evidence says that it belongs to the run; and
// processes that a watchdog is ending are left to it.
func TestReapSparesWatchdogs(t *testing.T) {
	run, dir := newRun(t), state(t)
	parent := newFamily(t)
	cmd := program(t, dir, "run", "--run-id", run, "--grace", "100ms", "--parent-pid", strconv.Itoa(parent.PID), "--", os.Args[0])
	cmd.Path = testkit.Watchdog(t)
	cmd.Env = append(cmd.Env, roleVar+"=stay", "LEASH_RUN_ID="+run)
	w := testkit.Start(t, cmd)
	pid, _ := strconv.Atoi(w.Stdout.Await("pid "))
	worker := testkit.Identify(t, pid)
	w.Stderr.AwaitEvent("watchdog.started")
	o := reaper(t, dir, "list")
	if n := len(o.run(run).Processes); n != 1 || o.run(run).State != "alive" {
		t.Errorf("%d processes, %+v", n, o.run(run))
	}
	o = reaper(t, dir, "--run-id", run, "--grace", "200ms")
	if p := o.process(run, worker); p.Action != "killed" {
		t.Errorf("%+v", p)
	}
	if n := len(o.run(run).Processes); n != 1 {
		t.Errorf("%d processes of the run, and there is one", n)
	}
	w.Stderr.AwaitEvent("watchdog.stopped") // by itself
	if status := w.Wait(); status != 137 {
		t.Errorf("the watchdog logged status %d of its worker", status)
	}
}

// A process with a console of its own gets the console event there, from a reaper without
// one.
func TestReapAsks(t *testing.T) {
	run, dir := newRun(t), state(t)
	cmd := actor("polite", []string{"LEASH_RUN_ID=" + run})
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
	worker := started(t, cmd)
	// The host of the console has the same environment, but does not belong to the run.
	if o := reaper(t, dir, "list"); len(o.run(run).Processes) != 1 {
		t.Errorf("%d processes of the run, and there is one", len(o.run(run).Processes))
	}
	r := program(t, dir, "--run-id", run, "--grace", "5m", "--json")
	r.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS}
	status, out, errs := testkit.Run(t, r)
	if status != 0 || !strings.Contains(out, `"action":"terminated"`) {
		t.Errorf("status %d\n%s\n%s", status, out, errs)
	}
	if got := worker.Wait(); got != 42 {
		t.Errorf("the worker ended with %d: it got no console event", got)
	}
}

// A file that is no record is reported and skipped.
func TestHostileLedger(t *testing.T) {
	dir := state(t)
	guard := program(t, dir, "guard", "--worker-pid", strconv.Itoa(os.Getppid()+1)) // makes the folder, and finds no process
	guard.Path = testkit.Watchdog(t)
	testkit.Run(t, guard)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"0-8-9.worker", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("leash 1\nrun"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status, _, errs := testkit.Run(t, program(t, dir, "--run-id", newRun(t)))
	if n := strings.Count(errs, `"event":"reaper.warning"`); status != 0 || n != 2 {
		t.Errorf("status %d, %d warnings\n%s", status, n, errs)
	}
}

// A folder that others may write to, and wrong calls, are errors of one line.
func TestWrongCallsOnWindows(t *testing.T) {
	open := t.TempDir()
	everyone, err := windows.SecurityDescriptorFromString("D:P(A;OICI;FA;;;WD)")
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := everyone.DACL()
	if err != nil {
		t.Fatal(err)
	}
	if err := windows.SetNamedSecurityInfo(open, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION, nil, nil, list, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir  string
		args []string
		want string
	}{
		{state(t), []string{"explain", "4294967280"}, "there is no process"},
		{state(t), []string{"explain", "0"}, "above 0"},
		{state(t), []string{"--run-id", "x"}, "--run-id"},
		{state(t), []string{"--grace", "-1s"}, "--grace"},
	} {
		status, out, errs := testkit.Run(t, program(t, c.dir, c.args...))
		if status != 125 || out != "" || !strings.HasPrefix(errs, "reaper: ") || !strings.Contains(errs, c.want) || strings.Contains(errs, "\n") {
			t.Errorf("%q: status %d, %q, %q", c.args, status, out, errs)
		}
	}
	// An unsafe state folder is reported, and the reaper goes on without it.
	for _, dir := range []string{open, os.Args[0]} {
		if status, _, errs := testkit.Run(t, program(t, dir, "list")); status != 0 || !strings.Contains(errs, "LEASH_STATE_DIR") {
			t.Errorf("%s: status %d, %q", dir, status, errs)
		}
	}
}

// A reader that closes the pipe is no failure.
func TestWithoutAReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	cmd := program(t, state(t), "list")
	cmd.Stdout = w
	p := testkit.Start(t, cmd)
	if status := p.Wait(); status != 0 {
		t.Errorf("status %d: %s", status, p.Stderr.AwaitEnd())
	}
}
