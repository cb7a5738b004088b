//go:build linux

package linux

import (
	"os"
	"testing"
)

func TestResidentIn(t *testing.T) {
	if n, ok := residentIn([]byte("1000 3 2 1 0 4 0\n")); !ok || n != 3*uint64(os.Getpagesize()) {
		t.Error(n, ok)
	}
	for _, text := range []string{"", "1000", "1000 x", "1000 -3"} {
		if n, ok := residentIn([]byte(text)); ok {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func TestPssIn(t *testing.T) {
	const text = "00400000-7ffd1000 ---p 00000000 00:00 0 [rollup]\nRss:  5000 kB\nPss:  1234 kB\nPss_Dirty: 7 kB\n"
	if n, ok := pssIn([]byte(text)); !ok || n != 1234<<10 {
		t.Error(n, ok)
	}
	for _, text := range []string{"", "Rss: 1 kB\n", "Pss: kB\n", "Pss_Dirty: 7 kB\n", "Pss: x kB\n"} {
		if n, ok := pssIn([]byte(text)); ok {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func TestTotalMemory(t *testing.T) {
	if n := TotalMemory(); n < 1<<26 || n > 1<<50 {
		t.Error(n)
	}
}
