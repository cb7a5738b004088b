package linux

import (
	"bytes"
	"errors"

	"leash/internal/proc"
)

var errStat = errors.New("not a stat line as proc_pid_stat(5) describes it")

// ParseStat parses /proc/PID/stat. The name in parentheses may contain anything, parentheses
// and line feeds too, so the fields start after the last ')'.
func ParseStat(b []byte) (proc.Info, error) {
	var info proc.Info
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 2 || end < open || end+2 >= len(b) {
		return info, errStat
	}
	pid, ok := number(bytes.TrimSpace(b[:open]))
	if !ok {
		return info, errStat
	}
	info.PID = int(pid)
	rest := b[end+2:]
	// Fields are numbered as in the man page; 3 is the state.
	for field := 3; field <= 22; field++ {
		var word []byte
		word, rest = cutWord(rest)
		if len(word) == 0 {
			return info, errStat
		}
		if field == 3 {
			info.State = word[0]
			continue
		}
		if !wanted(field) {
			continue
		}
		n, ok := number(word)
		if !ok {
			return info, errStat
		}
		switch field {
		case 4:
			info.PPID = int(n)
		case 5:
			info.PGID = int(n)
		case 6:
			info.SID = int(n)
		case 20:
			info.Threads = int(n)
		case 22:
			info.Start = n
		}
	}
	return info, nil
}

func wanted(field int) bool {
	return field == 4 || field == 5 || field == 6 || field == 20 || field == 22
}

func cutWord(b []byte) (word, rest []byte) {
	i := bytes.IndexByte(b, ' ')
	if i < 0 {
		return bytes.TrimRight(b, "\n"), nil
	}
	return b[:i], b[i+1:]
}

// number reads decimal digits and nothing else.
func number(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// ParsePIDs appends numbers separated by white space to out: the format of
// /proc/PID/task/TID/children and cgroup.procs.
func ParsePIDs(b []byte, out []int) []int {
	for _, w := range bytes.Fields(b) {
		if n, ok := number(w); ok && n > 0 && n < 1<<31 {
			out = append(out, int(n))
		}
	}
	return out
}
