//go:build !linux

package gauge

import "github.com/shirou/gopsutil/v3/process"

// resident is 0 where it cannot be read. process.NewProcess would read much more.
func resident(pid int) uint64 {
	p := process.Process{Pid: int32(pid)}
	m, err := p.MemoryInfo()
	if err != nil {
		return 0
	}
	return m.RSS
}
