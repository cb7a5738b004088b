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
	refused(t, own) // the folders above are not created
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("made: %v", left)
	}
	at(t, filepath.Dir(own), 0o755)
	t.Setenv("LEASH_STATE_DIR", own)
	for range 2 { // the second time it exists
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
	// A folder that is not available is skipped.
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("XDG_CACHE_HOME", at(t, filepath.Join(dir, "cache"), 0o700))
	if err := os.Chmod(filepath.Join(dir, "leash"), 0o775); err != nil {
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

// No cache folder is created in a home without one, nor /run on a system without it.
func TestStateDirWithoutACacheFolder(t *testing.T) {
	home := t.TempDir()
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", home)
	if os.Geteuid() != 0 {
		if got, want := openedAt(t), home+"/.leash"; got != want {
			t.Errorf("%s instead of %s", got, want)
		}
	}
	if _, err := os.Lstat(home + "/.cache"); err == nil {
		t.Error("the cache folder was made")
	}
	if dirs := defaults(); dirs[len(dirs)-1] != home+"/.leash" {
		t.Errorf("%q", dirs)
	}
}

// systemd's RuntimeDirectory= creates it with mode 0755: no other user can write in it.
func TestStateDirThatOthersMayRead(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []os.FileMode{0o755, 0o701, 0o750, 0o744, 0o711} {
		own := at(t, filepath.Join(dir, "mode"+mode.String()), mode)
		t.Setenv("LEASH_STATE_DIR", own)
		f, err := StateDir()
		if err != nil {
			t.Errorf("mode %v: %v", mode, err)
			continue
		}
		f.Close()
		if info, err := os.Stat(own); err != nil || info.Mode().Perm() != mode {
			t.Errorf("its mode %v is %v now", mode, info.Mode())
		}
		if names, problems := opened(t, dir); !slices.Equal(names, []string{own}) || problems != nil {
			t.Errorf("mode %v, to be read: %q, %v", mode, names, problems)
		}
	}
}

// Records written by another user could mislead us.
func TestStateDirRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	for _, mode := range []os.FileMode{0o720, 0o770, 0o775, 0o777, 0o702} {
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
	t.Setenv("LEASH_STATE_DIR", good) // and the good one is used
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

// opened are the folders that StateDirs opens below one folder: this machine has others.
func opened(t *testing.T, below string) (names []string, problems []error) {
	t.Helper()
	dirs, problems := StateDirs()
	for _, f := range dirs {
		if strings.HasPrefix(f.Name(), below) {
			names = append(names, f.Name())
		}
		f.Close()
	}
	problems = slices.DeleteFunc(problems, func(e error) bool { return !strings.Contains(e.Error(), below) })
	return names, problems
}

// The folder that the user names is the only one, and there is none until it is created.
func TestStateDirsOfTheUser(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	at(t, dir+"/leash", 0o700)
	own := dir + "/own"
	for _, name := range []string{own, own + "/below"} {
		t.Setenv("LEASH_STATE_DIR", name)
		if dirs, problems := StateDirs(); dirs != nil || problems != nil {
			t.Errorf("%s: %v, %v", name, dirs, problems)
		}
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	at(t, own, 0o700)
	t.Setenv("LEASH_STATE_DIR", own)
	if names, problems := opened(t, ""); !slices.Equal(names, []string{own}) || problems != nil {
		t.Errorf("%q, %v", names, problems)
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
	bad := []string{at(t, dir+"/open", 0o777), at(t, dir+"/group", 0o770), link, dangling, file, file + "/below"}
	for _, name := range bad {
		t.Setenv("LEASH_STATE_DIR", name)
		dirs, problems := StateDirs()
		if dirs != nil || len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), "LEASH_STATE_DIR: ") || !strings.Contains(problems[0].Error(), name) {
			t.Errorf("%s: %v, %v", name, dirs, problems)
		}
	}
}

// All folders that a watchdog may have used are opened, and none is created. One that cannot
// be trusted is reported, and the others are used all the same.
func TestStateDirsOpensAll(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LEASH_STATE_DIR", "")
	t.Setenv("XDG_RUNTIME_DIR", dir+"/run")
	t.Setenv("XDG_CACHE_HOME", dir+"/cache")
	if names, problems := opened(t, dir); names != nil || len(problems) > 0 {
		t.Errorf("%q, %v", names, problems)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("%v was made", entries)
	}
	first, second := at(t, dir+"/run/leash", 0o700), at(t, dir+"/cache/leash", 0o700)
	if names, problems := opened(t, dir); !slices.Equal(names, []string{first, second}) || len(problems) > 0 {
		t.Errorf("%q, %v", names, problems)
	}
	at(t, first, 0o775)
	names, problems := opened(t, dir)
	if !slices.Equal(names, []string{second}) || len(problems) != 1 || !strings.Contains(problems[0].Error(), first) {
		t.Errorf("%q, %v", names, problems)
	}
	t.Setenv("XDG_RUNTIME_DIR", "relative")
	if names, problems = opened(t, dir); !slices.Equal(names, []string{second}) || len(problems) > 0 {
		t.Errorf("%q, %v", names, problems)
	}
}

// Root reads another user's folder, but its watchdogs write nothing there.
func TestStateDirOfAnotherUser(t *testing.T) {
	testkit.NeedRoot(t)
	dir := at(t, t.TempDir()+"/other", 0o700)
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	refused(t, dir)
	if names, problems := opened(t, dir); !slices.Equal(names, []string{dir}) || problems != nil {
		t.Errorf("%q, %v", names, problems)
	}
	at(t, dir, 0o770)
	if names, problems := opened(t, dir); names != nil || len(problems) != 1 {
		t.Errorf("one that others may write in: %q, %v", names, problems)
	}
}

// A user's folder must belong to that user or to root.
func TestOpenPrivateOfAnotherUser(t *testing.T) {
	testkit.NeedRoot(t)
	dir := at(t, t.TempDir()+"/leash", 0o700)
	for _, c := range []struct {
		owner, wanted int
		ok            bool
	}{{0, 0, true}, {0, 65534, true}, {65534, 65534, true}, {65534, 0, false}, {65533, 65534, false}} {
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
