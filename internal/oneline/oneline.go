// Package oneline writes an error as one line for a person.
package oneline

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error writes "program: text" and a line feed. Both programs report errors with it, so that
// no argument, variable or file name can send escape sequences to a terminal or begin a line
// of a log.
func Error(w io.Writer, program string, err error) {
	fmt.Fprintln(w, program+": "+Plain(err.Error()))
}

// Plain shows what cannot be printed as Go quotes it: \n, \x1b, \u202e, and
// bytes that are no UTF-8 as \xNN.
func Plain(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch _, size := utf8.DecodeRuneInString(s[i:]); {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
