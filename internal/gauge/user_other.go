//go:build !linux

package gauge

import (
	"strconv"

	"github.com/shirou/gopsutil/v3/process"
)

// UserName is the name of a process's user; its number if it has none.
func UserName(pid int, uid uint32) string {
	p := process.Process{Pid: int32(pid)}
	if name, err := p.Username(); err == nil && name != "" {
		return name
	}
	return strconv.FormatUint(uint64(uid), 10)
}
