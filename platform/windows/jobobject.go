//go:build windows

package windows

import (
	"os"
	"unsafe"

	win "golang.org/x/sys/windows"
)

// job is a job object: what a process of it creates is in it too ("Job
// Objects"). A process may be in several, each within the one before ("Nested
// Jobs", Windows 8).
type job struct {
	h win.Handle
	// bound: what is in it ends with us.
	bound bool
}

// newJob makes an empty one. With bound, the system ends everything that is in it
// when its last handle is closed, which is ours (JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE),
// and nothing can leave: neither limit that allows to break away is set
// ("JOBOBJECT_BASIC_LIMIT_INFORMATION structure"). Without, what could break away
// before still can.
func newJob(bound bool) (*job, error) {
	h, err := win.CreateJobObject(nil, nil) // without a name, and not inherited
	if err != nil {
		return nil, os.NewSyscallError("CreateJobObject", err)
	}
	j := &job{h: h, bound: bound}
	flags := uint32(win.JOB_OBJECT_LIMIT_BREAKAWAY_OK)
	if bound {
		flags = win.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	}
	if err := j.limit(flags); err != nil {
		win.CloseHandle(h)
		return nil, err
	}
	return j, nil
}

func (j *job) limit(flags uint32) error {
	var info win.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = flags
	_, err := win.SetInformationJobObject(j.h, win.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	return os.NewSyscallError("SetInformationJobObject", err)
}

// add puts a process in. Those that it has created before stay outside.
func (j *job) add(h win.Handle) error {
	return os.NewSyscallError("AssignProcessToJobObject", win.AssignProcessToJobObject(j.h, h))
}

func (j *job) has(h win.Handle) bool {
	var in int32
	ok, _, _ := isProcessInJob.Call(uintptr(h), uintptr(j.h), uintptr(unsafe.Pointer(&in)))
	return ok != 0 && in != 0
}

// accounting is JOBOBJECT_BASIC_ACCOUNTING_INFORMATION.
type accounting struct {
	_                                    [4]int64 // times
	faults, total, active, overLimitEnds uint32
}

// empty proves that nothing of it runs; unknown is not empty.
func (j *job) empty() bool {
	a := accounting{active: 1}
	err := win.QueryInformationJobObject(j.h, win.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&a)), uint32(unsafe.Sizeof(a)), nil)
	return err == nil && a.active == 0
}

// pids lists what is in it (JOBOBJECT_BASIC_PROCESS_ID_LIST).
func (j *job) pids() []int {
	for room := 64; ; {
		b := make([]uintptr, 1+room) // two DWORDs, then the list
		size := uint32(len(b)) * uint32(unsafe.Sizeof(b[0]))
		err := win.QueryInformationJobObject(j.h, win.JobObjectBasicProcessIdList, uintptr(unsafe.Pointer(&b[0])), size, nil)
		head := (*[2]uint32)(unsafe.Pointer(&b[0]))
		assigned, listed := int(head[0]), int(head[1])
		if err == win.ERROR_MORE_DATA || err == nil && assigned > listed {
			room = max(2*room, assigned+16)
			if room < 1<<20 {
				continue
			}
		}
		if err != nil {
			return nil
		}
		var pids []int
		for _, pid := range b[1 : 1+min(listed, room)] {
			pids = append(pids, int(pid))
		}
		return pids
	}
}

// end ends everything in it, and in those within it.
func (j *job) end() error { return win.TerminateJobObject(j.h, killCode) }

// close closes the handle. With spare, what is in the job is not ended.
func (j *job) close(spare bool) {
	if j.bound && spare {
		j.limit(0)
	}
	win.CloseHandle(j.h)
}
