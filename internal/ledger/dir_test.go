//go:build linux

package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// open makes an empty ledger.
func open(t *testing.T) *os.File {
	t.Helper()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

func save(t *testing.T, dir *os.File, r Record) {
	t.Helper()
	if err := Save(dir, &r); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir *os.File) []string {
	t.Helper()
	entries, err := os.ReadDir(dir.Name())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSaveReadRemove(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	dir, first := open(t), sample()
	second := first
	second.Watchdog.PID++
	save(t, dir, first)
	save(t, dir, second)
	first.Ending, first.Seen = false, first.Seen+1
	save(t, dir, first) // over what is there
	for range 2 {       // it can be read again
		entries, unfinished, problems := Read(dir)
		if len(entries) != 2 || unfinished != nil || problems != nil {
			t.Fatalf("%v, %q, %v", entries, unfinished, problems)
		}
		for _, e := range entries {
			want := first
			if e.Watchdog == second.Watchdog {
				want = second
			}
			want.UID = uint32(os.Geteuid())
			if !reflect.DeepEqual(e.Record, want) || e.Dir != dir || e.File != want.Name() {
				t.Errorf("%+v instead of %+v", e, want)
			}
		}
	}
	info, err := os.Stat(filepath.Join(dir.Name(), first.Name()))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	for range 2 { // the second time it is removed already
		must(t, Remove(dir, first.Name()))
	}
	if got := names(t, dir); !slices.Equal(got, []string{second.Name()}) {
		t.Errorf("left: %q", got)
	}
}

// The unfinished file of a killed watchdog does not keep another from writing.
func TestSaveOverALeftover(t *testing.T) {
	dir, r := open(t), sample()
	leftover := filepath.Join(dir.Name(), r.Name()+torn)
	must(t, os.WriteFile(leftover, []byte("leash 1\nru"), 0o600))
	entries, unfinished, problems := Read(dir)
	if entries != nil || problems != nil || !slices.Equal(unfinished, []string{r.Name() + torn}) {
		t.Errorf("%v, %q, %v", entries, unfinished, problems)
	}
	save(t, dir, r)
	// A link in its place is not followed.
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, []byte("precious"), 0o600))
	must(t, os.Symlink(victim, leftover))
	save(t, dir, r)
	if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{r.Name()}) {
		t.Errorf("there are %q", got)
	}
}

func TestWhatCannotBeSaved(t *testing.T) {
	dir, r := open(t), sample()
	must(t, os.Mkdir(filepath.Join(dir.Name(), r.Name()), 0o700)) // in its place
	if err := Save(dir, &r); err == nil || !strings.Contains(err.Error(), filepath.Join(dir.Name(), r.Name())) {
		t.Errorf("the error must name the file: %v", err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{r.Name()}) {
		t.Errorf("half a record is left: %q", got)
	}
	if err := Remove(dir, r.Name()); err == nil {
		t.Error("a directory was removed")
	}
	r.WorkerID = strings.Repeat("x", maxSize)
	if err := Save(dir, &r); err == nil {
		t.Error("a huge record was saved")
	}
	gone := open(t)
	must(t, os.Remove(gone.Name()))
	r = sample()
	if err := Save(gone, &r); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a directory that was removed: %v", err)
	}
}

// A file that is no record is reported once, is neither followed nor blocks, and does not
// affect the others.
func TestReadPassesOver(t *testing.T) {
	dir, r := open(t), sample()
	save(t, dir, r)
	whole, err := os.ReadFile(filepath.Join(dir.Name(), r.Name()))
	must(t, err)
	outside := filepath.Join(t.TempDir(), r.Name())
	must(t, os.WriteFile(outside, whole, 0o600))
	path := func(name string) string { return filepath.Join(dir.Name(), name) }
	file := func(b []byte, mode os.FileMode) func(string) error {
		return func(name string) error {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				return err
			}
			return os.Chmod(name, mode)
		}
	}
	for name, create := range map[string]func(string) error{
		"link.worker":     func(name string) error { return os.Symlink(outside, name) },
		"dangling.worker": func(name string) error { return os.Symlink(name+"x", name) },
		"fifo.worker":     func(name string) error { return unix.Mkfifo(name, 0o600) },
		"socket.worker":   bindSocket,
		"device.worker":   func(name string) error { return unix.Mknod(name, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) },
		"dir.worker":      func(name string) error { return os.Mkdir(name, 0o700) },
		"huge.worker":     file(bytes.Repeat([]byte("x"), maxSize+1), 0o600),
		"empty.worker":    file(nil, 0o600),
		"torn.worker":     file(whole[:len(whole)-1], 0o600),
		"renamed.worker":  file(whole, 0o600),
		"group.worker":    file(whole, 0o620),
		"world.worker":    file(whole, 0o602),
		"stray\n":         file(nil, 0o600),
	} {
		if err := create(path(name)); err != nil {
			if name == "device.worker" && os.Geteuid() != 0 {
				continue
			}
			t.Fatalf("%s: %v", name, err)
		}
		entries, unfinished, problems := Read(dir)
		if len(entries) != 1 || entries[0].File != r.Name() || unfinished != nil {
			t.Errorf("%s: %v, %q", name, entries, unfinished)
		}
		if len(problems) != 1 || strings.Contains(problems[0].Error(), "\n") || !strings.Contains(problems[0].Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %q", name, problems)
		}
		must(t, os.Remove(path(name)))
	}
	for _, name := range []string{"table", "table.new", "table.lock"} { // not the ledger's
		must(t, os.WriteFile(path(name), nil, 0o600))
	}
	if entries, _, problems := Read(dir); len(entries) != 1 || problems != nil {
		t.Errorf("%v, %v", entries, problems)
	}
}

func bindSocket(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrUnix{Name: name})
}

// Root reads the records of other users, and learns their owners.
func TestOwnerOfTheFile(t *testing.T) {
	testkit.NeedRoot(t)
	dir, r := open(t), sample()
	save(t, dir, r)
	must(t, os.Chown(filepath.Join(dir.Name(), r.Name()), 65534, 65534))
	entries, _, problems := Read(dir)
	if len(entries) != 1 || entries[0].UID != 65534 || problems != nil {
		t.Errorf("%v, %v", entries, problems)
	}
}

// Fewer files are read of another user's directory than of our own.
func TestForeignDirectoryIsBounded(t *testing.T) {
	testkit.NeedRoot(t)
	dir, r := open(t), sample()
	for i := range maxForeign + 10 {
		r.Watchdog.PID = 1000 + i
		save(t, dir, r)
	}
	if entries, _, problems := Read(dir); len(entries) != maxForeign+10 || problems != nil {
		t.Errorf("%d of our own, %v", len(entries), problems)
	}
	must(t, dir.Chown(65534, 65534))
	if entries, _, problems := Read(dir); len(entries) != 0 || len(problems) == 0 || !errors.Is(problems[0], errForeign) {
		t.Errorf("%d of ours in another's, %v", len(entries), problems)
	}
	for _, name := range names(t, dir) {
		must(t, os.Chown(filepath.Join(dir.Name(), name), 65534, 65534))
	}
	if entries, _, problems := Read(dir); len(entries) != maxForeign || len(problems) != 1 {
		t.Errorf("%d of another's, %v", len(entries), problems)
	}
}

// The records of a watchdog of several workers differ in the part, which is in the file name
// alone.
func TestRecordsOfOneWatchdog(t *testing.T) {
	dir, first := open(t), sample()
	first.Part = 1
	second := first
	second.Part, second.WorkerID, second.Worker.PID = 12, "another", second.Worker.PID+1
	save(t, dir, first)
	save(t, dir, second)
	entries, unfinished, problems := Read(dir)
	if len(entries) != 2 || unfinished != nil || problems != nil {
		t.Fatalf("%v, %q, %v", entries, unfinished, problems)
	}
	for _, e := range entries {
		want := first
		if e.Part == second.Part {
			want = second
		}
		want.UID = uint32(os.Geteuid())
		if !reflect.DeepEqual(e.Record, want) || e.File != want.Name() {
			t.Errorf("%+v instead of %+v", e, want)
		}
	}
	must(t, Remove(dir, first.Name()))
	if list := names(t, dir); !slices.Equal(list, []string{second.Name()}) {
		t.Errorf("%q", list)
	}
	for _, name := range []string{strings.Replace(second.Name(), "-12.", "-0.", 1), strings.Replace(second.Name(), "-12.", "-012.", 1),
		strings.Replace(second.Name(), "-12.", "-x.", 1)} {
		must(t, os.Rename(filepath.Join(dir.Name(), second.Name()), filepath.Join(dir.Name(), name)))
		if entries, _, problems := Read(dir); len(entries) != 0 || len(problems) != 1 {
			t.Errorf("%s: %v, %v", name, entries, problems)
		}
		must(t, os.Rename(filepath.Join(dir.Name(), name), filepath.Join(dir.Name(), second.Name())))
	}
}
