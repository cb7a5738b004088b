package linux

import (
	"bytes"
	"errors"
	"strconv"
)

// status is what /proc/PID/status shows beyond stat.
type status struct {
	// Real, effective and saved user ID.
	UIDs [3]uint32
	// Spaces counts the PID namespaces from ours down to the process's own
	// (NSpid, Linux 4.1): 1 is ours.
	Spaces int
	// TGID is the process that a thread belongs to; 0 if it is not shown.
	TGID int
	// Caught is the mask of signals that have a handler (SigCgt): bit 0 is signal 1.
	Caught uint64
}

var errStatus = errors.New("not a status file as proc_pid_status(5) describes it")

// ParseStatus parses /proc/PID/status. The name comes first and is escaped, so it cannot forge
// a line.
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
		case "Tgid":
			if n, ok := number(bytes.TrimSpace(value)); ok && n < 1<<31 {
				s.TGID = int(n)
			}
		case "SigCgt":
			if n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64); err == nil {
				s.Caught = n
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
