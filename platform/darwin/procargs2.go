package darwin

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// procArgs is what the system kept of a program's start.
type procArgs struct {
	// Path is the program, as it was named to execve(2): it may be relative, or a
	// link.
	Path string
	// Args and Env are blocks of strings, each ended by NUL.
	Args, Env []byte
	// Hidden: behind the arguments there is nothing at all, not even what the
	// system always puts there.
	Hidden bool
}

var errProcArgs = errors.New("not what kern.procargs2 returns")

// align is what the program's path is padded to with NULs: the size of a pointer.
const align = 8

// parseProcArgs2 reads what the sysctl kern.procargs2 returns. sysctl(3) does not
// describe it; XNU makes it in sysctl_procargsx (bsd/kern/kern_sysctl.c) of the
// strings that exec_save_path, exec_extract_strings and exec_add_apple_strings
// (bsd/kern/kern_exec.c) put on the new program's stack:
//
//	int     argc, in the order of the machine
//	string  the path, its key "executable_path=" taken away
//	NULs    up to a multiple of 8
//	string  argc of them: the arguments
//	string  the environment
//	NULs    up to a multiple of 8
//	string  what the system tells the C library (ptr_munge=, main_stack=, …)
//
// Of a program that System Integrity Protection restricts it ends behind the
// arguments. Nothing marks where the environment ends; but none of the system's
// own strings has the name of a label. The process may have written over all of
// it, as setproctitle does; so any bytes at all may stand there.
func parseProcArgs2(b []byte) (procArgs, error) {
	var p procArgs
	if len(b) < 4 {
		return p, errProcArgs
	}
	argc := int(int32(binary.NativeEndian.Uint32(b)))
	path, rest, ok := bytes.Cut(b[4:], []byte{0})
	if !ok || argc < 0 {
		return p, errProcArgs
	}
	p.Path = string(path)
	// Only the padding is passed over: an empty first argument may follow.
	for n := len(path) + 1; n%align != 0 && len(rest) > 0 && rest[0] == 0; n++ {
		rest = rest[1:]
	}
	end := 0
	for range argc {
		n := bytes.IndexByte(rest[end:], 0)
		if n < 0 { // fewer than it says: cut off, or written over
			p.Args = closed(rest)
			return p, nil
		}
		end += n + 1
	}
	p.Args, p.Env, p.Hidden = rest[:end:end], closed(rest[end:]), end == len(rest)
	return p, nil
}

// closed ends the last string, if it is not.
func closed(b []byte) []byte {
	if len(b) > 0 && b[len(b)-1] != 0 {
		return append(bytes.Clone(b), 0)
	}
	return b
}

// variable finds one in an environment block.
func variable(env []byte, name string) string {
	for len(env) > 0 {
		var entry []byte
		entry, env, _ = bytes.Cut(env, []byte{0})
		if v, ok := bytes.CutPrefix(entry, []byte(name)); ok && len(v) > 0 && v[0] == '=' {
			return string(v[1:])
		}
	}
	return ""
}
