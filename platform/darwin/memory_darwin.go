package darwin

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
)

// TotalMemory is the machine's memory in bytes; 0 if it is not known.
func TotalMemory() uint64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return n
}

// taskInfo is struct proc_taskinfo, of which the resident size is needed (sys/proc_info.h).
type taskInfo struct {
	virtual, resident uint64
	_                 [4]uint64 // times
	_                 [12]int32
}

// Resident is proc_pidinfo with PROC_PIDTASKINFO (libproc.h), which is the system call
// proc_info: 2 is PROC_INFO_CALL_PIDINFO, 4 the flavor.
func (kernelCalls) Resident(pid int) uint64 {
	var info taskInfo
	n, _, e := syscall.Syscall6(unix.SYS_PROC_INFO, 2, uintptr(pid), 4, 0,
		uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info))
	if e != 0 || n != unsafe.Sizeof(info) {
		return 0
	}
	return info.resident
}

// rusageInfo is struct rusage_info_v4 (sys/resource.h). Times are in ticks.
type rusageInfo struct {
	uuid                [16]byte
	user, system        uint64
	_                   [8]uint64
	childUser, childSys uint64
	_                   [4]uint64
	_                   [11]uint64 // disk, time by class
	_                   uint64     // logical writes
	peakFootprint       uint64
	_                   [6]uint64
}

// Usage is proc_pid_rusage with RUSAGE_INFO_V4 (libproc.h), which knows zombies: the system
// call proc_info with 9, PROC_INFO_CALL_PIDRUSAGE.
func (kernelCalls) Usage(pid int) proc.Usage {
	var info rusageInfo
	if _, _, e := syscall.Syscall6(unix.SYS_PROC_INFO, 9, uintptr(pid), 4, 0, uintptr(unsafe.Pointer(&info)), 0); e != 0 {
		return proc.Usage{}
	}
	second, err := unix.SysctlUint64("hw.tbfrequency")
	if err != nil || second == 0 {
		second = 1e9 // as on Intel
	}
	span := func(ticks uint64) time.Duration {
		return time.Duration(float64(ticks) / float64(second) * float64(time.Second))
	}
	return proc.Usage{Known: true, User: span(info.user + info.childUser), System: span(info.system + info.childSys),
		Peak: info.peakFootprint}
}
