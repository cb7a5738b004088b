//go:build linux

package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// family gives a worker children of each kind.
var family = []string{"--child", "subprocess", "--child", "multiprocessing", "--child", "daemon"}

// mixed asks for n workers, guard and run by turns. Of each four, two have
// children; of each eight, two ignore the polite signal.
func mixed(n int) []spec {
	var specs []spec
	for i := range n {
		s := spec{mode: []string{"guard", "run"}[i%2], id: fmt.Sprintf("w%02d", i)}
		if i%4 < 2 {
			s.flags = append(s.flags, family...)
		}
		if i%8 < 2 {
			s.flags = append(s.flags, "--deaf")
		}
		specs = append(specs, s)
	}
	return specs
}

func beam(t *testing.T) *exec.Cmd {
	t.Helper()
	testkit.Need(t, "elixir", "erl")
	return exec.Command("elixir", peer(t, "beam_parent.exs"))
}

// killed is the main job: a parent with workers is killed, and nothing of them
// is left. A bystander of the same run lives on.
func killed(t *testing.T, parent *exec.Cmd, specs []spec) {
	t.Helper()
	s := start(t, parent, specs)
	other := s.bystander()
	at := s.kill()
	s.awaitNothing(other)
	s.checkDeaths(at)
}

func TestBEAMKilled(t *testing.T) { killed(t, beam(t), mixed(20)) }

func TestNodeKilled(t *testing.T) {
	testkit.Need(t, "node")
	specs := append(mixed(4), spec{mode: "detached", id: "w04", flags: family})
	killed(t, exec.Command("node", peer(t, "node_parent.js")), specs)
}

func TestBashKilled(t *testing.T) {
	testkit.Need(t, "bash", "sed")
	killed(t, exec.Command("bash", peer(t, "bash_parent.sh")), mixed(4))
}

// The threads that started the watchdogs end while their process lives. That
// must change nothing, though the kernel sends each watchdog its death signal;
// nor must it, if a thread ends before the watchdog has asked for that signal.
func TestGoParentOfShortThreads(t *testing.T) {
	for _, when := range []string{"after", "before"} {
		t.Run(when+" the watchdogs watch", func(t *testing.T) {
			cmd := exec.Command(testkit.Build(t, "./testdata/peers/goparent"))
			var stdin io.Writer = io.Discard // for "before": it reads the end at once
			if when == "after" {
				stdin = input(t, cmd)
			}
			s := start(t, cmd, mixed(4))
			tell(t, stdin, "end")
			s.parent.Stdout.Await("THREADS_ENDED")
			s.staysUp()
			at := s.kill()
			s.awaitNothing()
			s.checkDeaths(at)
		})
	}
}

// staysUp sees that no worker or watchdog ends for a while, and calls each
// worker again.
func (s *scene) staysUp() {
	s.t.Helper()
	var ids []testkit.Ident
	for _, w := range s.workers {
		ids = append(ids, w.processes()...)
	}
	testkit.StayAlive(s.t, 500*time.Millisecond, ids...)
	for _, w := range s.workers {
		if got, err := echo(w.port, "still here"); err != nil || got != "still here" {
			s.t.Errorf("call of worker %s gives %q, %v", w.id, got, err)
		}
	}
}

// input gives a command a standard input to write to.
func input(t *testing.T, cmd *exec.Cmd) io.Writer {
	t.Helper()
	w, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// tell writes one line.
func tell(t *testing.T, w io.Writer, line string) {
	t.Helper()
	if _, err := io.WriteString(w, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// Without a watchdog workers outlive every one of these parents: the other
// tests would notice a watchdog that does nothing.
func TestWithoutWatchdogWorkersStay(t *testing.T) {
	for name, parent := range map[string]func(*testing.T) *exec.Cmd{
		"beam": beam,
		"node": func(t *testing.T) *exec.Cmd {
			testkit.Need(t, "node")
			return exec.Command("node", peer(t, "node_parent.js"))
		},
		"bash": func(t *testing.T) *exec.Cmd { return exec.Command("bash", peer(t, "bash_parent.sh")) },
		"go": func(t *testing.T) *exec.Cmd {
			return exec.Command(testkit.Build(t, "./testdata/peers/goparent"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, parent(t), []spec{
				{mode: "bare", id: "w00"}, {mode: "bare", id: "w01", flags: family},
			})
			s.kill()
			testkit.AwaitGone(t, s.parent.Ident, s.beam)
			s.staysUp()
		})
	}
}

// A node that stops in the normal way leaves its workers too. They hear the
// polite signal and have time to clean up.
func TestBEAMStops(t *testing.T) {
	cmd := beam(t)
	stdin := input(t, cmd)
	specs, files := tidy(t)
	s := start(t, cmd, specs)
	at := time.Now()
	tell(t, stdin, "stop")
	if got := s.parent.Wait(); got != 0 {
		t.Errorf("status %d of a node that stopped", got)
	}
	s.awaitNothing()
	s.checkDeaths(at)
	checkFiles(t, files)
}

// SIGTERM to the watchdogs: the workers end politely, the parent lives on and
// learns their status.
func TestWatchdogsTerminated(t *testing.T) {
	specs, files := tidy(t)
	s := start(t, beam(t), specs)
	for _, w := range s.workers {
		if err := w.pids["watchdog"].Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range s.workers {
		testkit.AwaitGone(t, w.processes()...)
		want := map[string]string{"guard": "0", "run": "7"}[w.mode]
		if got := s.watchdogStatus(w); got != want {
			t.Errorf("%s: status %s of the watchdog, want %s", w.mode, got, want)
		}
	}
	checkFiles(t, files)
	testkit.StillAlive(t, s.beam)
	for _, w := range s.workers {
		portIsFree(t, w.port)
	}
}

// watchdogStatus waits for the exit status of a watchdog. Under guard the
// worker's own comes by the same way; it is 7.
func (s *scene) watchdogStatus(w worker) string {
	s.t.Helper()
	if w.mode == "run" {
		return s.parent.Stdout.Await(w.id + " EXIT ")
	}
	s.parent.Stdout.Await(w.id + " EXIT 7")
	return s.parent.Stdout.Await(w.id + " EXIT ")
}

// tidy asks for workers that write a file on SIGTERM and end with status 7.
func tidy(t *testing.T) (specs []spec, files []string) {
	t.Helper()
	dir := t.TempDir()
	for i, s := range mixed(4) {
		file := filepath.Join(dir, s.id)
		files = append(files, file)
		s.flags = []string{"--on-term", file, "--status", "7"}
		if i < 2 {
			s.flags = append(s.flags, family...)
		}
		specs = append(specs, s)
	}
	return specs, files
}

func checkFiles(t *testing.T, files []string) {
	t.Helper()
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || string(text) != "SIGTERM\n" {
			t.Errorf("the worker left %q, %v; want one SIGTERM", text, err)
		}
	}
}

// A background job of a script ignores INT and QUIT, as POSIX wants. A worker
// that the watchdog starts must not inherit that.
func TestRunGivesACleanStart(t *testing.T) {
	testkit.Need(t, "bash")
	python := testkit.NeedPython(t)
	code := "import signal; print('INT', signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
	for _, c := range []struct{ prefix, want string }{{"", "True"}, {`"$2" run -- `, "False"}} {
		script := c.prefix + `"$0" -c "$1" & wait`
		cmd := exec.Command("bash", "-c", script, python, code)
		if c.prefix != "" {
			cmd.Args = append(cmd.Args, testkit.Watchdog(t))
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if got := testkit.Start(t, cmd).Stdout.Await("INT "); got != c.want {
			t.Errorf("%s: ignores INT: %s, want %s", script, got, c.want)
		}
	}
}
