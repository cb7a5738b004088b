package linux

import (
	"bytes"
	"time"
)

// flatKeyed reads one value of a file of lines "KEY VALUE" (control-group-v2.rst).
func flatKeyed(b []byte, key string) (uint64, bool) {
	for line := range bytes.Lines(b) {
		name, value, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		if ok && string(name) == key {
			return number(value)
		}
	}
	return 0, false
}

// cpuTimes reads cpu.stat, which every cgroup has, also without the controller cpu.
func cpuTimes(b []byte) (user, system time.Duration, ok bool) {
	u, ok1 := flatKeyed(b, "user_usec")
	s, ok2 := flatKeyed(b, "system_usec")
	const most = uint64(1<<63-1) / uint64(time.Microsecond)
	if !ok1 || !ok2 || u > most || s > most {
		return 0, 0, false
	}
	return time.Duration(u) * time.Microsecond, time.Duration(s) * time.Microsecond, true
}
