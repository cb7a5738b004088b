//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

func TestJobControl(t *testing.T) {
	w := testkit.Start(t, watchdog(t, "run", "--grace", "1m", "--", "sh", "-c", "echo pid $$; exec sleep 1000000"))
	id := identOf(t, w.Stdout, "pid")
	w.Stderr.AwaitEvent("watchdog.started") // the worker may speak before we hear signals again
	w.Signal(unix.SIGTSTP)
	// As the shell would, wait for our child to stop; the worker went before.
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, w.PID, &info, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	awaitState(t, id.PID, "T") // it was sent the signal before; to stop takes it a moment
	w.Signal(unix.SIGCONT)
	w.Stderr.AwaitMatch(match(`"signal":"SIGCONT"`))
	awaitCondition(t, "worker that runs on", func() bool { return state(t, id.PID) != "T" })
	w.Signal(syscall.SIGTERM)
	if status := w.Wait(); status != 143 {
		t.Errorf("status %d", status)
	}
}

// A watchdog in the background, and the command of a hang, write to the
// terminal, where others would be stopped for it.
func TestBackgroundOfATerminal(t *testing.T) {
	w := testkit.Start(t, exec.Command(testkit.NeedPython(t), "-c", `
import fcntl, os, signal, subprocess, sys, termios
if os.fork():  # the leader of a group cannot lead a session
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
master, slave = os.openpty()
os.setsid()
fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
mode = termios.tcgetattr(slave)
mode[3] |= termios.TOSTOP
termios.tcsetattr(slave, termios.TCSANOW, mode)
dog = subprocess.Popen([sys.argv[1], "run", "--heartbeat", "notify", "--startup-timeout", "1s",
    "--on-hang-command", "echo words >&2", "--log-level", "info", "--", "sleep", "1000000"],
    stdin=slave, stdout=slave, stderr=slave, preexec_fn=os.setpgrp)
lines = os.fdopen(master, "r", newline="\n")
def until(what):
    for line in lines:
        print(line.strip(), flush=True)
        if what in line:
            return
until("watchdog.started")
until("words")
until("watchdog.stopped")
print("status", dog.wait())
`, testkit.Watchdog(t)))
	w.Stdout.Await("status 124")
	w.Wait()
}

func TestStoppedWatchdogWakesWhenItsParentDies(t *testing.T) {
	// The shell is the parent; it starts the watchdog and prints the PIDs.
	parent := testkit.Start(t, exec.Command("sh", "-c",
		testkit.Watchdog(t)+` run --log-level error -- sh -c 'echo pid $$; exec sleep 1000000' & echo dog $!; wait`))
	id, dog := identOf(t, parent.Stdout, "pid"), identOf(t, parent.Stdout, "dog")
	dog.Signal(unix.SIGSTOP)
	awaitState(t, dog.PID, "T")
	parent.Kill()
	testkit.AwaitGone(t, id, dog)
}

// A watchdog that is continued before it has stopped runs on, as any program does.
func TestContinuedAtOnce(t *testing.T) {
	w := testkit.Start(t, watchdog(t, "run", "--", testkit.NeedPython(t), "-c", echoSignals))
	w.Stdout.Await("ready")
	w.Stderr.AwaitEvent("watchdog.started")
	for range 50 {
		w.Signal(unix.SIGTSTP)
		w.Signal(unix.SIGCONT)
		w.Signal(unix.SIGUSR1)
		w.Stdout.Await("got 10")
	}
}

// A stop that comes with the parent's death keeps no watchdog from noticing it.
func TestParentDiesWhileTheJobStops(t *testing.T) {
	for range 20 {
		parent := testkit.Start(t, exec.Command("sh", "-c",
			testkit.Watchdog(t)+` run --log-level error -- sh -c 'echo pid $$; exec sleep 1000000' & echo dog $!; wait`))
		id, dog := identOf(t, parent.Stdout, "pid"), identOf(t, parent.Stdout, "dog")
		dog.Signal(unix.SIGTSTP)
		parent.Kill()
		testkit.AwaitGone(t, id, dog)
	}
}

// filtered is a Python program that executes its arguments behind a filter of
// system calls (seccomp(2)): these instructions, then all is allowed.
func filtered(instructions string) string {
	return `
import ctypes, os, struct, sys
def ins(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
prog = ins(0x20,0,0,0) + ` + instructions + ` + ins(0x06,0,0,0x7fff0000)
buf = ctypes.create_string_buffer(prog)
class Fprog(ctypes.Structure): _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
if libc.prctl(22, 2, ctypes.byref(Fprog(len(prog)//8, ctypes.addressof(buf)))): sys.exit(str(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
`
}

// A filter that traps a system call (here wait4) reports it by SIGSYS. To go on
// as if the call had succeeded would be to hang.
func TestTrappedSystemCallIsFatal(t *testing.T) {
	filter := filtered(fmt.Sprintf("ins(0x15,0,1,%d) + ins(0x06,0,0,0x00030000)", unix.SYS_WAIT4))
	w := testkit.Start(t, exec.Command(testkit.NeedPython(t), "-c", filter, testkit.Watchdog(t), "run", "--", "sleep", "0"))
	if status := w.Wait(); status != 2 { // as Go's runtime ends a program
		t.Errorf("status %d, want 2", status)
	}
}

// What the watchdog writes may not be had, and is not the worker's fault.
func TestLimitOfFilesIsTheWatchdogs(t *testing.T) {
	cmd := exec.Command("sh", "-c", `ulimit -f 0; exec "$0" run -- sh -c 'exit 7'`, testkit.Watchdog(t))
	cmd.Env = append(cmd.Environ(), "LEASH_STATE_DIR="+stateDir(t))
	if status, _, stderr := testkit.Run(t, cmd); status != 7 {
		t.Errorf("status %d: %s", status, stderr)
	}
}
