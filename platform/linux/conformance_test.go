//go:build linux

package linux

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/stop"
	"leash/internal/system"
	"leash/internal/testkit"
	"leash/platform/platformtest"
)

// realSystem is Linux, with shells that fork when told to.
type realSystem struct{ k *Kernel }

type realProcess struct {
	cmd    *exec.Cmd
	in     io.Writer
	out    *bufio.Reader
	reaped bool
}

func TestKernelConforms(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		platformtest.Conform(t, func(*testing.T) platformtest.Fixture { return realSystem{k} }, testkit.NotAsRoot("Denied")...)
	})
}

// Root may signal every process, so that part runs as another user.
func TestConformsToUsers(t *testing.T) {
	testkit.AsNobody(t, "TestKernelConforms", "pidfd/Denied", "directory/Denied")
}

func (s realSystem) Kernel() stop.Kernel { return s.k }

func (s realSystem) Start(t *testing.T, how platformtest.How) platformtest.Process {
	t.Helper()
	return s.shell(t, how, platformtest.Labels{})
}

func (s realSystem) shell(t *testing.T, how platformtest.How, l platformtest.Labels) platformtest.Process {
	t.Helper()
	args, env := l.Words()
	cmd := exec.Command("sh", append([]string{"-c", "echo ready; while read line; do sleep 1000000 <&- >&- & echo $!; done", "sh"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: how == platformtest.OwnGroup, Setsid: how == platformtest.OwnSession}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &realProcess{cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		if !p.reaped {
			p.End(t)
			p.Reap(t)
		}
	})
	if line := p.line(t); line != "ready" {
		t.Fatalf("%q", line)
	}
	return p
}

// Reuse has the kernel assign this PID next (needs CAP_CHECKPOINT_RESTORE).
func (s realSystem) Reuse(t *testing.T, pid int) (platformtest.Process, bool) {
	for range 20 {
		if os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0) != nil {
			return nil, false
		}
		if p := s.Start(t, platformtest.OwnGroup); p.PID() == pid {
			return p, true
		}
	}
	return nil, false // another process got the PID each time
}

func (s realSystem) Foreign(*testing.T) (int, bool) { return 1, os.Geteuid() != 0 && os.Getpid() != 1 }

func (s realSystem) Backends() []string {
	if !s.k.PIDFDs {
		return []string{"poll"}
	}
	return []string{"event", "poll"}
}

func (s realSystem) System(t *testing.T, backend string) system.System {
	t.Helper()
	return systemOf(t, s.k, backend)
}

func (s realSystem) Await(t *testing.T, what string, is func() bool) {
	t.Helper()
	await(t, what, is)
}

func (p *realProcess) line(t *testing.T) string {
	t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func (p *realProcess) PID() int { return p.cmd.Process.Pid }

func (p *realProcess) Fork(t *testing.T) int {
	t.Helper()
	fmt.Fprintln(p.in)
	pid, err := strconv.Atoi(p.line(t))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		unix.Close(fd)
	})
	// The shell has forked; until execve(2) the child is a shell too.
	await(t, "the child that the shell started", func() bool {
		exe, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
		shell, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.PID()), "exe"))
		return exe != "" && exe != shell
	})
	return pid
}

// End returns when the process is a zombie.
func (p *realProcess) End(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for {
		err := unix.Waitid(unix.P_PID, p.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			return
		}
		if err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

func (p *realProcess) Reap(*testing.T) {
	p.reaped = true
	p.cmd.Wait()
}
