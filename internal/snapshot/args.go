package snapshot

import (
	"bytes"
	"strconv"
	"strings"
)

// SplitArgs splits an argument vector in which each argument ends with NUL.
func SplitArgs(b []byte) []string {
	args := []string{}
	for len(b) > 0 {
		var arg []byte
		arg, b, _ = bytes.Cut(b, []byte{0})
		args = append(args, string(arg))
	}
	return args
}

// GuardedPID is the PID of the worker in a watchdog's arguments, 0 if there is none.
func GuardedPID(args []string) int {
	for i, arg := range args {
		value, ok := strings.CutPrefix(arg, "--worker-pid=")
		if arg == "--worker-pid" && i+1 < len(args) {
			value, ok = args[i+1], true
		}
		if n, err := strconv.ParseUint(value, 10, 31); ok && err == nil {
			return int(n)
		}
	}
	return 0
}
