//go:build linux

package posix

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
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

func at(t *testing.T, dir string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// opened is what StateDirs opens, apart from the folders that this machine has.
func opened(t *testing.T, below string) (names []string, problems []error, err error) {
	t.Helper()
	dirs, problems, err := StateDirs()
	for _, f := range dirs {
		if strings.HasPrefix(f.Name(), below) {
			names = append(names, f.Name())
		}
		f.Close()
	}
	problems = slices.DeleteFunc(problems, func(e error) bool { return !strings.Contains(e.Error(), below) })
	return names, problems, err
}

// The folder that the user names is the only one, and is none until it is made.
func TestStateDirsOfTheUser(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	at(t, dir+"/leash", 0o700)
	own := dir + "/own"
	for _, name := range []string{own, own + "/below"} {
		t.Setenv("LEASH_STATE_DIR", name)
		if dirs, problems, err := StateDirs(); dirs != nil || problems != nil || err != nil {
			t.Errorf("%s: %v, %v, %v", name, dirs, problems, err)
		}
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	at(t, own, 0o700)
	t.Setenv("LEASH_STATE_DIR", own)
	if names, problems, err := opened(t, ""); !slices.Equal(names, []string{own}) || problems != nil || err != nil {
		t.Errorf("%q, %v, %v", names, problems, err)
	}

	link := dir + "/link"
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	dangling := dir + "/dangling"
	if err := os.Symlink(dir+"/nothing", dangling); err != nil {
		t.Fatal(err)
	}
	file := dir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := []string{at(t, dir+"/open", 0o777), at(t, dir+"/group", 0o710), link, dangling, file, file + "/below"}
	if os.Geteuid() == 0 {
		other := at(t, dir+"/other", 0o700)
		if err := os.Chown(other, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		bad = append(bad, other)
	}
	for _, name := range bad {
		t.Setenv("LEASH_STATE_DIR", name)
		dirs, problems, err := StateDirs()
		if dirs != nil || problems != nil || err == nil || !strings.HasPrefix(err.Error(), "LEASH_STATE_DIR: ") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v, %v", name, dirs, problems, err)
		}
	}
}

// All that a watchdog may have used are looked into, and none is made. One that
// cannot be trusted is told, and the others count all the same.
func TestStateDirsLooksIntoAll(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("XDG_RUNTIME_DIR", dir+"/run")
	t.Setenv("XDG_CACHE_HOME", dir+"/cache")
	if names, problems, err := opened(t, dir); names != nil || problems != nil || err != nil {
		t.Errorf("%q, %v, %v", names, problems, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("%v was made", entries)
	}
	first, second := at(t, dir+"/run/leash", 0o700), at(t, dir+"/cache/leash", 0o700)
	if names, problems, err := opened(t, dir); !slices.Equal(names, []string{first, second}) || problems != nil || err != nil {
		t.Errorf("%q, %v, %v", names, problems, err)
	}
	at(t, first, 0o755)
	names, problems, err := opened(t, dir)
	if !slices.Equal(names, []string{second}) || len(problems) != 1 || !strings.Contains(problems[0].Error(), first) || err != nil {
		t.Errorf("%q, %v, %v", names, problems, err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "relative")
	if names, problems, err = opened(t, dir); !slices.Equal(names, []string{second}) || problems != nil || err != nil {
		t.Errorf("%q, %v, %v", names, problems, err)
	}
}

// Of another user a folder must be that user's own, not ours.
func TestOpenPrivateOfAnotherUser(t *testing.T) {
	testkit.NeedRoot(t)
	dir := at(t, t.TempDir()+"/leash", 0o700)
	for _, c := range []struct {
		owner, wanted int
		ok            bool
	}{{0, 0, true}, {0, 65534, false}, {65534, 65534, true}, {65534, 0, false}, {65533, 65534, false}} {
		if err := os.Chown(dir, c.owner, 0); err != nil {
			t.Fatal(err)
		}
		f, err := openPrivate(dir, c.wanted)
		if (err == nil) != c.ok {
			t.Errorf("of user %d for user %d: %v", c.owner, c.wanted, err)
		}
		if err == nil {
			f.Close()
		}
	}
}

func TestUsersOf(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1000", "1001", "0", "-5", "x", "12x", "leash"} {
		at(t, filepath.Join(dir, name), 0o755)
	}
	if got := usersOf(dir); !slices.Equal(got, []int{0, 1000, 1001}) {
		t.Error(got)
	}
	if got := usersOf(dir + "/nothing"); got != nil {
		t.Error(got)
	}
}
