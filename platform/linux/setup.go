//go:build linux

package linux

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// CheckPID returns an error if a PID from the command line cannot be that of a process. A
// process that does not exist (any more) is no error.
func CheckPID(pid int) error {
	k := Kernel{buf: make([]byte, 4096)}
	if pid < 1 {
		return errors.New("a PID is a number above 0")
	}
	s, err := k.readStatus(unix.AT_FDCWD, pathIn(pid, "status"))
	if err == nil && s.TGID != 0 && s.TGID != pid {
		return fmt.Errorf("%d is a thread of process %d: give the process", pid, s.TGID)
	}
	if err == nil {
		return nil
	}
	// The kernel takes the lower 32 bits alone.
	if top := k.Highest(); top > 0 && pid > top && (pid > math.MaxInt32 || unix.Kill(pid, 0) == unix.ESRCH) {
		return fmt.Errorf("no process can have the PID %d here: the highest is %d (/proc/sys/kernel/pid_max)", pid, top)
	}
	return nil
}

// Replace executes this very program again in place, with the same PID and arguments. Signals
// that are only forwarded are blocked (see hold). Others that would end the program before it
// calls Listen are ignored until then, but for the deadly ones, which are sent to end it. It
// returns only on error.
func Replace(env []string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	held := holdables()
	was, err := setMask(&held)
	if err != nil {
		return err
	}
	defer setMask(&was)
	for s := syscall.Signal(1); s <= 64; s++ {
		if heard(s) && !held.has(s) && !deadly(s) && s != unix.SIGCHLD {
			ignore(s)
		}
	}
	return unix.Exec(ownPath(), os.Args, env)
}

// ownPath is the path of this program, because the kernel takes a process's name from it, or
// the kernel's own link if another file has that path by now.
func ownPath() string {
	const link = "/proc/self/exe"
	path, _ := os.Readlink(link)
	var here, there unix.Stat_t
	if unix.Stat(link, &here) != nil || unix.Stat(path, &there) != nil || here.Dev != there.Dev || here.Ino != there.Ino {
		return link
	}
	return path
}

// Random is the kernel's source of random bytes (getrandom(2)).
type Random struct{}

func (Random) Read(b []byte) (int, error) { return unix.Getrandom(b, 0) }
