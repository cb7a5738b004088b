package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// gather puts this process into a job object, and so all that it starts, and returns a
// function that lists the other processes in it. The job is closed when this process ends.
func gather() (left func() ([]Ident, error), err error) {
	job, err := newJob()
	if err != nil {
		return nil, err
	}
	if err := windows.AssignProcessToJobObject(job, windows.CurrentProcess()); err != nil {
		return nil, fmt.Errorf("AssignProcessToJobObject: %w", err)
	}
	return func() ([]Ident, error) { return others(job) }, nil
}

func runToEnd(cmd *exec.Cmd) (status int, err error) {
	// The child gets Ctrl-C too and decides; this process still ends what is left.
	signal.Ignore(os.Interrupt)
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return 1, err
	}
	return exitStatus(cmd.ProcessState), nil
}

// newJob makes a job object that kills its processes when it is closed, and that none of
// them can leave.
func newJob() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, fmt.Errorf("CreateJobObject: %w", err)
	}
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		windows.CloseHandle(job)
		return 0, fmt.Errorf("SetInformationJobObject: %w", err)
	}
	return job, nil
}

// others lists the processes in the job beside this one.
func others(job windows.Handle) (ids []Ident, err error) {
	var members struct {
		assigned, listed uint32
		pids             [1024]uintptr
	}
	err = windows.QueryInformationJobObject(job, windows.JobObjectBasicProcessIdList,
		uintptr(unsafe.Pointer(&members)), uint32(unsafe.Sizeof(members)), nil)
	if err != nil {
		return nil, fmt.Errorf("QueryInformationJobObject: %w", err)
	}
	for _, pid := range members.pids[:members.listed] {
		if id, ok := Lookup(int(pid)); ok && int(pid) != os.Getpid() && id.Alive() && !isDesktop(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// isDesktop reports whether it is the desktop, which Wine starts for the first program that
// needs it, for a console for example. It ends with the job.
func isDesktop(id Ident) bool {
	dir, err := windows.GetSystemDirectory()
	return err == nil && strings.EqualFold(id.program(), dir+`\explorer.exe`)
}
