package owner

import (
	"math"
	"strings"
	"testing"
)

var good = map[string]Owner{
	"1:0:0:0": {PID: 1, Boot: "0"},
	"4242:1276251:0828eb69-4837-41f7-b766-68ac1fb50dca:4026531836": {
		PID: 4242, Start: 1276251, Boot: "0828eb69-4837-41f7-b766-68ac1fb50dca", NS: 4026531836},
	"2147483647:18446744073709551615:f:18446744073709551615": {
		PID: math.MaxInt32, Start: math.MaxUint64, Boot: "f", NS: math.MaxUint64},
}

func TestParse(t *testing.T) {
	for text, want := range good {
		if got, ok := Parse(text); !ok || got != want {
			t.Errorf("%q: %+v, %t", text, got, ok)
		}
		if got := want.String(); got != text {
			t.Errorf("%+v is written %q", want, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", ":", ":::", "1:2:3", "1:2:3:4:5", "1:2:3:4:", ":1:2:3:4", "1:2:3:4\n", " 1:2:3:4", "1:2:3: 4",
		"0:2:3:4", "-1:2:3:4", "+1:2:3:4", "01:2:3:4", "1:02:3:4", "1:2:3:04", "1_0:2:3:4", "0x1:2:3:4", "1.0:2:3:4",
		"2147483648:2:3:4", "1:18446744073709551616:3:4", "1:2:3:18446744073709551616",
		"1::3:4", "1:2::4", "1:2:3:", ":2:3:4", "1:2:G:4", "1:2:A:4", "1:2:a b:4", "1:2:../a:4", "1:2:a\x00:4", "1:2:ä:4",
		"1:2:" + strings.Repeat("a", maxLen) + ":4",
	} {
		if got, ok := Parse(text); ok {
			t.Errorf("%q gives %+v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for text := range good {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, ok := Parse(text)
		if !ok {
			return
		}
		if o.String() != text || o.PID < 1 || len(text) > maxLen || strings.ContainsAny(text, " \n\x00/") {
			t.Errorf("%q gives %+v, written %q", text, o, o)
		}
	})
}
