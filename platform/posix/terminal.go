//go:build unix

package posix

import (
	"os"

	"golang.org/x/term"
)

// Width is the number of columns of a terminal; 0 if f is not a terminal, or its width is
// unknown.
func Width(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
