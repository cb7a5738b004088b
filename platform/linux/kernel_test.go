//go:build linux

package linux

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/testkit"
	"leash/platform/platformtest"
)

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	platformtest.Await(t, what, is)
}

// both runs a test with children listed by the kernel and by the whole table.
func both(t *testing.T, test func(*testing.T, *Kernel)) {
	k := newTestKernel(t)
	if !k.children {
		t.Log("this kernel has no lists of children")
	} else {
		t.Run("lists", func(t *testing.T) { test(t, k) })
	}
	t.Run("table", func(t *testing.T) {
		k := newTestKernel(t)
		k.children = false
		test(t, k)
	})
}

func listed(t *testing.T, k *Kernel, pid int) []int {
	t.Helper()
	pids, err := k.Children(pid, nil)
	if err != nil {
		t.Errorf("the children of %d: %v", pid, err)
	}
	return pids
}

// Lack of descriptors proves neither that there are no children nor that none left the tree.
func TestChildrenWithoutDescriptors(t *testing.T) {
	both(t, func(t *testing.T, k *Kernel) {
		p := shell(t, "sleep 1000000 & echo $!; wait")
		child := printedPID(t, p)
		k.readFile(unix.AT_FDCWD, pathIn(p.PID, "stat"))
		for free := range 2 { // two are needed: the folder of its threads, and a file in it
			var got []int
			var err, torn error
			withFreeFDs(t, free, func() {
				got, err = k.Children(p.PID, nil)
				_, torn = k.scan()
			})
			if !Scarce(err) || !Scarce(torn) || len(got) > 0 {
				t.Errorf("with %d descriptors: %d, %v; the table: %v", free, got, err, torn)
			}
		}
		if got := listed(t, k, p.PID); !slices.Equal(got, []int{child.PID}) {
			t.Errorf("children %d", got)
		}
	})
}

// withFreeFDs calls f with only that many descriptors free.
func withFreeFDs(t *testing.T, free int, f func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var held []int
	for range free + 1 {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, fd)
	}
	// Descriptors are assigned from the lowest: below the last all are in use.
	low := unix.Rlimit{Cur: uint64(held[free]), Max: limit.Max}
	for _, fd := range held {
		unix.Close(fd)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	f()
}

func TestChildren(t *testing.T) {
	both(t, func(t *testing.T, k *Kernel) {
		p := shell(t, "sleep 1000000 & echo $!; sleep 1000001 & echo $!; sh -c 'sleep 1000002 & echo $!; wait' & echo $!; wait")
		ids := make(map[int]bool)
		for range 4 {
			ids[printedPID(t, p).PID] = true
		}
		got := listed(t, k, p.PID)
		slices.Sort(got)
		if len(got) != 3 || len(slices.Compact(slices.Clone(got))) != 3 {
			t.Fatalf("children %v of %v", got, ids)
		}
		below := slices.Concat(listed(t, k, got[0]), listed(t, k, got[1]), listed(t, k, got[2]))
		for _, pid := range append(slices.Clone(got), below...) {
			if !ids[pid] {
				t.Errorf("%d is none of %v", pid, ids)
			}
		}
		if len(below) != 1 {
			t.Errorf("grandchildren %v", below)
		}
		if got, err := k.Children(p.PID, []int{7}); err != nil || len(got) != 4 || got[0] != 7 {
			t.Errorf("not appended: %v", got)
		}
		if got := listed(t, k, below[0]); len(got) > 0 {
			t.Errorf("children of a process without: %v", got)
		}
	})
}

// A child of any thread is a child of the process, also after the first thread has ended.
func TestChildrenOfThreads(t *testing.T) {
	both(t, func(t *testing.T, k *Kernel) {
		p := start(t, exec.Command(testkit.NeedPython(t), "-c", `
import os, subprocess, threading
def run():
    pid = subprocess.Popen(["sleep", "1000000"]).pid
    os.write(1, b"%d\n" % pid)  # in one stroke: print makes two of it
    threading.Event().wait()
for _ in range(3):
    threading.Thread(target=run).start()
`))
		var want []int
		for range 3 {
			want = append(want, printedPID(t, p).PID)
		}
		got := listed(t, k, p.PID)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("children %v, want %v", got, want)
		}
	})
}

func TestChildrenOfAProcessThatIsGone(t *testing.T) {
	both(t, func(t *testing.T, k *Kernel) {
		p := shell(t, "exit 0")
		p.Wait()
		if got := listed(t, k, p.PID); len(got) > 0 {
			t.Errorf("children of one that is gone: %v", got)
		}
	})
}

// The tick advances, in the unit of start times.
func TestTick(t *testing.T) {
	k := newTestKernel(t)
	var ts unix.Timespec
	before := k.Tick()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	after, now := k.Tick(), uint64(ts.Nano()/10_000_000)
	if before > now || now > after || before == 0 {
		t.Errorf("%d, then %d, then %d", before, now, after)
	}
}

func TestHighest(t *testing.T) {
	k := newTestKernel(t)
	if top := k.Highest(); top < os.Getpid() || top >= 1<<22 {
		t.Errorf("the highest PID is %d", top)
	}
}

func TestAncestors(t *testing.T) {
	s, w := workerOn(t, newTestKernel(t), "auto")
	ids := s.Ancestors()
	if len(ids) < 3 || ids[0].PID != os.Getpid() || ids[1].PID != os.Getppid() {
		t.Fatalf("ancestors: %v", ids)
	}
	for i, id := range ids {
		if id.Start == 0 && id.PID != 1 {
			t.Errorf("ancestor %d, %v, has no start time", i, id)
		}
		if err := w.CheckWorker(id.PID); err == nil {
			t.Errorf("%v would be guarded", id)
		}
	}
	if err := w.CheckWorker(1); err == nil {
		t.Error("PID 1 would be guarded")
	}
	if err := w.CheckWorker(sleeper(t).PID); err != nil {
		t.Errorf("a child may be guarded: %v", err)
	}
}

// Large files are read completely, though files of /proc have size 0.
func TestReadFile(t *testing.T) {
	k := &Kernel{buf: make([]byte, 16)}
	p := start(t, exec.Command(testkit.NeedPython(t), "-c", pauses, string(make60k())))
	p.Stdout.Await("ready")
	b, err := k.readFile(unix.AT_FDCWD, pathIn(p.PID, "cmdline"))
	want, bad := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	if err != nil || bad != nil || len(b) < 60_000 || string(b) != string(want) {
		t.Errorf("%d bytes of %d, %v, %v", len(b), len(want), err, bad)
	}
	if _, err := k.readFile(unix.AT_FDCWD, pathOf("/dev/zero")); err != unix.EFBIG {
		t.Errorf("a file without end: %v", err)
	}
	if _, err := k.readFile(unix.AT_FDCWD, pathOf("/no/such/file")); err != unix.ENOENT {
		t.Errorf("no file: %v", err)
	}
}

// Orphans become children of the first thread of the subreaper, which is here the process that
// started the tests.
func TestOrphansOfASentinelAreOfItsFirstThread(t *testing.T) {
	k := newTestKernel(t)
	p := shell(t, "sleep 1000000 & echo $!")
	orphan := printedPID(t, p)
	p.Wait()
	k.sentinels[os.Getppid()] = true
	if got := listed(t, k, os.Getppid()); !slices.Contains(got, orphan.PID) {
		t.Errorf("children %d, want %d among them", got, orphan.PID)
	}
	threads := 0
	k.eachNumber(pathIn(os.Getppid(), "task"), func(int) { threads++ })
	if threads < 2 {
		t.Errorf("the subreaper has %d threads, which shows nothing", threads)
	}
}
