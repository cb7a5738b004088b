package gauge

import (
	"bytes"
	"strconv"
)

// UserName is the name of a process's user; its number if it has none. Only /etc/passwd is
// read, and not by package os/user, which needs epoll.
func UserName(_ int, uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	name := number
	eachLine("/etc/passwd", func(line []byte) bool {
		f := bytes.SplitN(line, []byte(":"), 4)
		if len(f) == 4 && string(f[2]) == number && len(f[0]) > 0 {
			name = string(f[0])
			return false
		}
		return true
	})
	return name
}
