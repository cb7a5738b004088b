//go:build linux

package posix

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

func openedAt(t *testing.T) string {
	t.Helper()
	f, err := StateDir()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	name, err := os.Readlink("/proc/self/fd/" + itoa(int(f.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
	}
	return name
}

func TestStateDirIsMadePrivate(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	dir := t.TempDir()
	own := filepath.Join(dir, "a", "b", "state")
	t.Setenv("LEASH_STATE_DIR", own)
	for range 2 { // the second time it is there
		if got := openedAt(t); got != own {
			t.Errorf("%s instead of %s", got, own)
		}
	}
}

func TestStateDirOrder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if got, want := openedAt(t), filepath.Join(dir, "leash"); got != want {
		t.Errorf("%s instead of %s", got, want)
	}
	own := filepath.Join(dir, "own")
	t.Setenv("LEASH_STATE_DIR", own)
	if got := openedAt(t); got != own {
		t.Errorf("%s instead of %s", got, own)
	}
	// One that is not to be had is passed over.
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	if err := os.Chmod(filepath.Join(dir, "leash"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, runtime := range []string{dir, "relative", ""} {
		t.Setenv("XDG_RUNTIME_DIR", runtime)
		got := openedAt(t)
		if got != filepath.Join(dir, "cache", "leash") && (os.Geteuid() != 0 || got != "/run/leash") {
			t.Errorf("runtime folder %q: %s", runtime, got)
		}
	}
}

// Whoever else could write there could mislead us.
func TestStateDirRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	for _, mode := range []os.FileMode{0o701, 0o770, 0o750, 0o777, 0o704} {
		own := filepath.Join(dir, "mode"+mode.String())
		if err := os.Mkdir(own, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(own, mode); err != nil {
			t.Fatal(err)
		}
		refused(t, own)
	}
	if err := os.Mkdir(good, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	refused(t, link)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, file)
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, fifo)
	refused(t, filepath.Join(file, "below"))
	if os.Geteuid() == 0 {
		other := filepath.Join(dir, "other")
		if err := os.Mkdir(other, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(other, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		refused(t, other)
	}
	t.Setenv("LEASH_STATE_DIR", good) // and the good one is taken
	openedAt(t)
}

func refused(t *testing.T, dir string) {
	t.Helper()
	t.Setenv("LEASH_STATE_DIR", dir)
	if f, err := StateDir(); err == nil {
		f.Close()
		t.Errorf("%s was taken", dir)
	}
}
