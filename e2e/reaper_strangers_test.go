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

// In the directory of an ordinary user a record of another user counts for nothing, not
// even one of root's; and for root a record counts only as far as the rights of the
// file's owner go.
func TestReaperAndRecordsOfOthers(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		a := ordinary(t, alice)
		alices := a.pool(t, newRunID(), plainWorker, "unlabelled")
		orphans := alices.kill()
		name := records(t, a)[0]
		file := filepath.Join(a.state, name)
		if err := errors.Join(os.Chown(file, 0, 0), os.Chmod(file, 0o644)); err != nil { // alice may read it
			t.Fatal(err)
		}
		r := a.reap(t)
		testkit.StillAlive(t, orphans...)
		if !strings.Contains(r.stderr, name) {
			t.Errorf("nothing is said about a file of another user:\n%s", r.stderr)
		}

		// A record of alice's, in root's ledger, names a process of root's.
		victim := testkit.Start(t, exec.Command("sleep", "1000000"))
		if err := os.Mkdir(root().state, 0o700); err != nil {
			t.Fatal(err)
		}
		rewrite(t, file, root().state, func(r *ledger.Record) {
			r.Worker = identity(t, victim.Ident)
			r.Group, r.Session = victim.PID, sessionOf(t, victim.PID)
		}, alice)
		for _, args := range [][]string{{}, {"--unclaimed"}, {"--run-id", alices.runID}} {
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
// removed, and the processes that have the PIDs now live.
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

// identity is a process as a record names it.
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
	text := readFile(t, file)
	parseRecord(t, text)
	return text
}

func parseRecord(t *testing.T, text []byte) ledger.Record {
	t.Helper()
	record, err := ledger.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// recordOf is a record in the ledger of a user.
func recordOf(t *testing.T, u user, name string) ledger.Record {
	t.Helper()
	return parseRecord(t, readRecord(t, filepath.Join(u.state, name)))
}

// rewrite changes a record and saves it into a directory, as a file of uid's.
func rewrite(t *testing.T, file, to string, change func(*ledger.Record), uid int) {
	t.Helper()
	record := parseRecord(t, readRecord(t, file))
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

// A reaper of the host leaves the processes of another PID namespace alone,
// whatever it can read of them. A reaper inside ends them.
func TestReaperLeavesContainersAlone(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		testkit.Need(t, "nsenter")
		outside := startPool(t, "guard", "run")
		box := startBox(t)
		orphans := box.kill()

		check := func(r report) {
			t.Helper()
			testkit.StillAlive(t, orphans...)
			for _, id := range orphans {
				if p := r.process(id.PID); p.Action == "" || p.Action != "none" && p.Action != "skipped" {
					t.Errorf("process %d of another namespace: %+v", id.PID, p)
				}
			}
		}
		check(reap(t))
		check(reap(t, "--unclaimed"))
		check(reap(t, "--run-id", box.runID))
		testkit.StillAlive(t, outside.members()...)
		inside := reapWith(t, root().as(exec.Command("nsenter", "--target", itoa(box.init.PID), "--pid", "--mount",
			testkit.Reaper(t), "--json")))
		inside.expectState(t, box.runID, "dead")
		testkit.AwaitGone(t, orphans...)
		testkit.StillAlive(t, outside.members()...)
	})
}

// box is a pool inside a PID namespace below that of the test.
type box struct {
	*pool
	init testkit.Ident
}

// startBox starts a pool with other PIDs inside its namespace than outside.
func startBox(t *testing.T) *box {
	t.Helper()
	p := &pool{t: t, user: root(), runID: newRunID(), modes: []string{"guard", "run"}}
	cmd := p.user.as(exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", `"$@" <&3 & exec sleep 1000002`, "init",
		"sh", "-c", poolScript, "parent", testkit.Watchdog(t), p.runID, plainWorker, "guard", "run"))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	cmd.ExtraFiles, p.stdin = []*os.File{r}, w
	top := testkit.Start(t, cmd)
	r.Close()
	t.Cleanup(p.end)
	b := &box{pool: p}
	for range p.modes {
		b.children = append(b.children, b.outer(top, "child"))
		b.workers = append(b.workers, b.outer(top, "worker"))
		tell(t, p.stdin, "go")
		b.watchdogs = append(b.watchdogs, b.outer(top, "watchdog"))
		top.Stderr.AwaitEvent("watchdog.started")
	}
	b.init = innerPID(t, top, "1")
	for _, id := range testkit.Descendants(t, b.init.PID) {
		if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id.PID)); has(args, "parent") && !has(args, "init") {
			p.parent = &testkit.Proc{Ident: id}
		}
	}
	if p.parent == nil {
		t.Fatal("there is no parent in the namespace")
	}
	return b
}

// outer reads a PID of the namespace and finds its process.
func (b *box) outer(top *testkit.Proc, word string) testkit.Ident {
	b.t.Helper()
	return innerPID(b.t, top, strings.TrimSpace(top.Stdout.Await(word+" ")))
}

// innerPID finds the process below top that has that PID in its own namespace.
func innerPID(t *testing.T, top *testkit.Proc, pid string) testkit.Ident {
	t.Helper()
	for _, id := range testkit.Descendants(t, top.PID) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", id.PID))
		_, list, _ := strings.Cut(string(status), "\nNSpid:")
		list, _, _ = strings.Cut(list, "\n")
		if pids := strings.Fields(list); len(pids) == 2 && pids[1] == pid {
			testkit.Adopt(t, id)
			return id
		}
	}
	t.Fatalf("no process has PID %s inside", pid)
	return testkit.Ident{}
}

// The PID of a worker that has ended is reused, as a group and session too. The
// process that has it now lives, and so does its child.
func TestReaperAndAReusedWorkerPID(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "guard")
		p.kill()
		worker := p.workers[0]
		for _, id := range p.members() {
			if err := id.Signal(unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		testkit.AwaitGone(t, p.members()...)
		if len(records(t, root())) != 1 {
			t.Fatal("the worker's record should be there")
		}

		innocent, out := withPID(t, worker.PID, "setsid", "sh", "-c", "sleep 1000000 & echo child $!; wait")
		child := identOf(t, out, "child")
		if group, err := unix.Getpgid(child.PID); err != nil || group != worker.PID {
			t.Fatalf("group %d, %v", group, err)
		}
		for _, args := range [][]string{{}, {"--unclaimed"}, {"--run-id", p.runID}} {
			r := reap(t, args...)
			testkit.StillAlive(t, innocent, child)
			for _, id := range []testkit.Ident{innocent, child} {
				if a := r.process(id.PID).Action; a != "" && a != "none" && a != "skipped" {
					t.Errorf("%q: action %q for a bystander", args, a)
				}
			}
		}
		for _, id := range []testkit.Ident{innocent, child} {
			if err := id.Signal(unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		testkit.AwaitGone(t, innocent, child)
		reap(t)
		if left := records(t, root()); len(left) != 0 {
			t.Errorf("records of what is gone: %q", left)
		}
	})
}

// The PID of a parent that has ended is reused: the run is dead all the same, and
// the process that has it now lives.
func TestReaperAndAReusedOwnerPID(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "guard", "run")
		orphans := p.kill()
		innocent, _ := withPID(t, p.parent.PID, "sleep", "1000000")
		r := reap(t)
		r.expectState(t, p.runID, "dead")
		r.expectEnded(t, orphans...)
		testkit.StillAlive(t, innocent)
	})
}

// The PID of a watchdog that has exited is reused: nothing claims the worker.
func TestReaperAndAReusedWatchdogPID(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		p := startPool(t, "unlabelled")
		orphans := p.kill()
		innocent, _ := withPID(t, p.watchdogs[0].PID, "sleep", "1000000")
		reap(t).expectEnded(t, orphans...)
		testkit.StillAlive(t, innocent)
	})
}

// PIDs were seen to be taken anew within one tick of the start time, so PID
// and start time alone prove nothing.
func TestReaperAndTheSameTick(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		// A record to start from, of a run that is dead.
		p := startPool(t, "guard")
		members := p.kill()
		names := records(t, root())
		if len(names) != 1 {
			t.Fatalf("records %q", names)
		}
		record := recordOf(t, root(), names[0])
		var innocents []testkit.Ident
		for i, inode := range []uint64{1, 0} { // another process for certain; an old kernel's record
			innocent := testkit.Start(t, exec.Command("sleep", "1000000"))
			innocents = append(innocents, innocent.Ident)
			record.Worker = proc.ID{PID: innocent.PID, Start: innocent.Start, Inode: inode}
			record.Watchdog.Start += uint64(i + 1) // a file name of its own
			if inode == 0 {
				record.Group, record.Session = p.workers[0].PID, p.workers[0].PID
			} else {
				record.Group, record.Session = innocent.PID, innocent.PID
			}
			save(t, record)
		}
		r := reap(t)
		r.expectEnded(t, members...)
		testkit.StillAlive(t, innocents...)
	})
}

// save writes a record into the ledger of the test.
func save(t *testing.T, record ledger.Record) {
	t.Helper()
	dir, err := os.Open(root().state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := ledger.Save(dir, &record); err != nil {
		t.Fatal(err)
	}
}

// withPID starts a command that gets a PID which is free. That takes a PID
// namespace of the test's own, and a shell: it has one thread, and forks right
// after it has set the number.
func withPID(t *testing.T, want int, command ...string) (testkit.Ident, *testkit.Lines) {
	t.Helper()
	// Afterwards it is set far from the numbers of processes that have ended: a
	// thread of this program would get one, and a thread takes no signal.
	const script = `last=/proc/sys/kernel/ns_last_pid
		echo $(($1 - 1)) >$last; shift; "$@" & echo 20000 >$last; echo "PID $!"; wait`
	// A dead process has its PID until it is reaped.
	awaitCondition(t, "free number", func() bool { _, err := os.Stat("/proc/" + itoa(want)); return err != nil })
	var seen []string
	for range 100 {
		args := append([]string{"-c", script, "sh", itoa(want)}, command...)
		shell := testkit.Start(t, exec.Command("sh", args...))
		pid := shell.Stdout.Await("PID ")
		if pid == itoa(want) {
			return testkit.Identify(t, want), shell.Stdout
		}
		// Another process was faster: a thread of this program, say. The shell's
		// child ends with the test.
		seen = append(seen, pid)
	}
	slices.Sort(seen)
	t.Fatalf("no process got PID %d, but %v", want, slices.Compact(seen))
	return testkit.Ident{}, nil
}

const (
	alice = 61234
	bob   = 61235
)

// An ordinary user's reaper ends that user's dead runs alone.
func TestReaperOfAnOrdinaryUser(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		a, b := ordinary(t, alice), ordinary(t, bob)
		alices := a.pool(t, newRunID(), plainWorker, "guard", "run", "unlabelled")
		bobs := b.pool(t, alices.runID, plainWorker, "guard", "run")
		roots := startPool(t, "guard", "run")
		others := append(bobs.kill(), roots.kill()...)
		orphans := alices.kill()

		r := a.reap(t)
		r.expectState(t, alices.runID, "dead")
		r.expectEnded(t, orphans...)
		testkit.StillAlive(t, others...)
		for _, id := range others {
			if p := r.process(id.PID); p.Action != "" && p.Action != "none" {
				t.Errorf("of another user: %+v", p)
			}
		}
		if left := records(t, a); len(left) != 0 {
			t.Errorf("records of what is gone: %q", left)
		}

		// It was not the run of the others that saved them: root may end them.
		r = reap(t)
		r.expectEnded(t, others...)
	})
}

// Root's reaper ends the dead runs of every user. A run is an ID and a user: one ID may
// stand for a dead run of one user and a living one of another.
func TestReaperOfRootWithTwoUsers(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		a, b := ordinary(t, alice), ordinary(t, bob)
		shared := newRunID()
		alices := a.pool(t, shared, plainWorker, "guard", "run")
		bobs := b.pool(t, shared, plainWorker, "guard", "run")
		bobsDead := b.pool(t, newRunID(), plainWorker, "guard", "run")
		orphans := append(alices.kill(), bobsDead.kill()...)

		// The environment of a process claims that it belongs to another user's
		// run, and that the run is dead. That holds for its own user alone.
		liar := a.labelled(t, "LEASH_RUN_ID="+shared, "LEASH_RUN_OWNER="+deadOwner(t))

		r := reap(t)
		r.expectEnded(t, append(orphans, liar.Ident)...)
		testkit.StillAlive(t, bobs.members()...)
		testkit.StillAlive(t, bobs.watchdogs...)
		if got := r.of(shared, alice).State; got != "dead" {
			t.Errorf("the run of the first user is %q", got)
		}
		if got := r.of(shared, bob).State; got != "alive" {
			t.Errorf("the run of the second user is %q", got)
		}
		r.expect(t, "none", bobs.workers[0], bobs.workers[1])
	})
}

// With hidepid=2 an ordinary user sees only that user's processes. The reaper ends
// the orphans among them; an owner that it cannot see is not taken for dead.
func TestReaperWhereProcHidesOthers(t *testing.T) {
	inSpace(t, "hidepid=2", func(t *testing.T) {
		a := ordinary(t, alice)
		// The option does something: the same command, of both users.
		hidden := testkit.Start(t, exec.Command("sleep", "1000000"))
		stat := func(u user) int {
			status, _, _ := testkit.Run(t, u.as(exec.Command("test", "-e", "/proc/"+pid(hidden)+"/stat")))
			return status
		}
		if stat(a) != 1 || stat(root()) != 0 {
			t.Fatal("this /proc hides nothing")
		}

		p := a.pool(t, newRunID(), plainWorker, "guard", "run", "unlabelled")
		orphans := p.kill()
		kept := a.labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+ownerOf(t, hidden.Ident))
		r := a.reap(t)
		r.expectEnded(t, orphans...)
		r.expect(t, "none", kept.Ident)
		testkit.StillAlive(t, kept.Ident)

		// Once that owner has ended, its PID is free: that is no secret.
		hidden.Kill()
		hidden.Wait()
		a.reap(t).expectEnded(t, kept.Ident)
	})
}

// records lists the files of the ledger.
func records(t *testing.T, u user) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(u.state)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !isTable(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// isTable tells the files that stay (the shared process table, sums, the last reap) from
// records.
func isTable(name string) bool {
	return name == "table" || name == "table.new" || name == "table.lock" || name == "totals" || name == "reaped"
}

// A set-user-ID program becomes root for good and executes another, with the
// environment of the user that called it. That one names a dead owner for a run of
// root's that has none: what root runs is not ended.
func TestReaperAndAProgramThatWasRaised(t *testing.T) {
	inOwnSpace(t, func(t *testing.T) {
		python, err := filepath.EvalSymlinks(testkit.NeedPython(t))
		if err != nil {
			t.Fatal(err)
		}
		home := testkit.Start(t, exec.Command(python, "-c", `import sys; print(f"{sys.prefix}\n", end="")`)).Stdout.Await("")
		dir, err := os.MkdirTemp("", "leash-raised") // t.TempDir may be closed to others
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		b := readFile(t, python)
		program := filepath.Join(dir, "raise")
		if err := errors.Join(os.WriteFile(program, b, 0o755), os.Chmod(program, 0o755|os.ModeSetuid), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}

		run := newRunID()
		unclaimed := root().labelled(t, "LEASH_RUN_ID="+run)
		own := root().labelled(t, "LEASH_RUN_ID="+newRunID(), "LEASH_RUN_OWNER="+deadOwner(t))
		cmd := ordinary(t, alice).as(exec.Command(program, "-c", `
import os
os.setresgid(0, 0, 0)
os.setresuid(0, 0, 0)
os.write(1, b"raised\n")
os.execv("/bin/sh", ["sh", "-c", "echo executed; exec sleep 1000000"])
`))
		cmd.Env = append(cmd.Env, "PYTHONHOME="+home, "LEASH_RUN_ID="+run, "LEASH_RUN_OWNER="+deadOwner(t))
		raised := testkit.Start(t, cmd)
		raised.Stdout.Await("executed")

		r := reap(t)
		testkit.StillAlive(t, unclaimed.Ident)
		r.expectEnded(t, own.Ident)
		reap(t, "--run-id", run)
		testkit.AwaitGone(t, unclaimed.Ident)
	})
}
