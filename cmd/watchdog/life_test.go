//go:build !windows

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"leash/platform"
)

// handedOver is a file without a name that has the text.
func handedOver(t *testing.T, text string) int {
	t.Helper()
	fd, err := platform.WriteUnnamed([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { platform.CloseFDs([]int{fd}) })
	return fd
}

func TestTakeOver(t *testing.T) {
	want := newSettings()
	want.run, want.workerID, want.lean, want.commandAt = true, "w 1", true, len(os.Args)-1
	t.Setenv(handover, strconv.Itoa(handedOver(t, want.pack())))
	s, again := takeOver()
	if s == nil || s.workerID != "w 1" || !again {
		t.Fatalf("%+v, %t", s, again)
	}
	if text, set := os.LookupEnv(handover); set {
		t.Errorf("%s is still set: %q", handover, text)
	}
}

// A value that another process left in the variable has no effect, and the descriptor that
// it names, if any, stays open and unread.
func TestTakeOverRefuses(t *testing.T) {
	good := newSettings().pack()
	named := filepath.Join(t.TempDir(), "settings")
	if err := os.WriteFile(named, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(named)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	if _, err := write.WriteString(good); err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(good, strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getpid()+1), 1)
	for name, text := range map[string]string{
		"empty": "", "blank": " ", "a word": "x", "settings": good, "negative": "-1", "not open": "999999",
		"a file with a name":   strconv.Itoa(int(file.Fd())),
		"a pipe":               strconv.Itoa(int(read.Fd())),
		"another process":      strconv.Itoa(handedOver(t, other)),
		"torn":                 strconv.Itoa(handedOver(t, good[:len(good)/2])),
		"nothing in it":        strconv.Itoa(handedOver(t, "")),
		"no such argument":     strconv.Itoa(handedOver(t, func() string { s := newSettings(); s.run, s.commandAt = true, 99; return s.pack() }())),
		"a descriptor below 0": strconv.Itoa(handedOver(t, func() string { s := newSettings(); s.keepFDs = []int{-3}; return s.pack() }())),
		"more behind":          strconv.Itoa(handedOver(t, good)) + " ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(handover, text)
			if s, again := takeOver(); s != nil || !again {
				t.Errorf("%q was taken: %+v, %t", text, s, again)
			}
			if _, set := os.LookupEnv(handover); set {
				t.Error("it is still set")
			}
		})
	}
	b := make([]byte, len(good))
	if n, err := read.Read(b); err != nil || string(b[:n]) != good {
		t.Errorf("of the pipe %q is left, %v", b[:n], err)
	}
	if _, err := file.Stat(); err != nil {
		t.Error(err)
	}
}
