package windows

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// pipePrefix is what the name of a pipe of this machine begins with ("Pipe
// Names"). maxPipeName is its longest whole name, in units of UTF-16.
const (
	pipePrefix  = `\\.\pipe\`
	maxPipeName = 256
)

// CheckPipe says what is wrong with the name of a pipe, if anything.
func CheckPipe(name string) error {
	rest := name[min(len(name), len(pipePrefix)):]
	switch n := len(utf16.Encode([]rune(name))); {
	case !strings.EqualFold(name[:len(name)-len(rest)], pipePrefix):
		return fmt.Errorf(`%q is not a pipe of this machine: begin it with %s`, name, pipePrefix)
	case rest == "":
		return errors.New(pipePrefix + " alone is not a name: add one after it")
	case strings.ContainsAny(rest, "\x00\\"):
		return fmt.Errorf(`%q holds a backslash or NUL behind %s`, name, pipePrefix)
	case n > maxPipeName:
		return fmt.Errorf("the name has %d characters: it may have %d", n, maxPipeName)
	}
	return nil
}
