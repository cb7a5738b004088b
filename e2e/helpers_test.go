//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// watchdog is a command line of the binary that logs JSON.
func watchdog(t testing.TB, args ...string) *exec.Cmd {
	cmd := exec.Command(testkit.Watchdog(t), args...)
	cmd.Env = append(os.Environ(), "LEASH_LOG_FORMAT=json", "LEASH_STATE_DIR="+stateDir(t))
	return cmd
}

// plainly is a command line of the watchdog, without a flag or variable that asks for events.
func plainly(t testing.TB, args ...string) *exec.Cmd {
	cmd := exec.Command(testkit.Watchdog(t), args...)
	for _, e := range cmd.Environ() {
		if !strings.HasPrefix(e, "LEASH_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "LEASH_STATE_DIR="+stateDir(t))
	return cmd
}

func stateDir(t testing.TB) string { return filepath.Join(t.TempDir(), "state") }

// scriptWorker starts a shell script that leads its own group, and waits for "ready".
func scriptWorker(t *testing.T, script string) *testkit.Proc {
	t.Helper()
	p := testkit.Start(t, exec.Command("sh", "-c", script))
	p.Stdout.Await("ready")
	return p
}

// sleeper is a process to stand for a parent.
func sleeper(t *testing.T) *testkit.Proc {
	return scriptWorker(t, "echo ready; exec sleep 1000000")
}

// guard starts a watchdog beside a worker and waits until it watches.
func guard(t *testing.T, worker, parent *testkit.Proc, more ...string) *testkit.Proc {
	t.Helper()
	args := append([]string{"guard", "--worker-pid", pid(worker), "--parent-pid", pid(parent)}, more...)
	w := testkit.Start(t, watchdog(t, args...))
	w.Stderr.AwaitEvent("watchdog.started")
	return w
}

func pid(p *testkit.Proc) string { return strconv.Itoa(p.PID) }

// identOf reads a PID that a worker printed behind a word.
func identOf(t *testing.T, lines *testkit.Lines, word string) testkit.Ident {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(lines.Await(word + " ")))
	if err != nil {
		t.Fatal(err)
	}
	id := testkit.Identify(t, n)
	testkit.Adopt(t, id)
	return id
}

// readFile is what a file holds that has to be there.
func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func itoa(n int) string { return strconv.Itoa(n) }

func match(s string) *regexp.Regexp { return regexp.MustCompile(regexp.QuoteMeta(s)) }

// state is the letter of /proc/PID/stat.
func state(t *testing.T, pid int) string {
	t.Helper()
	b := readFile(t, "/proc/"+itoa(pid)+"/stat")
	s := string(b)
	return s[strings.LastIndexByte(s, ')')+2:][:1]
}

// awaitState waits for a state that no event reports.
func awaitState(t *testing.T, pid int, want string) {
	t.Helper()
	for end := time.Now().Add(testkit.Patience); state(t, pid) != want; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("process %d is in state %s, not %s", pid, state(t, pid), want)
		}
	}
}

// spaceVar names the test that runs inside a PID namespace of its own.
const spaceVar = "LEASH_E2E_SPACE"

// spacePatience bounds a whole test inside its namespace.
const spacePatience = 10 * time.Minute

// inOwnSpace runs the rest of a test inside a PID namespace with a /proc of
// its own. A plain reaper ends the dead runs of all it sees: there it sees the
// processes of this test and nothing of the machine, and what other tests do
// at the same time does not meet it.
//
// The first process of the namespace is testkit.Main again. So orphans come to
// it as to an init, and it checks for leaks at the end.
func inOwnSpace(t *testing.T, body func(t *testing.T)) { t.Helper(); inSpace(t, "rw", body) }

// inSpace is inOwnSpace with options for the new /proc.
func inSpace(t *testing.T, options string, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(spaceVar) == t.Name() {
		t.Setenv("LEASH_STATE_DIR", stateDir(t))
		body(t)
		return
	}
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare", "mount", "setsid")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The new /proc is mounted, never the old one remounted: that would change
	// the one of the machine.
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount",
		"sh", "-c", `mount -t proc -o "$0" proc /proc && exec "$@"`, options,
		self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.parallel=1", "-test.timeout="+spacePatience.String())
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "LEASH_") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, spaceVar+"="+t.Name(), "LEASH_BIN_DIR="+publicBinaries(t),
		"LEASH_TEST_NO_SKIP="+os.Getenv("LEASH_TEST_NO_SKIP"), updateVar+"="+os.Getenv(updateVar))
	awaitSpace(t, testkit.Start(t, cmd))
}

// mostlyWaits lets a test in a namespace of its own run beside others: it needs
// little of the processor.
func mostlyWaits(t *testing.T) {
	t.Helper()
	if os.Getenv(spaceVar) != t.Name() {
		t.Parallel()
	}
}

// awaitSpace hands on how the test inside has ended.
func awaitSpace(t *testing.T, p *testkit.Proc) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(spacePatience + testkit.Patience):
		t.Fatal("the test in its own namespace does not end")
	}
	status, out := p.Wait(), p.Stdout.AwaitEnd()
	switch {
	case status != 0:
		t.Errorf("status %d of the test in its own namespace", status) // the cleanup of p shows the rest
	case strings.Contains(out, "--- SKIP: "+t.Name()):
		testkit.Skip(t, out)
	case !strings.Contains(out, "--- PASS: "+t.Name()):
		t.Errorf("the test did not run in its namespace:\n%s", out)
	case testing.Verbose():
		t.Log(out)
	}
}

// publicBinaries puts both programs where every user may execute them. They
// stay beside each other: so they know each other.
func publicBinaries(t *testing.T) string {
	t.Helper()
	dir := publicDir(t)
	for _, binary := range []string{testkit.Watchdog(t), testkit.Reaper(t)} {
		b := readFile(t, binary)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(binary)), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// publicDir is a new directory that every user may enter.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "leash-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

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
// signal that its end sends them would wake them.
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
	boot := readFile(t, "/proc/sys/kernel/random/boot_id")
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	space := regexp.MustCompile(`\d+`).FindString(link)
	return fmt.Sprintf("%d:%d:%.36s:%s", id.PID, id.Start, boot, space)
}

// deadOwner is the owner of a run after its parent has exited.
func deadOwner(t *testing.T) string {
	t.Helper()
	p := testkit.Start(t, exec.Command("true"))
	owner := ownerOf(t, p.Ident)
	p.Wait()
	testkit.AwaitGone(t, p.Ident)
	return owner
}

// report is what the reaper prints with --json.
type report struct {
	Runs                                  []run
	Scanned                               int
	Terminated, Killed, Survived, Skipped int
	DurationMS                            *float64 `json:"duration_ms"`

	status         int
	stdout, stderr string
}

type run struct {
	RunID string `json:"run_id"`
	State string
	Owner *struct {
		PID   int
		Alive bool
	}
	Processes []process
}

type process struct {
	PID, PPID int
	UID       uint32
	Argv      []string
	Evidence  []string
	Action    string
	Reason    string
	Unguarded bool
}

// user is a user of the system with a state directory of their own.
type user struct {
	uid   uint32
	state string
}

// ordinary makes a user with a number that no other user has.
func ordinary(t *testing.T, uid uint32) user {
	t.Helper()
	u := user{uid: uid, state: publicDir(t)}
	if err := os.Chmod(u.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(u.state, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	return u
}

// root is the user that runs the test, with the directory of the test.
func root() user { return user{uid: 0, state: os.Getenv("LEASH_STATE_DIR")} }

// as makes a command one of the user.
func (u user) as(cmd *exec.Cmd) *exec.Cmd {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "LEASH_STATE_DIR="+u.state, "LEASH_LOG_FORMAT=json")
	cmd.Dir = "/" // the tests' own may be closed to that user
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if u.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.uid, Gid: u.uid}
	}
	return cmd
}

// reaper is a command line of the binary, of the user that runs the test.
func reaper(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return root().as(exec.Command(testkit.Reaper(t), args...))
}

// reap runs the reaper with --json, and expects status 0.
func reap(t *testing.T, args ...string) report { t.Helper(); return root().reap(t, args...) }

func (u user) reap(t *testing.T, args ...string) report {
	t.Helper()
	return reapWith(t, u.as(exec.Command(testkit.Reaper(t), append(args, "--json")...)))
}

// reapWith runs a command that prints a report, and expects status 0.
func reapWith(t *testing.T, cmd *exec.Cmd) report {
	t.Helper()
	r := result(t, cmd)
	if r.status != 0 {
		t.Fatalf("%q: status %d\n%s\n%s", cmd.Args, r.status, r.stdout, r.stderr)
	}
	return r
}

// result runs a command that prints a report.
func result(t *testing.T, cmd *exec.Cmd) (r report) {
	t.Helper()
	status, stdout, stderr := testkit.Run(t, cmd)
	if status != 125 {
		r = parseReport(t, stdout)
	}
	r.status, r.stdout, r.stderr = status, stdout, stderr
	return r
}

func parseReport(t *testing.T, text string) (r report) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("no report: %v\n%s", err, text)
	}
	if r.Runs == nil || r.DurationMS == nil {
		t.Errorf("a report without runs or duration_ms: %s", text)
	}
	return r
}

// of is the run of that ID and user.
func (r report) of(id string, uid uint32) (found run) {
	for _, run := range r.Runs {
		if run.RunID == id && len(run.Processes) > 0 && run.Processes[0].UID == uid {
			return run
		}
	}
	return run{}
}

// process is what the report holds of a process; the zero value if nothing.
func (r report) process(pid int) process {
	for _, run := range r.Runs {
		if p := run.process(pid); p.PID != 0 {
			return p
		}
	}
	return process{}
}

func (r run) process(pid int) process {
	if i := slices.IndexFunc(r.Processes, func(p process) bool { return p.PID == pid }); i >= 0 {
		return r.Processes[i]
	}
	return process{}
}

// expect fails the test if a process is not in the report with that action.
// What is left alone for a cause says why.
func (r report) expect(t *testing.T, action string, ids ...testkit.Ident) {
	t.Helper()
	for _, id := range ids {
		p := r.process(id.PID)
		if p.Action != action || action == "skipped" && p.Reason == "" {
			t.Errorf("expected action %s of %v, but the report has: %+v", action, id, p)
		}
	}
}

// expectEnded fails the test if the report does not say that they were ended.
func (r report) expectEnded(t *testing.T, ids ...testkit.Ident) {
	t.Helper()
	for _, id := range ids {
		if p := r.process(id.PID); p.Action != "terminated" && p.Action != "killed" {
			t.Errorf("process %d should have been ended, but the report has: %+v", id.PID, p)
		}
	}
	testkit.AwaitGone(t, ids...)
}

// expectState fails the test if the run is in another state.
func (r report) expectState(t *testing.T, id, want string) {
	t.Helper()
	i := slices.IndexFunc(r.Runs, func(run run) bool { return run.RunID == id })
	if i < 0 || r.Runs[i].State != want {
		t.Errorf("run %s should be %s in: %s", id, want, r.stdout)
	}
}

// events are those that the reaper logged.
func (r report) events() []testkit.Event { return testkit.Events(strings.NewReader(r.stderr)) }
