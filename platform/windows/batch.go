package windows

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// maxBatchLine is the most that cmd.exe reads, in UTF-16 ("Command prompt line
// string limitation"). What is cut off may be the end of a quote.
const maxBatchLine = 8191

// isBatch reports whether a program is a batch file to CreateProcess, which has
// cmd.exe run it. Blanks and full stops at the end of a name are nothing to the
// system ("Naming Files, Paths, and Namespaces").
func isBatch(path string) bool {
	path = strings.ToLower(strings.TrimRight(path, " ."))
	return strings.HasSuffix(path, ".bat") || strings.HasSuffix(path, ".cmd")
}

// batchLine is the command line with which cmd.exe runs a batch file. Left to
// CreateProcess, the arguments would be quoted for programs written in C, and
// cmd.exe, which reads them first, would take parts of them for commands
// (CVE-2024-24576). Between double quotes it understands everything literally but
// the quote itself, % (variables, which no quoting prevents) and the ends of
// lines: arguments with these are refused. /v:off does the same for !, and /d
// passes over what the registry says is to be run first ("cmd").
//
// What the batch file does with its arguments is not checked.
func batchLine(path string, args []string) (string, error) {
	var line strings.Builder
	// /s: these outer quotes, and no others, are taken off.
	line.WriteString(`cmd.exe /d /e:on /v:off /s /c "`)
	path = strings.ReplaceAll(path, "/", `\`) // else a switch to cmd.exe
	for i, arg := range append([]string{path}, args...) {
		if bad := strings.IndexAny(arg, "\"%\r\n\x00"); bad >= 0 {
			what := fmt.Sprintf("argument %d", i)
			if i == 0 {
				what = "its path"
			}
			return "", fmt.Errorf("a batch file cannot be given %q safely, which %s holds: start the program that it starts, or pass the value in the environment", arg[bad], what)
		}
		if i > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(quotedForBatch(arg, i == 0))
	}
	line.WriteByte('"')
	if n := len(utf16.Encode([]rune(line.String()))); n > maxBatchLine {
		return "", fmt.Errorf("the command line has %d characters, and a batch file can be given %d: pass values in files, or in the environment", n, maxBatchLine)
	}
	return line.String(), nil
}

// quotedForBatch quotes all that is not plainly harmless. Backslashes before the
// last quote are doubled, for the program to which the batch file may pass the
// argument on as it is.
func quotedForBatch(arg string, always bool) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`#$*+-./:?@\_`, r)
	}
	if !always && arg != "" && strings.IndexFunc(arg, func(r rune) bool { return !plain(r) }) < 0 {
		return arg
	}
	slashes := len(arg) - len(strings.TrimRight(arg, `\`))
	return `"` + arg + strings.Repeat(`\`, slashes) + `"`
}
