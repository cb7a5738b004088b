package testkit

import (
	"os"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Kill sends SIGKILL and returns at once.
func (p *Proc) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
}

// Signal sends a signal through the pidfd of package os. The test fails if the process has
// ended before.
func (p *Proc) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("signal %v to %v: %v", sig, p.Ident, err)
	}
}

// exitStatus is what a shell shows: the exit code, or 128+N for signal N.
func exitStatus(s *os.ProcessState) int { return statusOf(s.Sys().(syscall.WaitStatus)) }

func statusOf(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
