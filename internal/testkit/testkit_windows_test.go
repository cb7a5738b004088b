package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// roleVar makes the test binary a helper process with that role.
const roleVar = "TESTKIT_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		play(role)
	}
	Main(m)
}

func play(role string) {
	os.Unsetenv(roleVar)
	switch what, rest, _ := strings.Cut(role, " "); what {
	case "exit":
		n, _ := strconv.Atoi(rest)
		os.Exit(n)
	case "say":
		fmt.Println(rest)
		fmt.Fprintln(os.Stderr, "err")
		os.Exit(0)
	case "sleep":
		fmt.Println("asleep")
		forever()
	case "parent": // starts a process with the rest of the role, and stays
		fmt.Println(child(rest))
		forever()
	case "orphan": // the same, and ends
		fmt.Println(child(rest))
		os.Exit(0)
	case "supervise": // does what Main does, with another role instead of tests
		patience := leakPatience
		if os.Getenv("TESTKIT_IMPATIENT") != "" {
			patience = 100 * time.Millisecond
		}
		os.Setenv(roleVar, rest)
		status, err := supervise(patience, os.Args[0])
		if err != nil {
			fmt.Println("leak:", err)
		}
		fmt.Println("status:", status)
		os.Exit(0)
	}
	fmt.Println("no such role:", role)
	os.Exit(99)
}

func forever() { windows.WaitForSingleObject(windows.CurrentProcess(), windows.INFINITE) }

func child(role string) (pid int) {
	cmd := roleCommand(role)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	return cmd.Process.Pid
}

func roleCommand(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	return cmd
}

func TestStatusAndOutput(t *testing.T) {
	for _, want := range []int{0, 7} {
		if got := Start(t, roleCommand(fmt.Sprint("exit ", want))).Wait(); got != want {
			t.Errorf("status %d, want %d", got, want)
		}
	}
	status, stdout, stderr := Run(t, roleCommand("say well"))
	if status != 0 || stdout != "well" || stderr != "err" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

func TestEventBehindOtherText(t *testing.T) {
	l := Collect(t, strings.NewReader(`Traceback {"time":"x","event":"a.b","n":1}`+"\n"))
	if e := l.AwaitEvent("a.b"); e.Int("n") != 1 {
		t.Error(e)
	}
}

func TestAliveAndGone(t *testing.T) {
	p := Start(t, roleCommand("sleep"))
	p.Stdout.Await("asleep")
	later := Ident{p.PID, p.Start + 1}
	if !p.Alive() || later.Alive() {
		t.Error("a live process counts as dead, or one with its PID and another start time as alive")
	}
	if _, err := later.open(); !errors.Is(err, errGone) {
		t.Errorf("open a PID with another creation time: %v", err)
	}
	if err := later.Kill(); err != nil {
		t.Errorf("kill a process that was reaped: %v", err)
	}
	AwaitGone(t, later)
	if left := awaitGone([]Ident{p.Ident}, 10*time.Millisecond); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	StillAlive(t, p.Ident)
	if text := p.String(); !strings.Contains(text, "testkit.test.exe") {
		t.Errorf("%s", text)
	}

	// It has ended, but a handle is open: not alive.
	h, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h)
	p.Kill()
	AwaitGone(t, p.Ident)
	if got := p.Wait(); got != killStatus {
		t.Errorf("status %d", got)
	}
	if id, ok := Lookup(p.PID); !ok || id != p.Ident || id.Alive() {
		t.Errorf("%v, %t", id, ok)
	}
	if err := p.Ident.Kill(); err != nil {
		t.Errorf("kill a process that has ended: %v", err)
	}
}

func TestCleanupEndsTheTree(t *testing.T) {
	var ids []Ident
	t.Run("start", func(t *testing.T) {
		p := Start(t, roleCommand("parent parent sleep"))
		ids = append(ids, p.Ident, Identify(t, pidLine(t, p)))
		ids = append(ids, Identify(t, pidLine(t, p)))
		if ids[1].Start > ids[2].Start { // the one below may be the first to name what it started
			ids[1], ids[2] = ids[2], ids[1]
		}
		p.Stdout.Await("asleep")
		below := Descendants(t, p.PID)
		if len(below) != 2 || below[0] != ids[1] || below[1] != ids[2] {
			t.Errorf("descendants %v, want %v", below, ids[1:])
		}
		if later, err := descendants(Ident{p.PID, ids[2].Start + 1}); err != nil || len(later) != 0 {
			t.Errorf("descendants of a younger process: %v, %v", later, err)
		}
	})
	for _, id := range ids {
		if id.Alive() {
			t.Errorf("left: %v", id)
		}
	}
}

func TestAdoptEndsAnOrphan(t *testing.T) {
	var orphan Ident
	t.Run("adopt", func(t *testing.T) {
		p := Start(t, roleCommand("orphan sleep"))
		orphan = Identify(t, pidLine(t, p))
		Adopt(t, orphan)
		p.Wait()
		p.Stdout.Await("asleep")
		StillAlive(t, orphan)
	})
	if orphan.Alive() {
		t.Errorf("left: %v", orphan)
	}
}

// All other tests rely on the leak check: it must report a leak, and nothing else.
func TestMainReportsLeaks(t *testing.T) {
	if _, out, _ := Run(t, roleCommand("supervise exit 3")); out != "status: 3" {
		t.Errorf("clean: %q", out)
	}
	t.Setenv("TESTKIT_IMPATIENT", "1")
	p := Start(t, roleCommand("supervise orphan sleep"))
	leak := Ident{PID: pidLine(t, p)}
	p.Wait()
	text := p.Stdout.AwaitEnd()
	if !strings.Contains(text, "left 1 processes behind") || !strings.Contains(text, fmt.Sprint("\"process ", leak.PID, " (")) {
		t.Errorf("leak: %q", text)
	}
}

// No process is left either if the supervising process is killed, as by go test after its
// timeout.
func TestNothingOutlivesMain(t *testing.T) {
	p := Start(t, roleCommand("supervise parent sleep"))
	leaf := Identify(t, pidLine(t, p))
	p.Stdout.Await("asleep")
	below := Descendants(t, p.PID)
	if len(below) != 2 || below[1] != leaf {
		t.Errorf("descendants %v, want a parent and %v", below, leaf)
	}
	Adopt(t, below...)
	p.Kill()
	AwaitGone(t, below...)
}

var number = regexp.MustCompile(`^[0-9]+$`)

// pidLine reads the next line that is a number; "asleep" may come before.
func pidLine(t *testing.T, p *Proc) int {
	t.Helper()
	n, err := strconv.Atoi(p.Stdout.AwaitMatch(number)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
