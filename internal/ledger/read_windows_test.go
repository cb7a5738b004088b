package ledger

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
)

func openDir(t *testing.T) *os.File {
	t.Helper()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

func TestRead(t *testing.T) {
	dir, first := openDir(t), sample()
	second := first
	second.Watchdog.PID++
	for _, r := range []Record{first, second} {
		if err := Save(dir, &r); err != nil {
			t.Fatal(err)
		}
	}
	leftover := second.Name() + torn
	if err := os.WriteFile(filepath.Join(dir.Name(), leftover), []byte("leash 1\nru"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it can be read again
		entries, unfinished, problems := Read(dir)
		if len(entries) != 2 || !reflect.DeepEqual(unfinished, []string{leftover}) || problems != nil {
			t.Fatalf("%v, %q, %v", entries, unfinished, problems)
		}
		for _, e := range entries {
			want := first
			if e.Watchdog == second.Watchdog {
				want = second
			}
			if !reflect.DeepEqual(e.Record, want) || e.Dir != dir || e.File != want.Name() {
				t.Errorf("%+v instead of %+v", e, want)
			}
		}
	}
}

// A file that is being read can be removed, and replaced a moment later.
func TestReadBlocksNoWriter(t *testing.T) {
	dir, r := openDir(t), sample()
	if err := Save(dir, &r); err != nil {
		t.Fatal(err)
	}
	f, _, err := openFile(dir, r.Name(), maxSize)
	if err != nil {
		t.Fatal(err)
	}
	waits := pause
	defer func() { pause = waits }()
	pause = func() { f.Close() } // the reader has read it
	if err := Save(dir, &r); err != nil {
		t.Error(err)
	}
	f.Close()
	if f, _, err = openFile(dir, r.Name(), maxSize); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Remove(dir, r.Name()); err != nil {
		t.Error(err)
	}
}

// A file that another process has open exclusively is waited for, but not for ever.
func TestReadWaits(t *testing.T) {
	dir, r := openDir(t), sample()
	if err := Save(dir, &r); err != nil {
		t.Fatal(err)
	}
	alone := func() windows.Handle {
		name, _ := windows.UTF16PtrFromString(filepath.Join(dir.Name(), r.Name()))
		h, err := windows.CreateFile(name, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	waits := pause
	defer func() { pause = waits }()
	h := alone()
	pause = func() { windows.CloseHandle(h) }
	if entries, _, problems := Read(dir); len(entries) != 1 || problems != nil {
		t.Errorf("%v, %v", entries, problems)
	}
	h = alone()
	defer windows.CloseHandle(h)
	paused := 0
	pause = func() { paused++ }
	if entries, _, problems := Read(dir); len(entries) != 0 || len(problems) != 1 || paused != tries {
		t.Errorf("%v, %v after %d pauses", entries, problems, paused)
	}
}

// A file that is no record is reported once, is not followed, and does not affect the
// others.
func TestReadPassesOver(t *testing.T) {
	dir, r := openDir(t), sample()
	if err := Save(dir, &r); err != nil {
		t.Fatal(err)
	}
	whole := r.Append(nil)
	outside := filepath.Join(t.TempDir(), r.Name())
	if err := os.WriteFile(outside, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(b []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, b, 0o600) }
	}
	for name, c := range map[string]struct {
		create func(string) error
		want   string
	}{
		"dir.worker":     {func(path string) error { return os.Mkdir(path, 0o700) }, "no regular file"},
		"link.worker":    {func(path string) error { return os.Symlink(outside, path) }, "no regular file"},
		"mount.worker":   {func(path string) error { return junction(path, filepath.Dir(outside)) }, "no regular file"},
		"huge.worker":    {file(bytes.Repeat([]byte("x"), maxSize+1)), "larger than"},
		"empty.worker":   {file(nil), "not a record"},
		"torn.worker":    {file(whole[:len(whole)-1]), "torn"},
		"renamed.worker": {file(whole), "it holds the record"},
		"others.worker":  {func(path string) error { return givenAway(path, whole) }, "it belongs to another user"},
		"stray.txt":      {file(nil), "no file of the ledger"},
	} {
		path := filepath.Join(dir.Name(), name)
		err := c.create(path)
		if err == nil {
			_, err = os.Lstat(path)
		}
		if err != nil {
			t.Logf("%s cannot be made here: %v", name, err) // links need a right, or are unknown to Wine
			os.Remove(path)
			continue
		}
		entries, unfinished, problems := Read(dir)
		if len(entries) != 1 || entries[0].File != r.Name() || unfinished != nil {
			t.Errorf("%s: %v, %q", name, entries, unfinished)
		}
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), c.want) || !strings.Contains(problems[0].Error(), name) {
			t.Errorf("%s: %q", name, problems)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// junction makes a mount point, for which no right is needed.
func junction(path, to string) error {
	return exec.Command("cmd", "/c", "mklink", "/J", path, to).Run()
}

// givenAway makes a file that belongs to all users.
func givenAway(path string, b []byte) error {
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return err
	}
	other, err := windows.StringToSid("S-1-1-0")
	if err != nil {
		return err
	}
	if err := windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION, other, nil, nil, nil); err != nil {
		return err
	}
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	if is, _, err := sd.Owner(); err != nil || !is.Equals(other) {
		return errors.New("the system keeps the owner") // Wine does
	}
	return nil
}

// Links and mount points are known by their attribute.
func TestRegular(t *testing.T) {
	for attributes, want := range map[uint32]bool{
		windows.FILE_ATTRIBUTE_NORMAL: true, windows.FILE_ATTRIBUTE_ARCHIVE | windows.FILE_ATTRIBUTE_READONLY: true,
		windows.FILE_ATTRIBUTE_ARCHIVE | windows.FILE_ATTRIBUTE_REPARSE_POINT: false,
		windows.FILE_ATTRIBUTE_DIRECTORY:                                      false,
		windows.FILE_ATTRIBUTE_DEVICE:                                         false,
	} {
		if got := regular(attributes); got != want {
			t.Errorf("%#x: %t", attributes, got)
		}
	}
}

// Which users count as our own.
func TestOurs(t *testing.T) {
	me, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{me.User.Sid.String(): true, "S-1-5-32-544": true, "S-1-5-18": true,
		"S-1-1-0": false, "S-1-5-21-1-2-3-1001": false, "S-1-5-11": false, "S-1-5-32-545": false} {
		sid, err := windows.StringToSid(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := ours(sid); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}
