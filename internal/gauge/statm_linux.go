package gauge

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// resident is 0 where it cannot be read: field 2 of /proc/PID/statm, in pages
// (proc_pid_statm(5)). gopsutil cannot serve here: its init reads /proc/stat by
// package os, and so a program that links it ends at its start where epoll is refused.
func resident(pid int) uint64 {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/statm", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var buf [256]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0
	}
	fields := bytes.Fields(buf[:n])
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
