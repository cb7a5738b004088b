package oneline

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		`run: C:\a b\worker.py: not "found"`: `run: C:\a b\worker.py: not "found"`,
		"a\nb\r\tc":                          `a\nb\r\tc`,
		"\x1b]0;x\a":                         `\x1b]0;x\x07`,
		"\x00\x7f":                           `\x00\x7f`,
		"\xff\xc3":                           `\xff\xc3`,
		"\u202eä世\u2028\u0085\u00a0":         `\u202eä世\u2028\u0085\u00a0`,
		"\U000e0001":                         `\U000e0001`,
		"\ufffd":                             "\ufffd",
	} {
		if got := Plain(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestError(t *testing.T) {
	var b bytes.Buffer
	Error(&b, "watchdog", errors.New("two\nlines"))
	if b.String() != "watchdog: two\\nlines\n" {
		t.Errorf("%q", b.String())
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("unexpected argument \x1b[2J\n\xff")
	f.Add("\u202e\U000e0001ä")
	f.Fuzz(func(t *testing.T, s string) {
		got := Plain(s)
		if i := strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q became %q", s, got)
		}
		if Plain(got) != got {
			t.Errorf("%q is changed again", got)
		}
	})
}
