//go:build linux

package linux

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// kernels runs a test with pidfds, and with the open directories that replace them where
// pidfds are refused.
func kernels(t *testing.T, test func(*testing.T, *Kernel)) {
	t.Run("pidfd", func(t *testing.T) {
		k := newTestKernel(t)
		if !k.PIDFDs {
			t.Fatal("this system refuses pidfds")
		}
		test(t, k)
	})
	t.Run("directory", func(t *testing.T) { test(t, withoutPIDFDs(newTestKernel(t))) })
}

func newTestKernel(t *testing.T) *Kernel {
	t.Helper()
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// withoutPIDFDs is a Kernel as NewKernel returns it where pidfds are refused.
func withoutPIDFDs(k *Kernel) *Kernel {
	k.PIDFDs, k.pidfs, k.groupFlag = false, false, false
	return k
}

func open(t *testing.T, k *Kernel, pid int) *handle {
	t.Helper()
	h, err := k.open(pid)
	if err != nil {
		t.Fatalf("open %d: %v", pid, err)
	}
	t.Cleanup(h.Close)
	return h
}

// sleeper is a process that runs until the test ends.
func sleeper(t *testing.T, env ...string) *testkit.Proc {
	t.Helper()
	return start(t, exec.Command("sleep", "1000000"), env...)
}

func shell(t *testing.T, script string, env ...string) *testkit.Proc {
	t.Helper()
	return start(t, exec.Command("/bin/sh", "-c", script), env...)
}

// stayVar makes the test binary wait until it is ended.
const stayVar = "LEASH_TEST_STAY"

func init() {
	if os.Getenv(stayVar) != "" {
		unix.Poll(nil, -1)
	}
}

// programNamed is a copy of the test binary, which has the mark of our programs.
func programNamed(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	path := filepath.Join(t.TempDir(), name)
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	t.Setenv(stayVar, "yes") // start inherits the environment of this process
	return cmd
}

func start(t *testing.T, cmd *exec.Cmd, env ...string) *testkit.Proc {
	t.Helper()
	cmd.Env = append(os.Environ(), env...)
	p := testkit.Start(t, cmd)
	executed(t, p)
	return p
}

// executed waits until the process runs the program that was started, with arguments and
// environment. exec.Cmd.Start may return a moment before: on one processor, Linux 6.1 then
// still shows our own executable, or neither arguments nor environment.
func executed(t *testing.T, p *testkit.Proc) {
	t.Helper()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := fmt.Sprintf("/proc/%d/", p.PID)
	await(t, "another program", func() bool {
		exe, err := os.Readlink(dir + "exe")
		return err != nil || exe != self || !p.Alive()
	})
	for _, name := range []string{"cmdline", "environ"} {
		await(t, name, func() bool {
			b, err := os.ReadFile(dir + name)
			return err != nil || len(b) > 0 || !p.Alive()
		})
	}
}

// printedPID reads the next line as a PID and identifies that process, which is ended with the
// test.
func printedPID(t *testing.T, p *testkit.Proc) testkit.Ident {
	t.Helper()
	line := p.Stdout.Await("")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	id := testkit.Identify(t, pid)
	testkit.Adopt(t, id)
	return id
}

// zombie is a child that has ended and is not reaped.
func zombie(t *testing.T) testkit.Ident {
	t.Helper()
	// Not a shell, which might reap it.
	p := start(t, exec.Command(testkit.NeedPython(t), "-c", `
import signal, subprocess
child = subprocess.Popen(["sleep", "1000000"])
print(child.pid, flush=True)
signal.pause()
`))
	id := printedPID(t, p)
	if err := id.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testkit.AwaitGone(t, id)
	return id
}

// pauses prints a line and waits, without a child of its own.
const pauses = `
import signal
print("ready", flush=True)
signal.pause()
`
