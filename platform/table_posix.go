//go:build linux || darwin

package platform

import (
	"errors"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"leash/internal/ledger"
	"leash/platform/posix"
)

func stateDirs() ([]*os.File, []error) { return posix.StateDirs() }

// own does nothing: here the owner of a record is the owner of its file.
func (systemTable) own([]ledger.Entry) {}

// Width is the number of columns of a terminal; 0 if f is not a terminal, or its width is
// unknown.
func Width(f *os.File) int { return posix.Width(f) }

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool { return posix.IsTerminal(f) }

// IgnoreBrokenPipes has a write to a pipe without a reader fail instead of ending
// this process.
func IgnoreBrokenPipes() { signal.Ignore(syscall.SIGPIPE) }

// IsBrokenPipe reports whether a write failed because the pipe has no reader any more.
func IsBrokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// Shield holds back the signals of a terminal or a parent that would end this process until
// the returned function is called.
func Shield() (release func()) {
	held := make(chan os.Signal, 1)
	signal.Notify(held, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	return func() {
		signal.Stop(held) // from here they end this process again
		select {
		case sig := <-held:
			syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		default:
		}
	}
}

// KillCommand is what a user types to ask a process to end.
func KillCommand(pid int) string { return "kill " + strconv.Itoa(pid) }
