//go:build windows

package windows

import (
	"os"
	"runtime"
	"time"
	"unsafe"

	win "golang.org/x/sys/windows"

	"leash/internal/limit"
	"leash/internal/proc"
	"leash/internal/stop"
)

// cpuRate is JOBOBJECT_CPU_RATE_CONTROL_INFORMATION.
type cpuRate struct{ flags, rate uint32 }

const (
	cpuRateEnable  = 0x1 // JOB_OBJECT_CPU_RATE_CONTROL_ENABLE
	cpuRateHardCap = 0x4 // JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP
)

// enforce gives the job limits. Each is read back: what does not know it may accept it all the
// same, as Wine does.
func (j *job) enforce(l limit.Limits) (applied limit.Applied, err error) {
	if len(l.Names()) == 0 {
		return applied, nil
	}
	miss := func(name string, set, done bool) {
		if set && !done {
			applied.Missing = append(applied.Missing, name)
		}
	}
	var info win.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	size := uint32(unsafe.Sizeof(info))
	info.BasicLimitInformation.LimitFlags = win.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	if l.MemoryMax > 0 {
		info.BasicLimitInformation.LimitFlags |= win.JOB_OBJECT_LIMIT_JOB_MEMORY
		info.JobMemoryLimit = uintptr(l.MemoryMax)
	}
	if l.TasksMax > 0 {
		info.BasicLimitInformation.LimitFlags |= win.JOB_OBJECT_LIMIT_ACTIVE_PROCESS
		info.BasicLimitInformation.ActiveProcessLimit = uint32(min(l.TasksMax, 1<<32-1))
	}
	if _, err := win.SetInformationJobObject(j.h, win.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), size); err != nil {
		return applied, notStarted(os.NewSyscallError("SetInformationJobObject", err))
	}
	got := j.extended()
	miss(limit.MemoryMax, l.MemoryMax > 0, got.JobMemoryLimit/(64<<10) == info.JobMemoryLimit/(64<<10)) // it is kept in pages
	miss(limit.MemoryHigh, l.MemoryHigh > 0, false)
	miss(limit.TasksMax, l.TasksMax > 0, got.BasicLimitInformation.ActiveProcessLimit == info.BasicLimitInformation.ActiveProcessLimit)
	if l.CPUQuota > 0 {
		// The rate is in hundredths of a percent of all processors together.
		rate := cpuRate{cpuRateEnable | cpuRateHardCap, uint32(max(1, min(10000, l.CPUQuota*100/uint64(runtime.NumCPU()))))}
		is := cpuRate{}
		win.SetInformationJobObject(j.h, win.JobObjectCpuRateControlInformation, uintptr(unsafe.Pointer(&rate)), uint32(unsafe.Sizeof(rate)))
		err := win.QueryInformationJobObject(j.h, win.JobObjectCpuRateControlInformation, uintptr(unsafe.Pointer(&is)), uint32(unsafe.Sizeof(is)), nil)
		miss(limit.CPUQuota, true, err == nil && is == rate)
	}
	miss(limit.OOMScoreAdjust, l.Scored, false)
	if len(applied.Missing) > 0 && !l.BestEffort {
		return limit.Applied{}, &limit.Refused{Names: applied.Missing, Why: "a job object of this system does not enforce that"}
	}
	if len(applied.Missing) < len(l.Names()) {
		applied.By = "job"
	}
	return applied, nil
}

func (j *job) extended() (info win.JOBOBJECT_EXTENDED_LIMIT_INFORMATION) {
	win.QueryInformationJobObject(j.h, win.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), nil)
	return info
}

// Applied says which limits of the worker are enforced.
func (c *containment) Applied() limit.Applied { return c.applied }

// times is the first part of JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, in units of 100 ns.
type times struct {
	user, kernel int64
	_            [2]int64
	_            [4]uint32
}

// Usage is what the job counted; where it counts no memory, as under Wine, the worker alone.
func (c *containment) Usage() (u proc.Usage) {
	if c.job == nil || c.worker == nil {
		return u
	}
	var t times
	peak := uint64(c.job.extended().PeakJobMemoryUsed)
	err := win.QueryInformationJobObject(c.job.h, win.JobObjectBasicAccountingInformation, uintptr(unsafe.Pointer(&t)), uint32(unsafe.Sizeof(t)), nil)
	if err == nil && peak > 0 {
		return proc.Usage{Known: true, Tree: true, User: ticksOf(t.user), System: ticksOf(t.kernel), Peak: peak}
	}
	var created, exited, kernel, user win.Filetime
	if win.GetProcessTimes(c.worker.h, &created, &exited, &kernel, &user) != nil {
		return u
	}
	u = proc.Usage{Known: true, User: ticksOf(int64(ticks(user))), System: ticksOf(int64(ticks(kernel)))}
	m, _ := memoryOf(c.worker.h)
	u.Peak = uint64(m.peakWorkingSet)
	return u
}

func ticksOf(n int64) time.Duration { return time.Duration(n) * 100 }

// memoryCounters is PROCESS_MEMORY_COUNTERS.
type memoryCounters struct {
	size, faults               uint32
	peakWorkingSet, workingSet uintptr
	_                          [6]uintptr
}

var (
	getProcessMemoryInfo = kernel32.NewProc("K32GetProcessMemoryInfo")
	globalMemoryStatusEx = kernel32.NewProc("GlobalMemoryStatusEx")
)

func memoryOf(h win.Handle) (m memoryCounters, ok bool) {
	m.size = uint32(unsafe.Sizeof(m))
	done, _, _ := getProcessMemoryInfo.Call(uintptr(h), uintptr(unsafe.Pointer(&m)), uintptr(m.size))
	return m, done != 0
}

// Memory adds up the working sets.
func (s *System) Memory(hs []stop.Handle, _ uint64) (sum uint64) {
	for _, sh := range hs {
		if h := sh.(*handle); !h.closed() && !h.ended() {
			if m, ok := memoryOf(h.h); ok {
				sum += uint64(m.workingSet)
			}
		}
	}
	return sum
}

// memoryStatus is MEMORYSTATUSEX.
type memoryStatus struct {
	length, load uint32
	total        uint64
	_            [6]uint64
}

// TotalMemory is the machine's memory in bytes; 0 if it is not known.
func TotalMemory() uint64 {
	m := memoryStatus{}
	m.length = uint32(unsafe.Sizeof(m))
	if ok, _, _ := globalMemoryStatusEx.Call(uintptr(unsafe.Pointer(&m))); ok == 0 {
		return 0
	}
	return m.total
}
