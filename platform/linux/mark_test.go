//go:build linux

package linux

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseMark(t *testing.T) {
	const mark = uint64(markBase | 7<<32 | 9)
	for text, want := range map[string]uint64{
		"":                     0,
		"Max realtime timeout": 0,
		"Max realtime timeout      unlimited            unlimited            us\n":                       0,
		"Max realtime timeout      1000000              unlimited            us\n":                       0, // somebody's own
		fmt.Sprintf("Max realtime timeout      %d  unlimited            us\n", uint64(2*markBase)):       0,
		fmt.Sprintf("Limit   Soft Limit\nMax realtime timeout      %d  unlimited            us\n", mark): mark,
		fmt.Sprintf("Max cpu time  %d  unlimited\nMax realtime timeout      1  %d us\n", mark, mark):     0, // the soft limit counts
	} {
		if got := parseMark([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// Whatever the file says, a mark is in its range, and the line is the kernel's.
func FuzzParseMark(f *testing.F) {
	f.Add([]byte("Max realtime timeout      4611686018427387913  unlimited            us        \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		switch m := parseMark(b); {
		case m == 0:
		case m < markBase || m >= 2*markBase:
			t.Errorf("%d", m)
		case !strings.Contains(string(b), fmt.Sprint(m)):
			t.Errorf("%d is not in %q", m, b)
		}
	})
}
