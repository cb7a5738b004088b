//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// clinging is a worker's tree that does all it can to stay: a child in its group, one
// that ignores SIGTERM, and a daemon in a session of its own with nothing in its
// environment, which has a child itself.
const clinging = `
sleep 1000000 &
sh -c 'trap "" TERM HUP INT; sleep 1000000 & wait' &
(setsid env -i sh -c 'sleep 1000000 & echo daemon $$; exec sleep 1000000' &)
echo worker $$
exec sleep 1000000
`

// sentinelled is a watchdog with a sentinel and such a worker.
type sentinelled struct {
	*testkit.Proc
	sentinel, worker testkit.Ident
	tree             []testkit.Ident // the worker among them
}

func startSentinelled(t *testing.T, cmd *exec.Cmd) sentinelled {
	t.Helper()
	w := testkit.Start(t, cmd)
	s := sentinelled{Proc: w}
	for _, word := range []string{"daemon", "worker"} {
		id := identOf(t, w.Stdout, word)
		if word == "worker" {
			s.worker = id
		}
	}
	s.sentinel = sentinelOf(t, w.PID)
	for len(s.tree) < 6 { // sleep, sh, its sleep, daemon, its sleep, worker
		s.tree = testkit.Descendants(t, s.sentinel.PID)
	}
	testkit.Adopt(t, s.tree...)
	return s
}

// sentinelOf is the one process below a watchdog.
func sentinelOf(t *testing.T, watchdog int) testkit.Ident {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", watchdog, watchdog))
	all, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", watchdog))
	for _, task := range all {
		if len(strings.Fields(string(b))) > 0 {
			break
		}
		b, err = os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", watchdog, task.Name()))
	}
	f := strings.Fields(string(b))
	if err != nil || len(f) != 1 {
		t.Fatalf("the watchdog %d has the children %q (%v), want a sentinel", watchdog, f, err)
	}
	pid, _ := strconv.Atoi(f[0])
	id := testkit.Identify(t, pid)
	testkit.Adopt(t, id)
	return id
}

// users runs a test as root, for which there is a cgroup where the system has v2, and as
// a user, for which there is none.
func users(t *testing.T, test func(t *testing.T, cmd func(args ...string) *exec.Cmd)) {
	t.Run("as we are", func(t *testing.T) {
		test(t, func(args ...string) *exec.Cmd { return watchdog(t, args...) })
	})
	t.Run("as nobody", func(t *testing.T) {
		testkit.NeedRoot(t)
		dir, err := os.MkdirTemp("", "leash") // unlike the tests' own, it is open to all
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		b, err := os.ReadFile(testkit.Watchdog(t))
		if err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(dir+"/watchdog", b, 0o755), os.Mkdir(dir+"/state", 0o700),
			os.Chown(dir+"/state", 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		test(t, func(args ...string) *exec.Cmd {
			cmd := exec.Command(dir+"/watchdog", args...)
			cmd.Env = append(os.Environ(), "LEASH_LOG_FORMAT=json", "LEASH_STATE_DIR="+dir+"/state")
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			return cmd
		})
	})
}

// Whichever one process is killed, nothing of the tree is left.
func TestNoSingleKillLeavesAnything(t *testing.T) {
	for name, kill := range map[string]struct {
		how    func(s sentinelled) error
		status int // 0: the watchdog itself is killed
		event  string
	}{
		"watchdog":             {how: func(s sentinelled) error { return unix.Kill(s.PID, unix.SIGKILL) }},
		"watchdog's group":     {how: func(s sentinelled) error { return unix.Kill(-s.PID, unix.SIGKILL) }},
		"watchdog and worker":  {how: func(s sentinelled) error { unix.Kill(s.PID, unix.SIGKILL); return s.worker.Signal(unix.SIGKILL) }},
		"sentinel":             {how: func(s sentinelled) error { return s.sentinel.Signal(unix.SIGKILL) }, status: 125, event: "watchdog.sentinel_died"},
		"worker":               {how: func(s sentinelled) error { return s.worker.Signal(unix.SIGKILL) }, status: 128 + 9},
		"watchdog, by a stop":  {how: func(s sentinelled) error { s.Signal(unix.SIGSTOP); return unix.Kill(s.PID, unix.SIGKILL) }},
		"stopped and sentinel": {how: func(s sentinelled) error { s.worker.Signal(unix.SIGSTOP); return s.sentinel.Signal(unix.SIGKILL) }, status: 125},
	} {
		t.Run(name, func(t *testing.T) {
			users(t, func(t *testing.T, cmd func(...string) *exec.Cmd) {
				s := startSentinelled(t, cmd("run", "--grace", "100ms", "--log-level", "info", "--", "sh", "-c", clinging))
				beside := testkit.Start(t, exec.Command("sleep", "1000000"))
				if err := kill.how(s); err != nil {
					t.Fatal(err)
				}
				status := s.Wait()
				if kill.status != 0 && status != kill.status {
					t.Errorf("status %d, want %d:\n%s", status, kill.status, s.Stderr.All())
				}
				if kill.event != "" && !s.Stderr.Happens(kill.event) {
					t.Errorf("no %s in\n%s", kill.event, s.Stderr.All())
				}
				testkit.AwaitGone(t, append(s.tree, s.sentinel)...)
				testkit.StillAlive(t, beside.Ident)
			})
		})
	}
}

// A worker that has ended before anything else was done is a worker all the same.
func TestShortWorkers(t *testing.T) {
	withAndWithoutSentinel(t, func(t *testing.T, run ...string) {
		const beside = 4
		for first := range beside {
			t.Run("from "+itoa(first), func(t *testing.T) {
				t.Parallel()
				for n := first; n < 100; n += beside {
					args := slices.Concat(run, []string{"--", "sh", "-c", "exit " + itoa(n)})
					if status, _, said := testkit.Run(t, watchdog(t, args...)); status != n {
						t.Fatalf("expected status %d of the worker, but run ended with %d: %s", n, status, said)
					}
				}
			})
		}
	})
}

// A sentinel says what it is, names nothing of the worker's, holds none of its
// descriptors, and is in a session of its own.
func TestSentinelKeepsToItself(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := watchdog(t, "run", "--", "sh", "-c", clinging)
	cmd.ExtraFiles = []*os.File{w}
	s := startSentinelled(t, cmd)
	w.Close()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.sentinel.PID))
	words := strings.Split(string(line), "\x00")
	if err != nil || len(words) < 2 || words[1] != "sentinel" || strings.Contains(string(line), "sleep") {
		t.Errorf("its command line is %q, %v", words, err)
	}
	if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.sentinel.PID)); string(name) != "leash-sentinel\n" {
		t.Errorf("its name is %q", name)
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.sentinel.PID)); err != nil || strings.Contains(string(env), "LEASH") || strings.Contains(string(env), "PATH") {
		t.Errorf("its environment is %q, %v", env, err)
	}
	if sid, err := unix.Getsid(s.sentinel.PID); err != nil || sid != s.sentinel.PID {
		t.Errorf("its session is %d, %v", sid, err)
	}
	for _, pid := range []int{s.sentinel.PID, s.PID} { // the first three lead nowhere, or where the watchdog's log goes
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			to, _ := os.Readlink(dir + "/" + fd.Name())
			n, _ := strconv.Atoi(fd.Name())
			log, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", s.PID))
			if pid == s.PID && (n <= 2 || to == log) || !strings.HasPrefix(to, "pipe:") {
				continue
			}
			t.Errorf("%d has descriptor %d: %s", pid, n, to)
		}
	}
	s.Signal(unix.SIGTERM)
	s.Wait()
	testkit.AwaitGone(t, append(s.tree, s.sentinel)...)
}

// A sentinel that is stopped delays nothing by more than the second after which it is
// continued.
func TestStoppedSentinel(t *testing.T) {
	s := startSentinelled(t, watchdog(t, "run", "--grace", "100ms", "--", "sh", "-c", clinging))
	if err := s.sentinel.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.Signal(unix.SIGTERM)
	if status := s.Wait(); status != 128+15 {
		t.Errorf("status %d:\n%s", status, s.Stderr.All())
	}
	testkit.AwaitGone(t, append(s.tree, s.sentinel)...)
}

// The watchdog's end continues a sentinel that was stopped before.
func TestStoppedSentinelOfAKilledWatchdog(t *testing.T) {
	s := startSentinelled(t, watchdog(t, "run", "--", "sh", "-c", clinging))
	if err := s.sentinel.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitState(t, s.sentinel.PID, "T")
	s.Kill()
	testkit.AwaitGone(t, append(s.tree, s.sentinel)...)
}

func TestSentinelOff(t *testing.T) {
	s := testkit.Start(t, watchdog(t, "run", "--sentinel", "off", "--log-level", "info", "--", "sh", "-c", "echo worker $$; exec sleep 1000000"))
	worker := identOf(t, s.Stdout, "worker")
	if started := s.Stderr.AwaitEvent("watchdog.started"); strings.Contains(started.Str("containment"), "sentinel") {
		t.Errorf("containment %q", started.Str("containment"))
	}
	if below := testkit.Descendants(t, s.PID); !slices.Equal(below, []testkit.Ident{worker}) {
		t.Errorf("below the watchdog are %v, want the worker %v", below, worker)
	}
	s.Kill()
	testkit.AwaitGone(t, worker)
}

// After an end of the sentinel between two workers the next one has one too.
func TestSentinelOfTheNextWorker(t *testing.T) {
	w := testkit.Start(t, watchdog(t, "run", "--restart", "always", "--log-level", "info", "--", "sh", "-c", "echo worker $$; exec sleep 1000000"))
	first := identOf(t, w.Stdout, "worker")
	sentinel := sentinelOf(t, w.PID)
	if err := first.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.Stderr.AwaitEvent("process.restarting")
	if err := sentinel.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := identOf(t, w.Stdout, "worker")
	next := sentinelOf(t, w.PID)
	if next == sentinel {
		t.Errorf("the sentinel is still %v", next)
	}
	w.Kill()
	testkit.AwaitGone(t, first, second, sentinel, next)
}

// A watchdog that has children of its own already, by a shell that became it.
func TestSentinelBesideOtherChildren(t *testing.T) {
	cmd := exec.Command("sh", "-c", `sleep 1000000 & echo beside $!; exec "$0" run --grace 100ms -- sh -c "$1"`, testkit.Watchdog(t), clinging)
	cmd.Env = append(os.Environ(), "LEASH_STATE_DIR="+stateDir(t))
	w := testkit.Start(t, cmd)
	beside := identOf(t, w.Stdout, "beside")
	identOf(t, w.Stdout, "daemon")
	worker := identOf(t, w.Stdout, "worker")
	var tree []testkit.Ident
	for len(tree) < 8 { // beside, sentinel, and six of the tree
		tree = testkit.Descendants(t, w.PID)
	}
	tree = slices.DeleteFunc(tree, func(id testkit.Ident) bool { return id == beside })
	testkit.Adopt(t, tree...)
	if !slices.Contains(tree, worker) {
		t.Fatalf("%v is not among %v", worker, tree)
	}
	w.Kill()
	testkit.AwaitGone(t, tree...)
	testkit.StillAlive(t, beside)
}

// Where none can be started, the worker is started all the same, and it is said.
func TestWithoutASentinel(t *testing.T) {
	testkit.Need(t, "strace")
	// Nothing else of the watchdog's needs a socket pair.
	cmd := traced(watchdog(t, "run", "--log-level", "warn", "--", "sh", "-c", "exit 7"),
		"-o", "/dev/null", "-e", "trace=socketpair", "-e", "inject=socketpair:error=EMFILE")
	status, _, said := testkit.Run(t, cmd)
	if status != 7 || !strings.Contains(said, "no sentinel could be started") {
		t.Errorf("status %d: %s", status, said)
	}
}

// The worker's end is noticed while the sentinel is stopped, which alone knows how it ended.
func TestWorkerEndsWhileTheSentinelIsStopped(t *testing.T) {
	cmd := watchdog(t, "run", "--", "sh", "-c", `echo worker $$; read -r _; exit 7`)
	in := input(t, cmd)
	w := testkit.Start(t, cmd)
	worker := identOf(t, w.Stdout, "worker")
	sentinel := sentinelOf(t, w.PID)
	if err := sentinel.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitState(t, sentinel.PID, "T")
	tell(t, in, "end")
	if status := w.Wait(); status != 7 {
		t.Errorf("status %d:\n%s", status, w.Stderr.All())
	}
	testkit.AwaitGone(t, worker, sentinel)
}
