package linux

import (
	"bytes"
	"errors"
)

// status is what /proc/PID/status tells beyond stat.
type status struct {
	// Real, effective and saved user ID.
	UIDs [3]uint32
	// Spaces counts the PID namespaces from ours down to the process's own
	// (NSpid, Linux 4.1): 1 is ours.
	Spaces int
	// RSS is the resident set in bytes; 0 for a zombie.
	RSS uint64
}

var errStatus = errors.New("not a status file as proc_pid_status(5) describes it")

// ParseStatus reads /proc/PID/status. The name comes first and is escaped, so
// that no line is made up by it.
func ParseStatus(b []byte) (status, error) {
	var s status
	uids := false
	for line := range bytes.Lines(b) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		switch string(name) {
		case "Uid":
			f := bytes.Fields(value)
			if len(f) != 4 {
				return s, errStatus
			}
			for i := range s.UIDs {
				n, ok := number(f[i])
				if !ok || n > 1<<32-1 {
					return s, errStatus
				}
				s.UIDs[i] = uint32(n)
			}
			uids = true
		case "VmRSS":
			if f := bytes.Fields(value); len(f) == 2 {
				n, _ := number(f[0])
				s.RSS = n << 10 // it says kB and means KiB
			}
		case "NSpid":
			s.Spaces = len(bytes.Fields(value))
		}
	}
	if !uids {
		return s, errStatus
	}
	return s, nil
}

// statName is the name in parentheses.
func statName(b []byte) string {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return ""
	}
	return string(b[open+1 : end])
}

// splitArgs makes strings of arguments that are each ended by NUL.
func splitArgs(b []byte) []string {
	args := []string{}
	for len(b) > 0 {
		var arg []byte
		arg, b, _ = bytes.Cut(b, []byte{0})
		args = append(args, string(arg))
	}
	return args
}

// guardedPID is the worker that a watchdog's arguments name, 0 if none.
func guardedPID(cmdline []byte) int {
	flag := []byte("--worker-pid")
	for len(cmdline) > 0 {
		var arg []byte
		arg, cmdline, _ = bytes.Cut(cmdline, []byte{0})
		value, ok := bytes.CutPrefix(arg, flag)
		switch {
		case !ok:
			continue
		case len(value) == 0:
			value, _, _ = bytes.Cut(cmdline, []byte{0})
		case value[0] == '=':
			value = value[1:]
		default: // another flag that begins so
			continue
		}
		if n, ok := number(value); ok && n < 1<<31 {
			return int(n)
		}
	}
	return 0
}
