//go:build windows

package windows

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/system"
)

// procThreadAttributeJobList is PROC_THREAD_ATTRIBUTE_JOB_LIST, which x/sys does
// not have: 13, for input (WinBase.h).
const procThreadAttributeJobList = 13 | 0x20000

// create creates the worker, suspended, in a job object from its first moment
// ("UpdateProcThreadAttribute function", PROC_THREAD_ATTRIBUTE_JOB_LIST, Windows
// 10): whenever we are killed, nothing of it is left. It inherits its standard
// streams and what is kept, and nothing else (PROC_THREAD_ATTRIBUTE_HANDLE_LIST). If we have a console it shares it, as the
// leader of a process group. Else it gets one of its own, without a window; it
// leads no group then, because what is created as a leader ignores CTRL_C
// ("Process Creation Flags").
func create(jobs []win.Handle, c system.Command) (win.ProcessInformation, error) {
	std := []uintptr{uintptr(syscall.Stdin), uintptr(syscall.Stdout), uintptr(syscall.Stderr)}
	if c.Stdio != nil {
		std = c.Stdio
	}
	in, err := inherited(std, c.Keep)
	defer in.close()
	if err != nil {
		return win.ProcessInformation{}, err
	}
	program, line, err := commandLine(c.Path, c.Args)
	if err != nil {
		return win.ProcessInformation{}, err
	}
	return createIn(jobs, program, line, c.Dir, c.Env, in)
}

// longestLine is how long a command line may be ("CreateProcessW function", lpCommandLine).
const longestLine = 32767

// createIn puts the process into each of the jobs, the outermost first.
func createIn(jobs []win.Handle, path, text, dir string, env []string, in inheritance) (win.ProcessInformation, error) {
	var pi win.ProcessInformation
	app, err := win.UTF16PtrFromString(path)
	if err != nil {
		return pi, err
	}
	text16, err := win.UTF16FromString(text)
	if err != nil {
		return pi, err
	}
	if len(text16) > longestLine {
		return pi, win.ERROR_FILENAME_EXCED_RANGE // as CreateProcess says; Wine does not
	}
	line := &text16[0]
	var folder *uint16
	if dir != "" {
		if dir, err = syscall.FullPath(dir); err != nil {
			return pi, err
		}
		if folder, err = win.UTF16PtrFromString(dir); err != nil {
			return pi, err
		}
	}
	list, err := win.NewProcThreadAttributeList(2)
	if err != nil {
		return pi, err
	}
	defer list.Delete()
	if err := list.Update(procThreadAttributeJobList, unsafe.Pointer(&jobs[0]), uintptr(len(jobs))*unsafe.Sizeof(jobs[0])); err != nil {
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
		// We may have been set to ignore CTRL_C, and that is inherited
		// ("SetConsoleCtrlHandler function").
		setConsoleCtrlHandler.Call(0, 0)
	}
	b := block(env)
	err = win.CreateProcess(app, line, nil, nil, len(in.all) > 0, flags, &b[0], folder, &si.StartupInfo, &pi)
	return pi, err
}

// inheritance is handles for a child.
type inheritance struct {
	std  [3]win.Handle
	all  []win.Handle
	dups []win.Handle
}

func inherited(std []uintptr, keep []int) (in inheritance, err error) {
	if in, err = inheritable(syscall.Handle(std[0]), syscall.Handle(std[1]), syscall.Handle(std[2])); err != nil {
		return in, err
	}
	for _, fd := range keep { // under the number that the worker is given
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

// commandLine is the program to create a process from, and its command line: the
// worker's own, or cmd.exe's if it is a batch file. An error says why that may not
// be executed.
func commandLine(path string, args []string) (program, line string, err error) {
	if !isBatch(path) {
		return path, win.ComposeCommandLine(args), nil
	}
	if line, err = batchLine(path, args[1:]); err != nil {
		return "", "", err
	}
	dir, err := win.GetSystemDirectory() // COMSPEC may be anything
	return dir + `\cmd.exe`, line, err
}
