package darwin

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
)

// kernelCalls is calls.
type kernelCalls struct{}

// NewKernel opens the process table.
func NewKernel() (*Kernel, error) { return newKernel(kernelCalls{}) }

// Process asks for a list, because an empty one is no error.
func (kernelCalls) Process(pid int) (entry, error) {
	list, err := unix.SysctlKinfoProcSlice("kern.proc.pid", pid)
	if err != nil {
		return entry{}, err
	}
	if len(list) == 0 {
		return entry{}, proc.ErrGone
	}
	return entryOf(&list[0]), nil
}

func (kernelCalls) Processes() ([]entry, error) {
	list, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil, err
	}
	all := make([]entry, len(list))
	for i := range list {
		all[i] = entryOf(&list[i])
	}
	return all, nil
}

func entryOf(k *unix.KinfoProc) entry {
	p, e := &k.Proc, &k.Eproc
	return entry{
		PID: int(p.P_pid), PPID: int(e.Ppid), PGID: int(e.Pgid),
		UID: e.Ucred.Uid, Real: e.Pcred.P_ruid, Saved: e.Pcred.P_svuid,
		Start: uint64(p.P_starttime.Sec)*1e6 + uint64(p.P_starttime.Usec),
		Stat:  p.P_stat, Flags: p.P_flag, Session: e.Flag,
		Caught: p.P_sigcatch, Status: int(p.P_xstat),
		Name: unix.ByteSliceToString(p.P_comm[:]),
	}
}

func (kernelCalls) Session(pid int) (int, error) { return unix.Getsid(pid) }

func (kernelCalls) ProcArgs(pid int) ([]byte, error) { return unix.SysctlRaw("kern.procargs2", pid) }

func (kernelCalls) Kill(pid, sig int) error { return unix.Kill(pid, unix.Signal(sig)) }

func (kernelCalls) Clock() uint64 { return uint64(time.Now().UnixMicro()) }

func (kernelCalls) Boot() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }

func (kernelCalls) Self() int { return os.Getpid() }

func (kernelCalls) WaitStatus(status int) proc.Exit { return exitOf(unix.WaitStatus(status)) }

func exitOf(ws unix.WaitStatus) proc.Exit {
	if ws.Signaled() {
		return proc.Exit{Known: true, Signal: signalOf(int(ws.Signal())), Core: ws.CoreDump()}
	}
	return proc.Exit{Known: true, Code: ws.ExitStatus()}
}
