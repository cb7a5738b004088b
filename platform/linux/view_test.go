//go:build linux

package linux

import (
	"os"
	"testing"
)

func TestOwnView(t *testing.T) {
	for _, c := range []struct {
		link, status string
		want         bool
	}{
		{"12", "Name:\tx\nNSpid:\t12\nNSpgid:\t12\n", true},
		{"12", "Name:\tx\n", true}, // before Linux 4.1
		{"4711", "Name:\tx\nNSpid:\t4711\t12\n", false},
		{"12", "Name:\tx\nNSpid:\t12\t12\nNSpgid:\t12\n", false}, // the same number by chance
		{"13", "Name:\tx\nNSpid:\t13\n", false},
		{"", "", false},
	} {
		if got := ownView(c.link, []byte(c.status), 12); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if err := CheckView(); err != nil {
		t.Error(err)
	}
}

func TestKernelThreads(t *testing.T) {
	for stat, want := range map[string]bool{
		"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0":        true,
		"7 (a) S 0 0 0 0) S 1 7 7 0 -1 4194560 0 0 0 0 0":    false,
		"7 (2129984 2129984 2129984) S 1 7 7 0 -1 4194560 0": false,
		"7 (x) S 1": false, "": false,
	} {
		if got := isKernelThread([]byte(stat)); got != want {
			t.Errorf("%q: %v", stat, got)
		}
	}
	if err := CheckProgram(os.Getpid()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile("/proc/2/comm"); err == nil && string(b) == "kthreadd\n" && CheckProgram(2) == nil {
		t.Error("kthreadd is taken for a program")
	}
}
