//go:build linux

package linux

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOwnView(t *testing.T) {
	for _, c := range []struct {
		link   string
		spaces int
		want   bool
	}{
		{"12", 1, true},
		{"12", 0, true}, // before Linux 4.1
		{"4711", 2, false},
		{"12", 2, false}, // the same PID by chance
		{"13", 1, false},
		{"", 0, false},
	} {
		if got := ownView(c.link, status{Spaces: c.spaces}, 12); got != c.want {
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

// Where NSpid is missing (before Linux 4.1), no other process counts as one in our namespace.
func TestSameNamespace(t *testing.T) {
	k := newTestKernel(t)
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	const user = "Uid:\t0\t0\t0\t0\n"
	for text, want := range map[string]bool{
		user + "NSpid:\t12\n": true, user + "NSpid:\t12\t3\n": false, user: false, "": false,
	} {
		if err := os.WriteFile(filepath.Join(dir.Name(), "status"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := k.sameNamespace(int(dir.Fd()), pathOf("status")); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
	if k.sameNamespace(int(dir.Fd()), pathOf("none")) {
		t.Error("one that cannot be read counts as ours")
	}
}
