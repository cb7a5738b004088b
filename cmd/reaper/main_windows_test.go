package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"

	"leash/internal/owner"
	"leash/internal/runid"
	"leash/internal/testkit"
	"leash/platform"
)

// roleVar makes the test binary a helper process with that role.
const roleVar = "LEASH_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVar); role {
	case "":
		testkit.Main(m)
	case "stay": // for ever, whatever console event comes
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
		fmt.Println("pid", os.Getpid())
		windows.SleepEx(windows.INFINITE, false)
	case "polite": // ends with 42 at a console event
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt)
		fmt.Println("pid", os.Getpid())
		<-c
		os.Exit(42)
	case "parent":
		breed()
	default:
		fmt.Println("no such role:", role)
		os.Exit(99)
	}
}

// breed starts a process for each line, a list in JSON: variables, "--", then arguments.
func breed() {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	fmt.Println("pid", os.Getpid())
	for in := bufio.NewReader(os.Stdin); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			windows.SleepEx(windows.INFINITE, false)
		}
		var words []string
		if err := json.Unmarshal([]byte(line), &words); err != nil {
			fmt.Println(err)
			os.Exit(99)
		}
		at := slices.Index(words, "--")
		cmd := exec.Command(os.Args[0], words[at+1:]...)
		cmd.Env = append(unlabelled(), words[:at]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			os.Exit(99)
		}
	}
}

// unlabelled is the environment of this process without labels and roles.
func unlabelled() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "LEASH_RUN_") || strings.HasPrefix(e, "LEASH_WORKER_") || strings.HasPrefix(e, roleVar+"=")
	})
}

// actor is a helper process of a test, with labels in its arguments or environment.
func actor(role string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(unlabelled(), roleVar+"="+role), env...)
	return cmd
}

func started(t *testing.T, cmd *exec.Cmd) *testkit.Proc {
	t.Helper()
	p := testkit.Start(t, cmd)
	if got := p.Stdout.Await("pid "); got != strconv.Itoa(p.PID) {
		t.Fatalf("it is %s, not %d", got, p.PID)
	}
	return p
}

// family is a process that starts others.
type family struct {
	*testkit.Proc
	in *json.Encoder
}

func newFamily(t *testing.T, env ...string) *family {
	t.Helper()
	cmd := actor("parent", env)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &family{started(t, cmd), json.NewEncoder(in)}
}

// start makes it start a process with a role.
func (f *family) start(t *testing.T, role string, env []string, args ...string) testkit.Ident {
	t.Helper()
	words := append(append([]string{roleVar + "=" + role}, env...), "--")
	if err := f.in.Encode(append(words, args...)); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(f.Stdout.Await("pid ")))
	if err != nil {
		t.Fatal(err)
	}
	id := testkit.Identify(t, pid)
	testkit.Adopt(t, id)
	return id
}

// end ends it, but not its children.
func (f *family) end(t *testing.T) {
	t.Helper()
	f.Kill()
	f.Wait()
}

// newRun is an ID that no other run has.
func newRun(t *testing.T) string {
	t.Helper()
	id, err := runid.New(platform.Random)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// ownedBy are the variables of a run and its owner.
func ownedBy(run string, id testkit.Ident) []string {
	return []string{"LEASH_RUN_ID=" + run, "LEASH_RUN_OWNER=" + owner.Owner{PID: id.PID, Start: id.Start, Boot: "0"}.String()}
}

// program is the reaper, with a ledger of its own.
func program(t *testing.T, state string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(testkit.Reaper(t), args...)
	cmd.Env = append(unlabelled(), "LEASH_LOG_FORMAT=json", "LEASH_STATE_DIR="+state)
	return cmd
}

// outcomeOf is the result of reaper --json.
type outcomeOf struct {
	*report
	t      *testing.T
	status int
}

// reaper runs the reaper to its end and parses its report.
func reaper(t *testing.T, state string, args ...string) outcomeOf {
	t.Helper()
	status, out, errs := testkit.Run(t, program(t, state, append(args, "--json")...))
	o := outcomeOf{report: new(report), t: t, status: status}
	if err := json.Unmarshal([]byte(out), o.report); err != nil {
		t.Fatalf("%q: status %d, %v\n%s\n%s", args, status, err, out, errs)
	}
	return o
}

// process is the report on a process of a run; the test fails if there is none.
func (o outcomeOf) process(run string, id testkit.Ident) *processReport {
	o.t.Helper()
	for _, r := range o.Runs {
		for _, p := range r.Processes {
			if r.RunID == run && p.PID == id.PID {
				return p
			}
		}
	}
	o.t.Fatalf("no process %d in run %s", id.PID, run)
	return nil
}

// run is the report on a run; nil if there is none.
func (o outcomeOf) run(id string) *runReport {
	for _, r := range o.Runs {
		if r.RunID == id {
			return r
		}
	}
	return nil
}

// acted checks the action for some processes.
func (o outcomeOf) acted(run, action string, ids ...testkit.Ident) {
	o.t.Helper()
	for _, id := range ids {
		if p := o.process(run, id); p.Action != action {
			o.t.Errorf("%d was %s (%s), not %s", id.PID, p.Action, p.Reason, action)
		}
	}
}
