// Package owner reads and writes LEASH_RUN_OWNER, the identity of a worker's parent, so
// that the process table alone shows whether the worker's run is dead.
package owner

import (
	"strconv"
	"strings"
)

// Owner is the identity of a parent, by which any process of the machine can check whether
// it lives.
type Owner struct {
	PID int
	// Start is as in proc.ID: clock ticks since boot on Linux.
	Start uint64
	// Boot is the system's name for this boot
	// (/proc/sys/kernel/random/boot_id, random(4)).
	Boot string
	// NS is the inode of the PID namespace that PID is a number of
	// (pid_namespaces(7)); 0 where the system has none.
	NS uint64
}

// maxLen bounds the text in bytes: an environment may be hostile.
const maxLen = 128

// String is PID:START:BOOT:NS.
func (o Owner) String() string {
	return strconv.Itoa(o.PID) + ":" + strconv.FormatUint(o.Start, 10) + ":" + o.Boot + ":" + strconv.FormatUint(o.NS, 10)
}

// Parse reads what String writes, and nothing else.
func Parse(s string) (Owner, bool) {
	var o Owner
	if len(s) > maxLen {
		return o, false
	}
	f := strings.Split(s, ":")
	if len(f) != 4 || !plainBoot(f[2]) {
		return o, false
	}
	pid, err1 := strconv.ParseUint(f[0], 10, 31)
	start, err2 := strconv.ParseUint(f[1], 10, 64)
	ns, err3 := strconv.ParseUint(f[3], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || pid == 0 {
		return o, false
	}
	o = Owner{PID: int(pid), Start: start, Boot: f[2], NS: ns}
	return o, o.String() == s // no leading zeros
}

func plainBoot(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && c != '-' {
			return false
		}
	}
	return len(s) > 0
}
