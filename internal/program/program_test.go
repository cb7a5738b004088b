package program

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
)

func TestHolds(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 200<<10)
	for name, c := range map[string]struct {
		text []byte
		want bool
	}{
		"empty":         {nil, false},
		"alone":         {mark, true},
		"at the end":    {append(bytes.Clone(long), mark...), true},
		"in the middle": {append(append(bytes.Clone(long[:64<<10-7]), mark...), long...), true},
		"cut off":       {append(bytes.Clone(long), mark[:len(mark)-1]...), false},
		"twice begun":   {append(bytes.Clone(mark[:20]), mark...), true},
		"behind much":   {append(make([]byte, limit), mark...), false},
	} {
		if got := Holds(bytes.NewReader(c.text)); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
		if len(c.text) < 1<<20 {
			if got := Holds(iotest.OneByteReader(bytes.NewReader(c.text))); got != c.want {
				t.Errorf("%s, byte by byte: %t", name, got)
			}
		}
	}
}

func TestMarked(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(other, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !Marked(self) || Marked(other) || Marked(filepath.Dir(other)) || Marked(other+"x") {
		t.Errorf("self %t, other %t, folder %t, nothing %t", Marked(self), Marked(other), Marked(filepath.Dir(other)), Marked(other+"x"))
	}
}
