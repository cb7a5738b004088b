//go:build linux

package posix

import (
	"os"
	"testing"

	"leash/internal/testkit"
)

func TestTerminal(t *testing.T) {
	_, tty := testkit.Terminal(t)
	for _, columns := range []int{0, 1, 80, 65535} { // 0: the width is unknown
		testkit.SetWidth(t, tty, columns)
		if !IsTerminal(tty) || Width(tty) != columns {
			t.Errorf("%d columns: %t, %d", columns, IsTerminal(tty), Width(tty))
		}
	}
}

func TestNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	closed, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []bool{true, false} {
		for _, f := range []*os.File{r, w, null, closed} {
			if IsTerminal(f) || Width(f) != 0 {
				t.Errorf("%s: %t, %d", f.Name(), IsTerminal(f), Width(f))
			}
		}
		if open {
			closed.Close()
		}
	}
}
