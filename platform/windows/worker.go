//go:build windows

package windows

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/proc"
	"leash/internal/stop"
)

// Adopt takes a running worker. proc.ErrGone if it has ended.
func (h *Host) Adopt(pid int) (proc.Adopted, error) {
	var a proc.Adopted
	hd, err := h.Kernel.open(pid)
	if err != nil {
		return a, refused(pid, err)
	}
	hd.worker = true
	h.worker, h.tree.Root = hd, hd
	if a.Info, err = h.tree.Adopt(); err != nil {
		return a, err
	}
	if err := hd.Signal(proc.Signal{}); err != nil {
		return a, refused(pid, err)
	}
	a.RunID, a.WorkerID = h.Labels()
	hd.Notify()
	h.follow()
	// Whoever is created from now on is in the job, and need not be looked for.
	if h.job, err = newJob(false); err == nil && h.job.add(hd.h) != nil {
		h.job.close(true)
		h.job = nil
	}
	if h.job != nil {
		h.kin.enlist = func(hd *handle) {
			if !h.Kernel.isLeash(hd.exe) && !h.job.has(hd.h) {
				h.job.add(hd.h) // one who is in another job may not be
			}
		}
		h.tree.KillAll = h.endJob
	}
	h.tree.Survey(false)
	h.tree.Search = h.search
	return a, nil
}

func refused(pid int, err error) error {
	if errors.Is(err, proc.ErrDenied) {
		return fmt.Errorf("process %d belongs to another user, or to an elevated one (%w): run the watchdog as that user or as administrator", pid, proc.ErrDenied)
	}
	return err
}

// follow begins to note who descends from the worker.
func (h *Host) follow() {
	h.kin = newKin(h.Kernel, h.worker)
	h.tree.Inside = h.inside
	h.Kernel.mine = h.mine
}

// inside lists who is in the job, and who descends from the worker.
func (h *Host) inside() []int {
	pids := slices.Clone(h.kin.living())
	if h.job != nil {
		for _, pid := range h.job.pids() {
			if pid != h.worker.pid && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func (h *Host) mine(pid int) bool {
	return h.kin.has(pid) || h.job != nil && slices.Contains(h.job.pids(), pid)
}

func (h *Host) endJob() bool { return h.job != nil && h.job.end() == nil }

// empty proves that nobody is left in the job but the hosts of consoles, which
// end by themselves then.
func (h *Host) empty() bool {
	if !h.worker.ended() || h.kin.left() { // who ends leaves the job a moment before he lets go of ports and files
		return false
	}
	if h.job.empty() {
		return true
	}
	pids := h.job.pids()
	for _, pid := range pids {
		hd, err := h.Kernel.open(pid)
		if err != nil {
			return false
		}
		host := isConsoleHost(hd.exe)
		if hd.Close(); !host {
			return false
		}
	}
	return len(pids) > 0 // else the list could not be had
}

// search lists those of the whole table that may belong by their environment or
// their console's process group, and that are no older than the worker.
func (h *Host) search() (pids []int, err error) {
	table, err := h.Kernel.table()
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Clone(table) {
		if !follows(e.start, h.worker.start, h.Kernel.latest()) || e.pid == h.worker.pid || h.kin.has(e.pid) {
			continue
		}
		hd, err := h.Kernel.openWith(e.pid, wanted[:1]) // others could not be read
		if err != nil {
			continue
		}
		if info, err := hd.Look(); err == nil {
			run, worker := "", ""
			if h.tree.RunID != "" && h.tree.WorkerID != "" {
				run, worker = hd.Labels()
			}
			if h.tree.Claims(info, run, worker) {
				pids = append(pids, e.pid)
			}
		}
		hd.Close()
	}
	return pids, nil
}

// AdoptGone is not done here: who descends from a worker is known only from a look
// at it while it lived.
func (h *Host) AdoptGone(int) bool { return false }

// Labels are what the worker's arguments and environment say now; empty if they
// say nothing or cannot be read.
func (h *Host) Labels() (run, worker string) {
	if h.worker.closed() || h.worker.ended() {
		return "", ""
	}
	run, worker = h.worker.Labels()
	if id := h.worker.runInArgs(); id != "" {
		run = id
	}
	return run, worker
}

// Label sets the labels by which the worker's strays are known.
func (h *Host) Label(run, worker string) { h.tree.RunID, h.tree.WorkerID = run, worker }

// Containment says what holds the tree together, strongest first.
func (h *Host) Containment() string {
	var parts []string
	if h.job != nil {
		parts = append(parts, "job")
	}
	if h.tree.Leads() {
		parts = append(parts, "group")
	} else {
		parts = append(parts, "process")
	}
	parts = append(parts, "descendants")
	if h.tree.RunID != "" && h.tree.WorkerID != "" && h.tree.Search != nil {
		parts = append(parts, "environment")
	}
	return strings.Join(parts, ",")
}

// Leads reports whether the worker leads its console process group.
func (h *Host) Leads() bool { return h.tree.Leads() }

// Start starts the worker: it is created suspended, in a job object that ends
// with us, and let go when we hold it, so that it has no child outside.
func (h *Host) Start(path string, args, env []string, keep []int) (proc.Info, error) {
	if h.worker != nil {
		h.forgetWorker()
	}
	j, err := newJob(true)
	if err != nil {
		return proc.Info{}, notStarted(err)
	}
	pi, err := create(j, path, args, env, keep)
	if err != nil {
		j.close(false)
		return proc.Info{}, err
	}
	defer win.CloseHandle(pi.Thread)
	info, err := h.hold(j, pi)
	if err == nil {
		_, err = win.ResumeThread(pi.Thread)
	}
	switch {
	case err == nil:
		return info, nil
	case h.job == j: // which is ours to close until there is another
		j.end()
	default:
		j.close(false)
	}
	return info, notStarted(err)
}

// hold takes the worker while it does not run yet.
func (h *Host) hold(j *job, pi win.ProcessInformation) (proc.Info, error) {
	if !j.has(pi.Process) { // then it is not ended with it
		win.TerminateProcess(pi.Process, killCode)
		win.CloseHandle(pi.Process)
		return proc.Info{}, errors.New("the system created it outside")
	}
	hd, err := h.Kernel.wrap(int(pi.ProcessId), pi.Process, win.PROCESS_ALL_ACCESS|win.SYNCHRONIZE)
	if err != nil {
		return proc.Info{}, err
	}
	hd.worker = true
	if hasConsole() {
		hd.group = hd.pid // created so, see create
	}
	h.worker, h.job, h.child = hd, j, true
	h.exited, h.told = false, false
	h.tree.Root = hd
	h.follow()
	h.tree.KillAll, h.tree.Empty = h.endJob, h.empty
	info, err := h.tree.Adopt()
	hd.Notify()
	return info, err
}

// want marks what is no fault of the command: want of means, or of rights.
type want struct{ error }

func (want) Is(target error) bool { return target == syscall.EAGAIN }

func notStarted(err error) error {
	return want{fmt.Errorf("the worker cannot be put into a job object: %w", err)}
}

// forgetWorker lets go of the worker before this one.
func (h *Host) forgetWorker() {
	h.closeTree()
	h.worker.Close()
	h.dropBeats()
	h.tree = stop.Tree{Kernel: h.tree.Kernel, Never: h.tree.Never, Employers: h.tree.Employers,
		RunID: h.tree.RunID, WorkerID: h.tree.WorkerID}
	h.exited, h.told, h.ending = true, true, false // until there is another
}

// procThreadAttributeJobList is PROC_THREAD_ATTRIBUTE_JOB_LIST, which x/sys does
// not have: 13, for input (WinBase.h).
const procThreadAttributeJobList = 13 | 0x20000

// create creates the worker, suspended, in a job object from its first moment
// ("UpdateProcThreadAttribute function", PROC_THREAD_ATTRIBUTE_JOB_LIST, Windows
// 10): whenever we are killed, nothing of it is left. It inherits its standard
// streams and what is kept, and nothing else (PROC_THREAD_ATTRIBUTE_HANDLE_LIST). If we have a console it shares it, as the
// leader of a process group. Else it gets one of its own, without a window; it
// leads no group then, because who is created as a leader does not hear CTRL_C
// ("Process Creation Flags").
func create(j *job, path string, args, env []string, keep []int) (win.ProcessInformation, error) {
	in, err := inherited(keep)
	defer in.close()
	if err != nil {
		return win.ProcessInformation{}, err
	}
	program, line, err := commandLine(path, args)
	if err != nil {
		return win.ProcessInformation{}, err
	}
	return createIn(j, program, line, env, in)
}

func createIn(j *job, path, text string, env []string, in inheritance) (win.ProcessInformation, error) {
	var pi win.ProcessInformation
	app, err := win.UTF16PtrFromString(path)
	if err != nil {
		return pi, err
	}
	line, err := win.UTF16PtrFromString(text)
	if err != nil {
		return pi, err
	}
	list, err := win.NewProcThreadAttributeList(2)
	if err != nil {
		return pi, err
	}
	defer list.Delete()
	if err := list.Update(procThreadAttributeJobList, unsafe.Pointer(&j.h), unsafe.Sizeof(j.h)); err != nil {
		return pi, notStarted(err)
	}
	if len(in.all) > 0 {
		if err := list.Update(win.PROC_THREAD_ATTRIBUTE_HANDLE_LIST, unsafe.Pointer(&in.all[0]),
			uintptr(len(in.all))*unsafe.Sizeof(in.all[0])); err != nil {
			return pi, err
		}
	}
	si := win.StartupInfoEx{ProcThreadAttributeList: list.List()}
	si.Cb = uint32(unsafe.Sizeof(si))
	si.Flags = win.STARTF_USESTDHANDLES
	si.StdInput, si.StdOutput, si.StdErr = in.std[0], in.std[1], in.std[2]
	flags := uint32(win.CREATE_SUSPENDED | win.CREATE_UNICODE_ENVIRONMENT | win.EXTENDED_STARTUPINFO_PRESENT)
	if hasConsole() {
		flags |= win.CREATE_NEW_PROCESS_GROUP
	} else {
		flags |= win.CREATE_NO_WINDOW
		// We may have been told not to hear CTRL_C, and that is inherited
		// ("SetConsoleCtrlHandler function").
		setConsoleCtrlHandler.Call(0, 0)
	}
	b := block(env)
	err = win.CreateProcess(app, line, nil, nil, len(in.all) > 0, flags, &b[0], nil, &si.StartupInfo, &pi)
	return pi, err
}

// inheritance is handles for a child.
type inheritance struct {
	std  [3]win.Handle
	all  []win.Handle
	dups []win.Handle
}

func inherited(keep []int) (in inheritance, err error) {
	if in, err = inheritable(syscall.Stdin, syscall.Stdout, syscall.Stderr); err != nil {
		return in, err
	}
	for _, fd := range keep { // under the number that the worker is told
		if err := win.SetHandleInformation(win.Handle(fd), win.HANDLE_FLAG_INHERIT, win.HANDLE_FLAG_INHERIT); err != nil {
			return in, os.NewSyscallError("SetHandleInformation", err)
		}
		in.all = append(in.all, win.Handle(fd))
	}
	return in, nil
}

// inheritable is the standard streams alone.
func inheritable(std ...syscall.Handle) (in inheritance, err error) {
	self := win.CurrentProcess()
	for i, f := range std {
		if f == 0 || f == syscall.InvalidHandle { // we have none ourselves
			continue
		}
		err := win.DuplicateHandle(self, win.Handle(f), self, &in.std[i], 0, true, win.DUPLICATE_SAME_ACCESS)
		if errors.Is(err, win.ERROR_INVALID_HANDLE) { // nor then: the number may be one of our parent's
			continue
		}
		if err != nil {
			return in, os.NewSyscallError("DuplicateHandle", err)
		}
		in.dups = append(in.dups, in.std[i])
	}
	in.all = slices.Clone(in.dups)
	return in, nil
}

func (in *inheritance) close() {
	for _, h := range in.dups {
		win.CloseHandle(h)
	}
}
