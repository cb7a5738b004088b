package testkit

import (
	"os"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// Kill ends the process and returns at once. The test fails if the process has
// ended before.
func (p *Proc) Kill() {
	p.t.Helper()
	if !p.Alive() {
		p.t.Fatalf("%v has ended before it was killed", p.Ident)
	}
	if err := p.Ident.Kill(); err != nil {
		p.t.Fatalf("kill %v: %v", p.Ident, err)
	}
}

func exitStatus(s *os.ProcessState) int { return s.ExitCode() }
