package main

import (
	"strings"
	"testing"
	"time"
)

func TestCut(t *testing.T) {
	for _, c := range []struct {
		line  string
		width int
		want  string
	}{
		{"abcdef", 0, "abcdef"}, // not known: not cut
		{"abcdef", -1, "abcdef"},
		{"abcdef", 1, "…"},
		{"abcdef", 2, "a…"},
		{"abcdef", 5, "abcd…"},
		{"abcdef", 6, "abcdef"},
		{"abcdef", 20, "abcdef"},
		{"", 1, ""}, {"a", 1, "a"}, {"", 0, ""},
		{"äöüß", 3, "äö…"},
		{"├─ 12", 4, "├─ …"},
		// Two columns each.
		{"漢字かな", 8, "漢字かな"},
		{"漢字かな", 7, "漢字か…"},
		{"漢字かな", 6, "漢字…"},
		{"漢字かな", 1, "…"},
		{"漢", 1, "…"}, {"漢", 2, "漢"},
		{"a漢字", 4, "a漢…"}, {"a漢字", 3, "a…"},
		{"🚀🚀🚀", 5, "🚀🚀…"},
		{"한글", 3, "한…"}, {"ＡＢ", 3, "Ａ…"},
		// None: they stand on the character before.
		{"e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
	} {
		if got := cut(c.line, c.width); got != c.want {
			t.Errorf("%q in %d columns is %q, want %q", c.line, c.width, got, c.want)
		}
	}
}

// Control characters in a command line must not reach a terminal.
func TestPlain(t *testing.T) {
	for s, want := range map[string]string{
		"":                         "",
		"sleep 10":                 "sleep 10",
		"\x1b[31mred\x1b[0m":       "·[31mred·[0m",
		"\x1b]0;title\x07":         "·]0;title·",
		"two\nlines\r\tand\x00":    "two·lines··and·",
		"\x9b31m":                  "\ufffd31m", // CSI in one byte is no UTF-8
		"\u009b31m":                "·31m",
		"\u202etxt.exe":            "·txt.exe", // would turn the line round
		"\u2028\u200b\ufeff\u00a0": "····",
		"\xff\xfe":                 "\ufffd\ufffd",
		"\x7f\b":                   "··",
		"übel 漢字 🚀":                "übel 漢字 🚀",
	} {
		if got := plain(s); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
	for r := rune(0); r < 0x110000; r++ {
		// Terminals act on C0, DEL and C1.
		if (r < ' ' || r >= 0x7f && r < 0xa0) && strings.ContainsRune(plain(string(r)), r) {
			t.Errorf("%U came through", r)
		}
	}
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 999 * time.Millisecond: "0s", 59 * time.Second: "59s",
		60 * time.Second: "1m00s", 3599 * time.Second: "59m59s",
		time.Hour: "1h00m", 24*time.Hour - time.Second: "23h59m",
		24 * time.Hour: "1d00h", 400*24*time.Hour + 5*time.Hour: "400d05h",
	} {
		if got := brief(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "-", 1023: "0 KiB", 4096: "4 KiB", 1<<20 - 1: "1023 KiB",
		1 << 20: "1.0 MiB", 1536 << 10: "1.5 MiB", 1 << 30: "1.0 GiB", 5 << 40: "5120.0 GiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[int]string{0: "0 processes", 1: "1 process", 2: "2 processes"} {
		if got := number(n, "process"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := number(3, "run"); got != "3 runs" {
		t.Error(got)
	}
}

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sleep", "10"}, "sleep 10"},
		{[]string{"a", "", "b"}, "a  b"},
		{nil, "[na·me]"}, // as ps shows a process without arguments
		{[]string{""}, "[na·me]"},
		{[]string{"", " "}, "[na·me]"},
		{[]string{"x\ny"}, "x·y"},
	} {
		if got := command(c.args, "na\x1bme"); got != c.want {
			t.Errorf("%q is shown as %q, want %q", c.args, got, c.want)
		}
	}
}
