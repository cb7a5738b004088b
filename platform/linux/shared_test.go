//go:build linux

package linux

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
)

// stateDir is the folder where the watchdogs of this test share their table.
func stateDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LEASH_STATE_DIR", dir)
	return dir
}

// findsUs fails unless the table is valid, was begun after asked, and contains this process.
func findsUs(t *testing.T, table []byte, asked uint64) {
	t.Helper()
	found := false
	err := eachRow(table, func(r row) {
		if int(r.PID) == os.Getpid() {
			found = int(r.PGID) == unix.Getpgrp()
		}
	})
	if err != nil || !found || tableBegan(table) <= asked || tableBegan(table) > monotonic() {
		t.Errorf("%v; we are in it: %t; begun at %d, requested at %d", err, found, tableBegan(table), asked)
	}
}

func TestSharedTable(t *testing.T) {
	dir := stateDir(t)
	k := newTestKernel(t)
	asked := monotonic()
	first, _ := k.sharedTable()
	findsUs(t, first, asked)
	written, err := os.ReadFile(filepath.Join(dir, tableFile))
	if err != nil || !bytes.Equal(written, first) {
		t.Errorf("%d bytes were written, %d handed out, %v", len(written), len(first), err)
	}
	// A later search needs a later scan, which must contain processes started since.
	p, asked := sleeper(t), monotonic()
	second, _ := k.sharedTable()
	findsUs(t, second, asked)
	found := false
	eachRow(second, func(r row) { found = found || int(r.PID) == p.PID })
	if !found {
		t.Error("an old table was used for a new search")
	}
	for _, name := range []string{tableFile, tableLock} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestTableFile(t *testing.T) {
	name := stateDir(t)
	dir, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if b, began := readTable(dir); b != nil || began != 0 {
		t.Errorf("no table yet: %x of %d", b, began)
	}
	good := encodeTable(99, []row{{1, 2, 3, 4}, {5, 6, 7, 8}})
	// A writer that was killed left half a table, which must not stop other processes.
	if err := os.WriteFile(filepath.Join(name, tableNew), good[:30], 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the file exists
		writeTable(dir, good)
		if b, began := readTable(dir); !bytes.Equal(b, good) || began != 99 {
			t.Errorf("%x of %d", b, began)
		}
	}
	if _, err := os.Lstat(filepath.Join(name, tableNew)); err == nil {
		t.Errorf("%s was left behind", tableNew)
	}
	for what, content := range map[string][]byte{
		"torn": good[:len(good)-1], "foreign": []byte("something else altogether, and long enough"), "empty": nil,
		"head only": good[:headSize], "no head": append(make([]byte, headSize), good[headSize:]...),
	} {
		if err := os.WriteFile(filepath.Join(name, tableFile), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if b, began := readTable(dir); b != nil || began != 0 {
			t.Errorf("%s: %x of %d", what, b, began)
		}
	}
}

// Only a regular file is opened, and none is created without O_CREAT.
func TestOpenShared(t *testing.T) {
	name := stateDir(t)
	dir, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Mkfifo(filepath.Join(name, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file  string
		flags int
		want  bool
	}{
		{"fifo", 0, false}, {".", 0, false}, {"file", 0, false}, {"file", unix.O_CREAT, true}, {"file", 0, true},
		{"file", unix.O_CREAT | unix.O_EXCL, false},
	} {
		fd := openShared(dir, c.file, c.flags)
		if (fd >= 0) != c.want {
			t.Errorf("%s with flags %#x: %d", c.file, c.flags, fd)
		}
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// A table that was scanned before the call, or that claims a later time than now, is not used.
func TestTableOfAnotherTime(t *testing.T) {
	dir := stateDir(t)
	k := newTestKernel(t)
	for what, began := range map[string]uint64{
		"long ago": 1, "just now": monotonic(), "in an hour": monotonic() + uint64(time.Hour), "never": 1<<64 - 1,
	} {
		if err := os.WriteFile(filepath.Join(dir, tableFile), encodeTable(began, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		asked := monotonic()
		t.Log(what)
		findsUs(t, shared(k), asked)
	}
}

// Whatever prevents sharing, the result is a scan of our own, and no link is followed. A file
// in the place of the table may be replaced.
func TestHostileStateDir(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("do not touch"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{tableFile, tableNew, tableLock} {
		for kind, place := range map[string]func(path string) error{
			"symlink":  func(path string) error { return os.Symlink(secret, path) },
			"dangling": func(path string) error { return os.Symlink(secret+".new", path) },
			"fifo":     func(path string) error { return unix.Mkfifo(path, 0o600) },
			"folder":   func(path string) error { return os.Mkdir(path, 0o700) },
			"socket":   func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
			"foreign":  func(path string) error { return os.WriteFile(path, []byte("no table"), 0o600) },
		} {
			t.Run(name+" is a "+kind, func(t *testing.T) {
				dir := stateDir(t)
				path := filepath.Join(dir, name)
				if err := place(path); err != nil {
					t.Fatal(err)
				}
				before, _ := os.Lstat(path)
				scans(t)
				scans(t)
				after, err := os.Lstat(path)
				same := err == nil && os.SameFile(before, after)
				if name == tableLock && !same {
					t.Errorf("it went from %v to %v, %v", before.Mode(), after, err)
				}
				if !same && err == nil && after.Mode() != 0o600 {
					t.Errorf("it was replaced by %v", after.Mode())
				}
			})
		}
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "do not touch" {
		t.Errorf("behind the symlink: %q, %v", b, err)
	}
	if _, err := os.Lstat(secret + ".new"); err == nil {
		t.Error("a file was made behind the symlink")
	}
	t.Run("folder of the wrong mode", func(t *testing.T) {
		dir := stateDir(t)
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		scans(t)
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("it was used: %v, %v", left, err)
		}
	})
	t.Run("folder is a symlink", func(t *testing.T) {
		dir := stateDir(t)
		link := dir + ".link"
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		t.Setenv("LEASH_STATE_DIR", link)
		scans(t)
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("it was followed: %v, %v", left, err)
		}
	})
	t.Run("file of another user", func(t *testing.T) {
		testkit.NeedRoot(t)
		for _, name := range []string{tableFile, tableNew, tableLock} {
			path := filepath.Join(stateDir(t), name)
			if err := os.WriteFile(path, []byte("another's"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, 65534, 65534); err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(path) // keeps the old file readable
			if err != nil {
				t.Fatal(err)
			}
			scans(t)
			if b, err := io.ReadAll(file); err != nil || string(b) != "another's" {
				t.Errorf("%s was written to: %q, %v", name, b, err)
			}
			file.Close()
		}
	})
}

// A valid table of another user is not trusted: it might name any process.
func TestTableOfAnotherUser(t *testing.T) {
	testkit.NeedRoot(t)
	name := stateDir(t)
	path := filepath.Join(name, tableFile)
	if err := os.WriteFile(path, encodeTable(99, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, began := readTable(dir); began != 99 {
		t.Errorf("our own: %d", began)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if b, began := readTable(dir); b != nil || began != 0 {
		t.Errorf("another's: %x of %d", b, began)
	}
}

// scans calls sharedTable with a deadline, because opening a FIFO, for example, would block
// for ever.
func scans(t *testing.T) {
	t.Helper()
	k, asked := newTestKernel(t), monotonic()
	done := make(chan []byte, 1)
	go func() { done <- shared(k) }()
	select {
	case table := <-done:
		findsUs(t, table, asked)
	case <-time.After(testkit.Patience):
		t.Fatal("it waits for something")
	}
}

// The holder of the lock may be stopped, so waiting for it is bounded.
func TestLockedForever(t *testing.T) {
	lock := holdLock(t, stateDir(t))
	defer lock.Close()
	began := time.Now()
	scans(t)
	if waited := time.Since(began); waited < patience {
		t.Errorf("it waited only %v for the lock: too short for another process's scan", waited)
	}
}

func holdLock(t *testing.T, dir string) *os.File {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(dir, tableLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return lock
}

// Processes that call at the same time get one scan. They wait for a lock that the test holds;
// if the machine is so slow that they stopped waiting, the test tries again.
func TestOneScanForAll(t *testing.T) {
	for try := range 20 {
		tables, inTime := askAtOnce(t, 4)
		if !inTime {
			t.Logf("try %d: too slow", try+1)
			continue
		}
		for _, table := range tables {
			if tableBegan(table) != tableBegan(tables[0]) {
				t.Errorf("two scans: begun at %d and %d", tableBegan(tables[0]), tableBegan(table))
			}
		}
		return
	}
	t.Error("the callers never waited at the same time: the machine is too slow")
}

// askAtOnce has n callers wait while the lock is held, and releases it when all have opened
// it: each called before that.
func askAtOnce(t *testing.T, n int) (tables [][]byte, inTime bool) {
	t.Helper()
	dir := stateDir(t)
	lock := holdLock(t, dir)
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, lock.Name(), unix.IN_OPEN|unix.IN_MASK_CREATE); err != nil {
		t.Fatal(err)
	}
	asked := monotonic()
	tables = make([][]byte, n)
	var users sync.WaitGroup
	for i := range n {
		k := newTestKernel(t)
		users.Go(func() { tables[i] = shared(k) })
		awaitReadable(t, watch) // one has opened it
		var event [unix.SizeofInotifyEvent]byte
		if _, err := unix.Read(watch, event[:]); err != nil {
			t.Fatal(err)
		}
	}
	lock.Close()
	users.Wait()
	took := time.Duration(monotonic() - asked)
	for _, table := range tables {
		findsUs(t, table, asked)
	}
	return tables, took < patience
}

func awaitReadable(t *testing.T, fd int) {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, int(testkit.Patience.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("nothing came: %v", err)
		}
		return
	}
}

func shared(k *Kernel) []byte {
	b, _ := k.sharedTable()
	return b
}
