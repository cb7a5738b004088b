package windows

import (
	"strings"
	"testing"
)

func TestCheckPipe(t *testing.T) {
	const p = `\\.\pipe\`
	for _, name := range []string{p + "x", `\\.\PIPE\myapp-1`, p + "a b", p + "ä/.@", p + strings.Repeat("ä", 256-len(p))} {
		if err := CheckPipe(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	const other = ` is not a pipe of this machine: begin it with \\.\pipe\`
	for name, want := range map[string]string{
		"":                           `""` + other,
		"@x":                         `"@x"` + other,
		"/run/x":                     `"/run/x"` + other,
		`\\.\pip`:                    `"\\\\.\\pip"` + other,
		`\\server\pipe\x`:            `"\\\\server\\pipe\\x"` + other,
		`//./pipe/x`:                 `"//./pipe/x"` + other,
		`x\\.\pipe\x`:                `"x\\\\.\\pipe\\x"` + other,
		p:                            `\\.\pipe\ alone is not a name: add one after it`,
		p + `a\b`:                    `"\\\\.\\pipe\\a\\b" holds a backslash or NUL behind \\.\pipe\`,
		p + "a\x00b":                 `"\\\\.\\pipe\\a\x00b" holds a backslash or NUL behind \\.\pipe\`,
		p + strings.Repeat("x", 248): "the name has 257 characters: it may have 256",
	} {
		if err := CheckPipe(name); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}
