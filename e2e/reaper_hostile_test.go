//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/proc"
	"leash/internal/testkit"
)

// Whatever lies in the ledger, it is reported and passed over, and the records
// beside it still count.
func TestReaperAndHostileRecords(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p, living := startPool(t, "unlabelled", "run"), startPool(t, "unlabelled")
		orphans := p.kill()
		target := testkit.Start(t, exec.Command("sleep", "1000000"))
		real := readRecord(t, livingRecord(t, living))
		names := hostile(t, root().state, real, target)

		r := reap(t)
		r.expectEnded(t, orphans...)
		testkit.StillAlive(t, target.Ident)
		testkit.StillAlive(t, living.members()...)
		testkit.StillAlive(t, living.watchdogs...)
		for _, name := range names {
			if !strings.Contains(r.stderr, name) {
				t.Errorf("nothing is said about %s:\n%s", name, r.stderr)
			}
		}
		status, _, stderr := testkit.Run(t, reaper(t, "list"))
		if status != 0 {
			t.Errorf("list: status %d\n%s", status, stderr)
		}
	})
}

// hostile fills a directory with what is no record, or none to trust.
func hostile(t *testing.T, dir string, real []byte, target *testkit.Proc) (names []string) {
	t.Helper()
	n := 0
	next := func() (name, path string) { // a name as the ledger's files have
		n++
		name = fmt.Sprintf("4026531836-%d-77.worker", 100000+n)
		names = append(names, name)
		return name, filepath.Join(dir, name)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(content []byte, mode os.FileMode) (path string) {
		t.Helper()
		_, path = next()
		check(os.WriteFile(path, content, mode))
		check(os.Chmod(path, mode))
		return path
	}
	outside := filepath.Join(t.TempDir(), "record")
	check(os.WriteFile(outside, real, 0o600))
	_, path := next()
	check(unix.Mkfifo(path, 0o600))
	_, path = next()
	check(os.Symlink(outside, path))
	_, path = next()
	check(os.Symlink("/dev/zero", path))
	_, path = next()
	check(unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))) // /dev/zero
	_, path = next()
	check(os.Mkdir(path, 0o700))
	check(os.Truncate(put(real, 0o600), 1<<30)) // sparse
	put(nil, 0o600)
	put(real[:len(real)/2], 0o600)
	put(real[:len(real)-1], 0o600)
	put(slices.Concat(real, real), 0o600)
	put([]byte(strings.Replace(string(real), "worker ", "worker 1", 1)), 0o600)
	put([]byte("{\"worker\":1}\n"), 0o600)
	put([]byte(strings.Repeat("\xff\x00", 5000)), 0o600)
	put(real, 0o600) // whole, under another's name
	put(real, 0o666)
	put(real, 0o620)
	return names
}

// Records that are right in all but the file: others may write it, it has
// another name or is a link. Each would end a process, if it were believed.
func TestReaperAndRecordsOfTheWrongKind(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "unlabelled")
		file := livingRecord(t, p)
		orphans := p.kill()
		text := readRecord(t, file)
		outside := filepath.Join(t.TempDir(), filepath.Base(file))
		if err := os.Rename(file, outside); err != nil {
			t.Fatal(err)
		}
		for name, spoil := range map[string]func() error{
			"mode 0666": func() error { return errors.Join(os.WriteFile(file, text, 0o600), os.Chmod(file, 0o666)) },
			"mode 0620": func() error { return errors.Join(os.WriteFile(file, text, 0o600), os.Chmod(file, 0o620)) },
			"symlink":   func() error { return os.Symlink(outside, file) },
			"torn":      func() error { return os.WriteFile(file, text[:len(text)-1], 0o600) },
			"larger":    func() error { return errors.Join(os.WriteFile(file, text, 0o600), os.Truncate(file, 1<<30)) },
			"name":      func() error { return os.WriteFile(strings.Replace(file, "-", "-1", 1), text, 0o600) },
		} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{}, {"--unclaimed"}, {"--run-id", p.runID}} {
				reap(t, args...)
				if !allAlive(orphans) {
					t.Fatalf("reaper %q believed a record of the wrong kind: %s", args, name)
				}
			}
			for _, name := range records(t, root()) {
				if err := os.Remove(filepath.Join(root().state, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.WriteFile(file, text, 0o600); err != nil { // nothing wrong with it
			t.Fatal(err)
		}
		reap(t).expectEnded(t, orphans...)
	})
}

// In the directory of an ordinary user a record of somebody else's says
// nothing, not even one of root's; and root believes a record only as far as
// the rights of the user go whose file it is.
func TestReaperAndRecordsOfOthers(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		a := ordinary(t, alice)
		hers := a.pool(t, newRunID(), plainWorker, "unlabelled")
		orphans := hers.kill()
		name := records(t, a)[0]
		file := filepath.Join(a.state, name)
		if err := errors.Join(os.Chown(file, 0, 0), os.Chmod(file, 0o644)); err != nil { // she may read it
			t.Fatal(err)
		}
		r := a.reap(t)
		testkit.StillAlive(t, orphans...)
		if !strings.Contains(r.stderr, name) {
			t.Errorf("nothing is said about a file of somebody else's:\n%s", r.stderr)
		}

		// A record of hers, in root's ledger, names a process of root's.
		victim := testkit.Start(t, exec.Command("sleep", "1000000"))
		if err := os.Mkdir(root().state, 0o700); err != nil {
			t.Fatal(err)
		}
		rewrite(t, file, root().state, func(r *ledger.Record) {
			r.Worker = identity(t, victim.Ident)
			r.Group, r.Session = victim.PID, sessionOf(t, victim.PID)
		}, alice)
		for _, args := range [][]string{{}, {"--unclaimed"}, {"--run-id", hers.runID}} {
			reap(t, args...)
			testkit.StillAlive(t, victim.Ident)
		}

		// It was the owner of the file that mattered, both times.
		rewrite(t, file, root().state, func(r *ledger.Record) {
			r.Worker = identity(t, victim.Ident)
			r.Group, r.Session = victim.PID, sessionOf(t, victim.PID)
		}, 0)
		reap(t).expectEnded(t, victim.Ident)
		if err := os.Chown(file, alice, alice); err != nil {
			t.Fatal(err)
		}
		a.reap(t).expectEnded(t, orphans...)
	})
}

// A record of another boot says nothing of the processes of this one: it is
// swept, and whoever has the numbers lives.
func TestReaperSweepsRecordsOfAnotherBoot(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "unlabelled")
		orphans := p.kill()
		file := filepath.Join(root().state, records(t, root())[0])
		rewrite(t, file, root().state, func(r *ledger.Record) {
			r.Boot = "00000000-0000-4000-8000-000000000000"
		}, 0)
		r := reap(t, "--unclaimed")
		testkit.StillAlive(t, orphans...)
		for _, id := range orphans {
			if a := r.process(id.PID).Action; a != "" && a != "none" {
				t.Errorf("action %q on the word of another boot", a)
			}
		}
		if left := records(t, root()); len(left) != 0 {
			t.Errorf("not swept: %q", left)
		}
	})
}

// What a watchdog was writing when it was killed is swept too.
func TestReaperSweepsUnfinishedRecords(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "guard")
		file := livingRecord(t, p)
		p.kill()
		if err := os.Rename(file, file+".new"); err != nil {
			t.Fatal(err)
		}
		reap(t, "--unclaimed")
		if left := records(t, root()); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// identity is what a record says of a process.
func identity(t *testing.T, id testkit.Ident) proc.ID {
	t.Helper()
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
		t.Fatal(err)
	}
	if fs.Type != unix.PID_FS_MAGIC {
		st.Ino = 0 // an older kernel: all handles have the same
	}
	return proc.ID{PID: id.PID, Start: id.Start, Inode: st.Ino}
}

func sessionOf(t *testing.T, pid int) int {
	t.Helper()
	sid, err := unix.Getsid(pid)
	if err != nil {
		t.Fatal(err)
	}
	return sid
}

// livingRecord is the file of the pool's only record.
func livingRecord(t *testing.T, p *pool) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.user.state, "*-"+itoa(p.watchdogs[0].PID)+"-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("records %q, %v", files, err)
	}
	return files[0]
}

func readRecord(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Parse(text); err != nil {
		t.Fatal(err)
	}
	return text
}

// rewrite changes a record and saves it into a directory, as a file of uid's.
func rewrite(t *testing.T, file, to string, change func(*ledger.Record), uid int) {
	t.Helper()
	record, err := ledger.Parse(readRecord(t, file))
	if err != nil {
		t.Fatal(err)
	}
	change(&record)
	dir, err := os.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := ledger.Save(dir, &record); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(to, record.Name()), uid, uid); err != nil {
		t.Fatal(err)
	}
}
