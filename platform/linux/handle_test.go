//go:build linux

package linux

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"leash/internal/proc"
	"leash/internal/testkit"
)

var probe proc.Signal

func TestOpenGone(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		p := shell(t, "exit 0")
		p.Wait() // and reaped
		if h, err := k.Open(p.PID); !errors.Is(err, proc.ErrGone) {
			t.Errorf("a process that is gone: %v, %v", h, err)
		}
		for _, pid := range []int{0, -1, k.Highest() + 1000} {
			if _, err := k.Open(pid); !errors.Is(err, proc.ErrGone) {
				t.Errorf("PID %d: %v", pid, err)
			}
		}
	})
}

func TestInfo(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		before := k.Tick()
		p := sleeper(t)
		after := k.Tick()
		h := open(t, k, p.PID)
		info, err := h.Info()
		if err != nil {
			t.Fatal(err)
		}
		want := proc.Info{
			ID:   proc.ID{PID: p.PID, Start: p.Ident.Start, Inode: info.Inode},
			PPID: os.Getpid(), PGID: p.PID, SID: info.SID, State: info.State, Threads: 1,
			UID: uint32(os.Geteuid()),
		}
		if info != want || info.Dead() {
			t.Errorf("%+v, want %+v", info, want)
		}
		if sid, err := unix.Getsid(p.PID); err != nil || info.SID != sid {
			t.Errorf("session %d, want %d, %v", info.SID, sid, err)
		}
		if info.Start < before || info.Start > after {
			t.Errorf("it began at tick %d, but that was between %d and %d", info.Start, before, after)
		}
		if (info.Inode != 0) != k.pidfs {
			t.Errorf("inode %d, pidfs %t", info.Inode, k.pidfs)
		}
		again, err := open(t, k, p.PID).Info()
		if match := info.Match(again.ID); err != nil || match == proc.Different || k.pidfs && match != proc.Same {
			t.Errorf("a second handle: match %d, %v", match, err)
		}
		other, err := open(t, k, sleeper(t).PID).Info()
		if match := info.Match(other.ID); err != nil || match != proc.Different {
			t.Errorf("another process: match %d, %v", match, err)
		}
	})
}

// A handle stands for one process, also after that has been reaped.
func TestHandleOutlivesTheProcess(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		p := sleeper(t, "LEASH_RUN_ID=abc1234")
		h := open(t, k, p.PID)
		if run, _ := h.Labels(); run != "abc1234" {
			t.Errorf("while it lives: %q", run)
		}
		if err := h.Signal(probe); err != nil {
			t.Errorf("while it lives: %v", err)
		}
		p.Kill()
		p.Wait()
		if info, err := h.Info(); !errors.Is(err, proc.ErrGone) || info != (proc.Info{}) {
			t.Errorf("info: %+v, %v", info, err)
		}
		for _, sig := range []proc.Signal{probe, proc.TERM, proc.KILL} {
			if err := h.Signal(sig); !errors.Is(err, proc.ErrGone) {
				t.Errorf("signal %d: %v", sig.Num, err)
			}
			if err := h.SignalGroup(sig); err == nil {
				t.Errorf("signal %d to its group went somewhere", sig.Num)
			}
		}
		if run, worker := h.Labels(); run != "" || worker != "" {
			t.Errorf("labels %q, %q", run, worker)
		}
		if args := h.args(); args != nil {
			t.Errorf("arguments %q", args)
		}
	})
}

func TestZombieIsDead(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		h := open(t, k, zombie(t).PID)
		info, err := h.Info()
		if err != nil || info.State != 'Z' || !info.Dead() {
			t.Errorf("%+v, dead %t, %v", info, info.Dead(), err)
		}
		if err := h.Signal(proc.KILL); err != nil {
			t.Errorf("a zombie takes a signal and does nothing: %v", err)
		}
		if run, worker := h.Labels(); run != "" || worker != "" {
			t.Errorf("labels %q, %q", run, worker)
		}
	})
}

// A process without its first thread, while others run, shows state Z but is alive: it is
// found, seen as alive, and ended.
func TestHeadlessIsAlive(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		p := testkit.Headless(t, 1)
		h := open(t, k, p.PID)
		info, err := h.Info()
		if err != nil || info.State != 'Z' || info.Threads < 2 || info.Dead() {
			t.Errorf("%+v, dead %t, %v", info, info.Dead(), err)
		}
		if err := h.Signal(proc.KILL); err != nil {
			t.Error(err)
		}
		if status := p.Wait(); status != 137 {
			t.Errorf("status %d", status)
		}
		if _, err := h.Info(); !errors.Is(err, proc.ErrGone) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestSignal(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		p, bystander := sleeper(t), sleeper(t)
		if err := open(t, k, p.PID).Signal(proc.TERM); err != nil {
			t.Error(err)
		}
		if status := p.Wait(); status != 143 {
			t.Errorf("status %d", status)
		}
		testkit.StillAlive(t, bystander.Ident)
	})
}

func TestSignalGroup(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		p := shell(t, "sleep 1000000 & echo $!; setsid sleep 1000001 & echo $!; wait")
		member, outside := printedPID(t, p), printedPID(t, p)
		// setsid leaves the group before it executes sleep.
		awaitGroup(t, k, outside.PID)
		// A process that leads no group cannot be signalled as a group, and no process gets a
		// signal.
		if err := open(t, k, member.PID).SignalGroup(proc.KILL); err == nil {
			t.Error("a process that leads no group")
		}
		testkit.StillAlive(t, p.Ident, member, outside)

		if err := open(t, k, p.PID).SignalGroup(proc.KILL); err != nil {
			t.Error(err)
		}
		testkit.AwaitGone(t, p.Ident, member)
		testkit.StillAlive(t, outside)
	})
}

func awaitGroup(t *testing.T, k *Kernel, pid int) {
	t.Helper()
	await(t, "a group of its own", func() bool {
		info, err := k.statOf(pid)
		return err == nil && info.PGID == pid
	})
}

// The leader of the group has been reaped: a pidfd still reaches that very group. The number
// alone might reach a later group, so it is not used.
func TestSignalGroupOfAGoneLeader(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		p := shell(t, "sleep 1000000 & echo $!; exec sleep 1000001")
		member := printedPID(t, p)
		h := open(t, k, p.PID)
		p.Kill()
		p.Wait()
		testkit.StillAlive(t, member)
		err := h.SignalGroup(proc.KILL)
		if k.groupFlag {
			if err != nil {
				t.Error(err)
			}
			testkit.AwaitGone(t, member)
			return
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("by number: %v", err)
		}
		testkit.StillAlive(t, member)
	})
}

// A process that leads a group no more, while the number of that group is still in use: the
// number alone does not say which group it is.
func TestSignalGroupOfALeaderThatLeft(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		p := start(t, exec.Command(testkit.NeedPython(t), "-c", `
import os, signal, subprocess
member = subprocess.Popen(["sleep", "1000000"])
other = subprocess.Popen(["sleep", "1000001"], preexec_fn=os.setpgrp)
os.setpgid(0, other.pid)
os.write(1, b"%d\n%d\n" % (member.pid, other.pid))
signal.pause()
`))
		member, other := printedPID(t, p), printedPID(t, p)
		err := open(t, k, p.PID).SignalGroup(proc.KILL)
		if k.groupFlag {
			if err != nil {
				t.Errorf("the group that it led: %v", err)
			}
			testkit.AwaitGone(t, member)
		} else {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("by number: %v", err)
			}
			testkit.StillAlive(t, member)
		}
		testkit.StillAlive(t, p.Ident, other)
	})
}

// A refused signal does not mean that the process is dead. One thread of ours becomes another
// user, and ends.
func TestDenied(t *testing.T) {
	testkit.NeedRoot(t)
	kernels(t, func(t *testing.T, k *Kernel) {
		p := sleeper(t, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1")
		h := open(t, k, p.PID)
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // never unlocked, so the thread ends
			const nobody = 65534
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); e != 0 {
				t.Errorf("setresuid: %v", e)
				return
			}
			for _, sig := range []proc.Signal{probe, proc.TERM} {
				if err := h.Signal(sig); !errors.Is(err, proc.ErrDenied) {
					t.Errorf("signal %d: %v", sig.Num, err)
				}
				if err := h.SignalGroup(sig); !errors.Is(err, proc.ErrDenied) {
					t.Errorf("signal %d to the group: %v", sig.Num, err)
				}
			}
			if info, err := h.Info(); err != nil || info.Dead() || info.UID != 0 || info.PID != p.PID {
				t.Errorf("info: %+v, %v", info, err)
			}
			if run, worker := h.Labels(); run != "" || worker != "" {
				t.Errorf("labels that may not be read: %q, %q", run, worker)
			}
		}()
		<-done
		testkit.StillAlive(t, p.Ident)
		if run, worker := h.Labels(); run != "abc1234" || worker != "w1" {
			t.Errorf("labels for ourselves: %q, %q", run, worker)
		}
	})
}

func TestLabels(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		h := open(t, k, sleeper(t, "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1").PID)
		if run, worker := h.Labels(); run != "abc1234" || worker != "w1" {
			t.Errorf("%q, %q", run, worker)
		}
		if args := string(h.args()); args != "sleep\x001000000\x00" {
			t.Errorf("arguments %q", args)
		}
		big := open(t, k, sleeper(t, "FILL="+string(make60k()), "LEASH_RUN_ID=abc1234").PID)
		if run, _ := big.Labels(); run != "abc1234" {
			t.Errorf("behind a large variable: %q", run)
		}
	})
}

func make60k() []byte {
	b := make([]byte, 60_000)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

// A container seen from the host may set any label.
func TestLabelsOfAnotherNamespace(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare")
	kernels(t, func(t *testing.T, k *Kernel) {
		labels := []string{"LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1"}
		inside := start(t, exec.Command("unshare", "-pf", testkit.NeedPython(t), "-c", pauses), labels...)
		inside.Stdout.Await("ready")
		below := testkit.Descendants(t, inside.PID)
		testkit.Adopt(t, below...)
		if len(below) == 0 {
			t.Fatal("unshare has no child")
		}
		if run, worker := open(t, k, below[0].PID).Labels(); run != "" || worker != "" {
			t.Errorf("taken from another namespace: %q, %q", run, worker)
		}
		if run, worker := open(t, k, inside.PID).Labels(); run != "abc1234" || worker != "w1" {
			t.Errorf("unshare itself is of ours: %q, %q", run, worker)
		}
	})
}

// Watchdogs and reapers are known by their executable, whatever their arguments say, and also
// after the file was replaced.
func TestLeashIsKnown(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, other} {
		if err := os.WriteFile(filepath.Join(d, "original"), binary, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put := func(dir, name string) string {
		path := filepath.Join(dir, name)
		os.Remove(path)
		if err := os.Link(filepath.Join(dir, "original"), path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	kernels(t, func(t *testing.T, k *Kernel) {
		k.dir, k.name = dir+"/", "leashd"
		isLeash := func(path string, remove bool, args ...string) bool {
			// Another first argument: what a process calls itself is no evidence.
			p := testkit.Start(t, &exec.Cmd{Path: path, Args: append([]string{"x"}, args...),
				SysProcAttr: &syscall.SysProcAttr{Setpgid: true}})
			executed(t, p)
			if remove {
				os.Remove(path)
			}
			info, err := open(t, k, p.PID).Info()
			if err != nil {
				t.Fatal(err)
			}
			return info.Leash
		}
		for _, c := range []struct {
			dir, name string
			remove    bool
			want      bool
		}{
			{dir, "leashd", false, true}, {dir, "leashd", true, true},
			{dir, "watchdog", false, true}, {dir, "reaper", false, true}, {dir, "watchdog", true, true},
			{dir, "worker", false, false}, {dir, "watchdog2", false, false},
			{other, "watchdog", false, false}, {other, "leashd", false, false},
		} {
			if got := isLeash(put(c.dir, c.name), c.remove, "1000000"); got != c.want {
				t.Errorf("%s/%s, removed %t: %t", filepath.Base(c.dir), c.name, c.remove, got)
			}
		}
		if info, err := open(t, k, start(t, exec.Command(testkit.NeedPython(t), "-c", pauses, filepath.Join(dir, "leashd"), "watchdog")).PID).Info(); err != nil || info.Leash {
			t.Errorf("a name among the arguments: %+v, %v", info, err)
		}
	})
}

// givenAgain is a handle that was closed, and another that got its descriptor.
func givenAgain(t *testing.T, k *Kernel, pid int) (closed, next *handle) {
	t.Helper()
	for range 100 { // another goroutine may get the descriptor first
		h, err := k.open(pid)
		if err != nil {
			t.Fatal(err)
		}
		fd := h.fd
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("it would be inherited: %#x, %v", flags, err)
		}
		h.Close()
		if next = open(t, k, pid); next.fd == fd {
			return h, next
		}
	}
	t.Fatal("no descriptor was given again: closing does not free them")
	return nil, nil
}

// A handle that is closed leaks no descriptor, and closing it twice does not close another one
// that got the same number.
func TestClose(t *testing.T) {
	kernels(t, func(t *testing.T, k *Kernel) {
		p := sleeper(t)
		h, h2 := givenAgain(t, k, p.PID)
		h.Close()
		if _, err := h2.Info(); err != nil {
			t.Errorf("closing twice closed another: %v", err)
		}
	})
}
