//go:build windows

package windows

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	win "golang.org/x/sys/windows"
	"golang.org/x/term"
)

// Width is how many columns the window of a console has; 0 if it is none.
func Width(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// IsTerminal reports whether it is a console that understands escape sequences,
// as those of Windows 10 do if that is switched on ("Console Virtual Terminal
// Sequences"). To one that does not, nothing is written that a file would not get.
func IsTerminal(f *os.File) bool {
	h := win.Handle(f.Fd())
	var mode uint32
	if win.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return mode&win.ENABLE_VIRTUAL_TERMINAL_PROCESSING != 0 ||
		win.SetConsoleMode(h, mode|win.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

// IsBrokenPipe reports whether an error of writing says that nothing reads any more.
func IsBrokenPipe(err error) bool {
	return errors.Is(err, win.ERROR_BROKEN_PIPE) || errors.Is(err, win.ERROR_NO_DATA) || errors.Is(err, syscall.EPIPE)
}

// Shield holds back console events, and what the system sends at log-off, until
// what it returns is called. Then they end us as they would have.
func Shield() (release func()) {
	held := make(chan os.Signal, 1)
	signals := []os.Signal{syscall.SIGTERM}
	if hasConsole() { // else only we send ourselves one, by way of another's console
		signals = append(signals, os.Interrupt)
	}
	signal.Notify(held, signals...)
	return func() {
		signal.Stop(held)
		select {
		case <-held:
			win.ExitProcess(interrupted)
		default:
		}
	}
}

// interrupted is STATUS_CONTROL_C_EXIT, with which a console event ends a
// process.
const interrupted = 0xC000013A
