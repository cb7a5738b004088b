//go:build linux

package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if arg := os.Getenv("TESTKIT_SUPERVISE"); arg != "" {
		superviseShell(arg)
	}
	Main(m)
}

// superviseShell does what Main does, with a shell instead of tests.
func superviseShell(script string) {
	os.Unsetenv("TESTKIT_SUPERVISE")
	patience := leakPatience
	if os.Getenv("TESTKIT_IMPATIENT") != "" {
		patience = 100 * time.Millisecond
	}
	status, err := supervise(patience, "/bin/sh", "-c", script)
	if err != nil {
		fmt.Println("leak:", err)
	}
	fmt.Println("status:", status)
	os.Exit(0)
}

// sleeper is a process that stays until it is killed.
func sleeper() *exec.Cmd { return exec.Command("sleep", "1000000") }

func TestStatusOfAProcess(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 7": 7, "kill -TERM $$": 128 + 15, "kill -KILL $$": 128 + 9,
	} {
		if got := Start(t, exec.Command("sh", "-c", script)).Wait(); got != want {
			t.Errorf("%s: status %d, want %d", script, got, want)
		}
	}
}

func TestLinesInAnyOrder(t *testing.T) {
	p := Start(t, exec.Command("sh", "-c", `echo a:1; echo b:2; echo a:3; echo '{"event":"x.y","n":5}'; echo err >&2`))
	if ev := p.Stdout.AwaitEvent("x.y"); ev.Int("n") != 5 || ev.Int("m") != -1 || ev.Str("n") != "" {
		t.Errorf("event %v", ev)
	}
	if got := p.Stdout.AwaitMatch(regexp.MustCompile(`^(a):(1)$`)); got[2] != "1" {
		t.Errorf("groups %q", got)
	}
	for _, want := range []struct{ prefix, rest string }{{"b:", "2"}, {"a:", "3"}} {
		if got := p.Stdout.Await(want.prefix); got != want.rest {
			t.Errorf("%s gives %q, want %q", want.prefix, got, want.rest)
		}
	}
	if got := p.Stderr.AwaitEnd(); got != "err" {
		t.Errorf("stderr %q", got)
	}
	if got := len(p.Stdout.Events()); got != 1 {
		t.Errorf("%d events", got)
	}
}

// fakeT records a failure instead of failing.
type fakeT struct {
	testing.TB
	failed chan string
}

func (f *fakeT) Helper() {}

func (f *fakeT) Fatalf(format string, args ...any) {
	f.failed <- fmt.Sprintf(format, args...)
	panic(f)
}

// failure runs fn, which has to fail, and returns its message.
func failure(t *testing.T, fn func(testing.TB)) string {
	t.Helper()
	f := &fakeT{TB: t, failed: make(chan string, 1)}
	func() {
		defer func() {
			if r := recover(); r != nil && r != f {
				panic(r)
			}
		}()
		fn(f)
	}()
	select {
	case msg := <-f.failed:
		return msg
	default:
		t.Fatal("it should have failed")
		return ""
	}
}

func TestMissingLineFails(t *testing.T) {
	msg := failure(t, func(tb testing.TB) {
		Collect(tb, strings.NewReader("one\ntwo")).Await("three")
	})
	if !strings.Contains(msg, "one\ntwo") {
		t.Errorf("message lacks what was printed: %s", msg)
	}
}

func TestAliveAndGone(t *testing.T) {
	p := Start(t, sleeper())
	later := Ident{p.PID, p.Start + 1}
	if !p.Alive() || later.Alive() {
		t.Error("a live process counts as dead, or one with its PID and another start time as alive")
	}
	if err := later.Signal(unix.SIGKILL); err != unix.ESRCH {
		t.Errorf("signal to a PID with another start time: %v", err)
	}
	if err := (Ident{thread(t), 1}).Kill(); err != nil {
		t.Errorf("kill a process whose PID is that of a thread now: %v", err)
	}
	AwaitGone(t, later)
	StayAlive(t, 10*time.Millisecond, p.Ident)

	p.Kill()
	AwaitGone(t, p.Ident)
	if got := p.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	msg := failure(t, func(tb testing.TB) { StillAlive(tb, p.Ident) })
	if !strings.Contains(msg, strconv.Itoa(p.PID)) {
		t.Errorf("message %q", msg)
	}
}

// thread is the ID of a thread of this process, not the first.
func thread(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if tid := atoi(t, task.Name()); tid != os.Getpid() {
			return tid
		}
	}
	t.Fatal("a Go program has more than one thread")
	return 0
}

func TestZombieIsDead(t *testing.T) {
	// Not a shell: that might reap it.
	parent := Start(t, exec.Command(NeedPython(t), "-c", `
import signal, subprocess
print(subprocess.Popen(["sleep", "1000000"]).pid, flush=True)
signal.pause()
`))
	child := Identify(t, atoi(t, parent.Stdout.Await("")))
	if err := child.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	AwaitGone(t, child)
	if st, err := readStat(child.PID); err != nil || st.state != 'Z' || child.Alive() {
		t.Errorf("state %c, error %v, alive %t", st.state, err, child.Alive())
	}
}

// A process whose first thread has ended shows as a zombie, but lives.
func TestThreadsOutliveTheFirst(t *testing.T) {
	p := Headless(t, 1)
	if st, err := readStat(p.PID); err != nil || st.state != 'Z' {
		t.Fatalf("state %c, error %v", st.state, err)
	}
	StillAlive(t, p.Ident)
	p.Kill()
	AwaitGone(t, p.Ident)
}

func TestStatOfAStrangeName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a) Z 1 (b")
	if err := os.Symlink("/bin/sleep", path); err != nil {
		t.Fatal(err)
	}
	p := Start(t, exec.Command(path, "1000000"))
	StillAlive(t, p.Ident)
	if _, err := parseStat("1 (short) S 1"); err == nil {
		t.Error("a short line is no stat")
	}
}

func TestCleanupEndsTheTree(t *testing.T) {
	var ids []Ident
	t.Run("start", func(t *testing.T) {
		p := Start(t, exec.Command("sh", "-c", "sh -c 'sleep 1000000 & echo $!; wait' & setsid sleep 1000001 & echo $!; wait"))
		for range 2 {
			ids = append(ids, Identify(t, atoi(t, p.Stdout.Await(""))))
		}
		below := Descendants(t, p.PID)
		ids = append(ids, below...)
		if len(below) != 3 {
			t.Errorf("descendants: %v", below)
		}
		if later, err := descendants(Ident{p.PID, p.Start + 1}); err != nil || len(later) != 0 {
			t.Errorf("expected no descendants of an ended process with a reused PID, but found %v, %v", later, err)
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
		p := Start(t, exec.Command("sh", "-c", "sleep 1000000 & echo $!"))
		orphan = Identify(t, atoi(t, p.Stdout.Await("")))
		Adopt(t, orphan)
		p.Wait()
		StillAlive(t, orphan)
		AwaitGone(t, Ident{orphan.PID, orphan.Start + 1})
	})
	if orphan.Alive() {
		t.Errorf("left: %v", orphan)
	}
}

// All other tests rely on the leak check: it must report a leak, and nothing else.
func TestMainReportsLeaks(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"clean", "exit 3", "status: 3"},
		{"killed", "kill -KILL $$", "status: 137"},
		{"ends soon after", "(exec 3<&1; read x) <&0 & exit 0", "status: 0"},
	} {
		out := superviseIn(t, c.script)
		if out != c.want {
			t.Errorf("%s: %q, want %q", c.name, out, c.want)
		}
	}
	t.Setenv("TESTKIT_IMPATIENT", "1")
	out := superviseIn(t, "setsid sleep 1000000 & exit 0")
	if !strings.Contains(out, "left 1 processes behind") || !strings.Contains(out, "sleep 1000000") {
		t.Errorf("leak: %q", out)
	}
}

func superviseIn(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TESTKIT_SUPERVISE="+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_, out, _ := Run(t, cmd)
	return out
}

func TestBuildNeedsAPackage(t *testing.T) {
	msg := failure(t, func(tb testing.TB) { Build(tb, "./no/such/package") })
	if !strings.Contains(msg, "no/such/package") {
		t.Errorf("message %q", msg)
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
