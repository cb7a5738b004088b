//go:build linux || darwin

package darwin

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"leash/internal/proc"
	"leash/internal/stop"
	"leash/internal/system"
	"leash/platform/platformtest"
)

// realSystem has shells that fork when told to.
type realSystem struct{ k *Kernel }

type realProcess struct {
	k      *Kernel
	cmd    *exec.Cmd
	in     io.Writer
	out    *bufio.Reader
	reaped bool
}

func TestKernelConforms(t *testing.T) {
	platformtest.Conform(t, func(t *testing.T) platformtest.Fixture {
		return realSystem{testKernel(t)}
	}, notAsRoot("Denied")...)
}

// notAsRoot: root's signals are never refused.
func notAsRoot(part string) []string {
	if os.Geteuid() == 0 {
		return []string{part}
	}
	return nil
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
	p := &realProcess{k: s.k, cmd: cmd, in: in, out: bufio.NewReader(out)}
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

// Reuse has the kernel give out the number next, and in a later tick: the start
// times of macOS, in microseconds, are never the same.
func (s realSystem) Reuse(t *testing.T, pid int) (platformtest.Process, bool) {
	before := s.k.Tick()
	s.Await(t, "the next tick", func() bool { return s.k.Tick() > before })
	for range 20 {
		if os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0) != nil {
			return nil, false
		}
		if p := s.Start(t, platformtest.OwnGroup); p.PID() == pid {
			return p, true
		}
	}
	return nil, false // others were faster each time
}

func (s realSystem) Foreign(*testing.T) (int, bool) { return 1, os.Geteuid() != 0 && os.Getpid() != 1 }

func (s realSystem) Backends() []string { return []string{"event", "poll"} }

func (s realSystem) System(t *testing.T, backend string) system.System {
	t.Helper()
	return testSystem(t, backend)
}

func (s realSystem) Await(t *testing.T, what string, is func() bool) {
	t.Helper()
	await(t, what, is)
}

// patience is generous: a failing test may take long.
const patience = time.Minute

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !is() {
		select {
		case <-again.C:
		case <-late.C:
			t.Fatalf("%v without %s", patience, what)
		}
	}
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
	h, err := p.k.open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Signal(proc.KILL) })
	// The shell has forked, and executes: until then it is a shell like itself.
	await(t, "the child that the shell started", func() bool {
		e, err := h.entry()
		return err == nil && e.Name == "sleep"
	})
	return pid
}

// End returns when it is a zombie.
func (p *realProcess) End(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "a zombie", func() bool {
		e, err := p.k.process(p.PID())
		return err == nil && e.Stat == statZombie
	})
}

func (p *realProcess) Reap(*testing.T) {
	p.reaped = true
	p.cmd.Wait()
}
