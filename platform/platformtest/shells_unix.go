//go:build unix

package platformtest

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"leash/internal/proc"
	"leash/internal/stop"
)

// Shells are the processes of a Fixture and of a TableSystem on Unix: shells that fork when told
// to.
type Shells struct {
	K stop.Kernel
	// Name is that of the program that a process runs.
	Name func(pid int) string
}

// Kernel is that of the fixture.
func (s Shells) Kernel() stop.Kernel { return s.K }

// Start starts a shell without labels.
func (s Shells) Start(t *testing.T, how How) Process {
	t.Helper()
	return s.shell(t, how, Labels{})
}

// Labelled starts a shell in our group.
func (s Shells) Labelled(t *testing.T, l Labels) Process {
	t.Helper()
	return s.shell(t, InOurGroup, l)
}

func (s Shells) shell(t *testing.T, how How, l Labels) Process {
	t.Helper()
	args, env := l.Words()
	cmd := exec.Command("sh", append([]string{"-c", "echo ready; while read line; do sleep 1000000 <&- >&- & echo $!; done", "sh"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: how == OwnGroup, Setsid: how == OwnSession}
	return shell{StartActor(t, cmd), s}
}

// Reuse has the kernel assign this PID next: Linux does, with CAP_CHECKPOINT_RESTORE.
func (s Shells) Reuse(t *testing.T, pid int) (Process, bool) {
	for range 20 {
		if os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0) != nil {
			return nil, false
		}
		if p := s.Start(t, OwnGroup); p.PID() == pid {
			return p, true
		}
	}
	return nil, false // another process got the PID each time
}

// Foreign is PID 1, unless root asks, which may signal it.
func (Shells) Foreign(*testing.T) (int, bool) { return 1, os.Geteuid() != 0 && os.Getpid() != 1 }

// Self is the parent of the shells.
func (Shells) Self() int { return os.Getpid() }

// Await implements Fixture.
func (Shells) Await(t *testing.T, what string, is func() bool) {
	t.Helper()
	Await(t, what, is)
}

type shell struct {
	*Actor
	s Shells
}

// Fork returns when the child runs sleep(1): until execve(2) it is a shell too.
func (p shell) Fork(t *testing.T) int {
	t.Helper()
	pid := p.Actor.Fork(t, "")
	h, err := p.s.K.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Signal(proc.KILL)
		h.Close()
	})
	Await(t, "the child that the shell started", func() bool { return p.s.Name(pid) == "sleep" })
	return pid
}

func (p shell) End(t *testing.T) {
	t.Helper()
	p.Actor.End(t, p.s.K)
}
