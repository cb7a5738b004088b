//go:build linux

package linux

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"

	"leash/internal/stop"
)

// TotalMemory is the machine's memory in bytes; 0 if it is not known.
func TotalMemory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}

// Memory adds up the resident sets. Where that is more than enough it adds up the
// proportional ones, in which pages that processes share, as after fork(2), count once: the
// kernel walks the page tables for those.
func (s *System) Memory(hs []stop.Handle, enough uint64) uint64 {
	sum := s.sum(hs, "statm", residentIn)
	if sum <= enough {
		return sum
	}
	return min(sum, s.sum(hs, "smaps_rollup", pssIn))
}

// sum adds up what a file of each process says; one that cannot be read counts with its
// resident set.
func (s *System) sum(hs []stop.Handle, name string, read func([]byte) (uint64, bool)) (sum uint64) {
	for _, sh := range hs {
		h := sh.(*handle)
		b, err := s.readFile(unix.AT_FDCWD, pathIn(h.pid, name))
		n, ok := uint64(0), false
		if err == nil {
			n, ok = read(b)
		}
		if !ok && name != "statm" {
			if b, err = s.readFile(unix.AT_FDCWD, pathIn(h.pid, "statm")); err == nil {
				n, _ = residentIn(b)
			}
		}
		if h.probe() == nil { // else it may be another process's
			sum += n
		}
	}
	return sum
}

// residentIn reads field 2 of /proc/PID/statm, in pages (proc_pid_statm(5)).
func residentIn(b []byte) (uint64, bool) {
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, false
	}
	n, ok := number(f[1])
	return n * uint64(os.Getpagesize()), ok
}

// pssIn reads Pss of /proc/PID/smaps_rollup, in KiB (proc_pid_smaps(5); Linux 4.14).
func pssIn(b []byte) (uint64, bool) {
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			if f := bytes.Fields(rest); len(f) == 2 {
				n, ok := number(f[0])
				return n << 10, ok
			}
		}
	}
	return 0, false
}
