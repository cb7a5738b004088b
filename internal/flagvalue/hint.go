package flagvalue

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Explain rewrites an error for the user: for a flag without a value it lists the values,
// and a value from the environment is named by its variable. given are the flags on the
// command line; nil if kong itself refused the call, whose error then says where a value
// came from.
func Explain(err error, flags []*kong.Flag, given map[string]bool) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, f := range flags {
		name := "--" + f.Name
		if got, ok := outside(text, f); ok {
			if variable := variable(f); variable != "" && !Given(contextOf(err))[name] {
				name = variable
			}
			return fmt.Errorf("%s: %s is %s", name, got, neither(f.EnumSlice()))
		}
		wrong, ok := strings.CutPrefix(text, name+": ")
		if !ok {
			continue
		}
		if next, ok := missing(wrong); ok {
			how := "write " + name + "=" + f.FormatPlaceHolder()
			if f.Enum != "" {
				how = list(f.EnumSlice(), "or")
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

// IsEnum reports whether kong refused a value because it is not one of those
// that its flag takes.
func IsEnum(err error) bool { return strings.Contains(err.Error(), enumError) }

const enumError = " must be one of "

// outside parses kong's text for that error: the value, in quotes.
func outside(text string, f *kong.Flag) (got string, ok bool) {
	rest, ok := strings.CutPrefix(text, "--"+f.Name+enumError)
	if !ok || f.Enum == "" {
		return "", false
	}
	_, got, ok = strings.Cut(rest, " but got ")
	return got, ok
}

func neither(words []string) string {
	if len(words) == 2 {
		return "neither " + list(words, "nor")
	}
	return "none of " + list(words, "and")
}

// list joins words as in "a, b or c".
func list(words []string, last string) string {
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// Given are the flags on the command line, by name; the others have the value of
// a variable, or the default.
func Given(ctx *kong.Context) map[string]bool {
	given := map[string]bool{}
	if ctx == nil {
		return given
	}
	for _, p := range ctx.Path {
		if p.Flag != nil {
			given["--"+p.Flag.Name] = true
		}
	}
	return given
}

// contextOf is how far kong had parsed the call that it refused.
func contextOf(err error) *kong.Context {
	var p *kong.ParseError
	if errors.As(err, &p) {
		return p.Context
	}
	return nil
}

// missing parses kong's text for a flag without a value, or followed by another flag. A
// negative number is a value all the same, but must be written with =.
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

// variable is the set variable that a flag's value may have come from.
func variable(f *kong.Flag) string {
	for _, name := range f.Tag.Envs {
		if os.Getenv(name) != "" {
			return name
		}
	}
	return ""
}

// Unknown is the error for a flag that does not exist; it names similar ones.
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

// distance counts the letters to insert, delete, change and swap with their neighbours
// (optimal string alignment).
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
