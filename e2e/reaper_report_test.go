//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"leash/internal/testkit"
)

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

// user is somebody with a state directory of his own.
type user struct {
	uid   uint32
	state string
}

// ordinary makes a user whose number nobody has.
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
	cmd.Dir = "/" // the tests' own may be closed to him
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

// process is what the report says of a process; the zero value if nothing.
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
			t.Errorf("want %s of process %v, but the report has: %+v", action, id, p)
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
