//go:build linux

package linux

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"

	"leash/internal/orphan"
)

// Orphaned reports whether the watchdog's parent is most likely not the process that started
// it, and the parent's name.
func Orphaned(parent int) (name string, orphaned bool) {
	k := Kernel{buf: make([]byte, 4096)}
	f := orphan.Facts{PID: os.Getpid(), Parent: parent, Group: unix.Getpgrp(),
		Service: os.Getenv("SYSTEMD_EXEC_PID") == itoa(os.Getpid())} // systemd.exec(5)
	f.Session, _ = unix.Getsid(0)
	b, err := k.readRecord(unix.AT_FDCWD, pathIn(parent, "stat"))
	if err != nil {
		return "", false
	}
	f.ParentName, f.ParentTerminal = statName(b), hasTerminal(b)
	if info, err := ParseStat(b); err == nil {
		f.ParentSession, f.ParentGroup = info.SID, info.PGID
	}
	if leader, err := k.statOf(f.Group); err == nil {
		f.LeaderParent = leader.PPID
	}
	return f.ParentName, orphan.Likely(f)
}

// hasTerminal reads field 7 of proc_pid_stat(5), the controlling terminal.
func hasTerminal(stat []byte) bool {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 4 && string(fields[4]) != "0"
}
