package darwin

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// SetParentDeathSignal sets none: macOS has no parent death signal. But
// until Listen, HUP and PIPE would end us. Ignoring lasts through execve(2).
func SetParentDeathSignal() error {
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	return nil
}

// CheckPID says what is wrong with a PID that a user gave, if anything. A
// process that does not exist (any more) is no mistake.
func CheckPID(pid int) error { return checkPID(pid) }

// Replace executes this very program anew in place, with the same PID and
// arguments. It returns only if it could not.
func Replace(env []string) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(path, os.Args, env)
}
