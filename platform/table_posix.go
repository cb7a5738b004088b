//go:build linux || darwin

package platform

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"leash/internal/ledger"
	"leash/platform/posix"
)

func stateDirs() ([]*os.File, []error) { return posix.StateDirs() }

// own has nothing to do: a file says whose it is.
func (systemTable) own([]ledger.Entry) {}

// Width is how many columns a terminal has; 0 if it is none, or does not say.
func Width(f *os.File) int { return posix.Width(f) }

// IsTerminal reports whether a person may be looking.
func IsTerminal(f *os.File) bool { return posix.IsTerminal(f) }

// IgnoreBrokenPipes has writing to a pipe that nobody reads fail instead of
// ending us.
func IgnoreBrokenPipes() { signal.Ignore(syscall.SIGPIPE) }

// NobodyReads reports whether an error of writing says that nobody reads any more.
func NobodyReads(err error) bool { return errors.Is(err, syscall.EPIPE) }

// Shield holds back what a terminal or an impatient parent sends to end us,
// until what it returns is called.
func Shield() (release func()) {
	held := make(chan os.Signal, 1)
	signal.Notify(held, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	return func() {
		signal.Stop(held) // from now on they end us again
		select {
		case sig := <-held:
			syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		default:
		}
	}
}
