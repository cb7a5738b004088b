package flagvalue

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Explain says what is wrong with a call as its caller sees it: a flag without
// a value is told what values there are, and a value that came from the
// environment is told by its variable. choices holds, by flag, the words that it
// takes. given are the flags on the command line; nil if kong itself refused the
// call: then it says where a value came from.
func Explain(err error, flags []*kong.Flag, choices map[string]string, given map[string]bool) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, f := range flags {
		name := "--" + f.Name
		wrong, ok := strings.CutPrefix(text, name+": ")
		if !ok {
			continue
		}
		if next, ok := missing(wrong); ok {
			how := "write " + name + "=" + f.FormatPlaceHolder()
			if words := choices[name]; words != "" {
				how = words
			}
			return fmt.Errorf("%s: the value is missing%s: %s", name, next, how)
		}
		variable := variable(f)
		before, _, from := strings.Cut(wrong, " (from envar "+variable+"=")
		if variable != "" && (from || given != nil && !given[name]) {
			return fmt.Errorf("%s: %s", variable, before)
		}
	}
	return err
}

// missing reads kong's words for a flag that nothing follows, or another flag.
// A negative number is a value all the same, that has to be written otherwise.
func missing(wrong string) (next string, ok bool) {
	if !strings.HasPrefix(wrong, "expected ") {
		return "", false
	}
	if strings.HasSuffix(wrong, ` value but got "EOL" (<EOL>)`) {
		return "", true
	}
	_, token, _ := strings.Cut(wrong, " value but got ")
	token, _, ok = strings.Cut(token, " (long flag)")
	return " before " + token, ok
}

// variable is the one that a flag's value may have come from, if it is set.
func variable(f *kong.Flag) string {
	for _, name := range f.Tag.Envs {
		if os.Getenv(name) != "" {
			return name
		}
	}
	return ""
}

// Unknown says that there is no such flag, and which ones are like it.
func Unknown(flag string, flags []*kong.Flag) error {
	name, _, _ := strings.Cut(flag, "=")
	bare := strings.TrimLeft(name, "-")
	var near []string
	for _, f := range flags {
		if bare != "" && (strings.HasPrefix(f.Name, bare) || distance(f.Name, bare) <= 2) {
			near = append(near, fmt.Sprintf("%q", "--"+f.Name))
		}
	}
	slices.Sort(near)
	text := "unknown flag " + name
	switch len(near) {
	case 0:
	case 1:
		text += ", did you mean " + near[0] + "?"
	default:
		text += ", did you mean one of " + strings.Join(near, ", ") + "?"
	}
	return errors.New(text)
}

// distance counts the letters to insert, to leave out, to change and to swap
// with their neighbours (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
		for j := range b {
			rows[i][j+1] = j + 1
		}
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 0
			if a[i-1] != b[j-1] {
				change = 1
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
