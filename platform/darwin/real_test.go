//go:build linux || darwin

package darwin

import (
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/event"
	"leash/internal/proc"
	"leash/internal/system"
	"leash/watch"
)

// These run against real processes: on a Mac those of the system itself, on Linux those
// of the stand-in.

func TestSelf(t *testing.T) {
	k := testKernel(t)
	h, err := k.open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	sid, err := unix.Getsid(0) // 0 on Linux where its leader is outside of the PID namespace
	if err != nil {
		t.Fatal(err)
	}
	info, err := h.Info()
	if err != nil {
		t.Fatal(err)
	}
	if info.PPID != os.Getppid() || info.UID != uint32(os.Geteuid()) || info.SID != sid {
		t.Errorf("parent %d, user %d, session %d; want %d, %d, %d", info.PPID, info.UID, info.SID, os.Getppid(), os.Geteuid(), sid)
	}
	if now := k.Tick(); info.Start > now {
		t.Errorf("it began at %d µs, and now it is %d", info.Start, now)
	}
	p, ok := h.args()
	if got := stringsOf(p.Args); !ok || !slices.Equal(got, os.Args) || len(p.Env) == 0 || p.Hidden {
		t.Errorf("%q, %t", got, ok)
	}
	if _, err := k.here(); err != nil {
		t.Error(err)
	}
}

func TestLabelsOfAChild(t *testing.T) {
	// The test binary is not protected, so that it shows its environment.
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestStay$")
	cmd.Env = append(os.Environ(), "LEASH_RUN_ID=abc1234", "LEASH_WORKER_ID=w1", "LEASH_TEST_STAY=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	h, err := testKernel(t).open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "its labels", func() bool {
		run, worker := h.Labels()
		return run == "abc1234" && worker == "w1"
	})
}

// TestStay stays until its input ends.
func TestStay(t *testing.T) {
	if os.Getenv("LEASH_TEST_STAY") != "" {
		os.Stdin.Read(make([]byte, 1))
	}
}

func backends(t *testing.T, test func(*testing.T, string)) {
	for _, b := range []string{"event", "poll"} {
		t.Run(b, func(t *testing.T) { test(t, b) })
	}
}

func shell(script string) system.Command {
	return system.Command{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: os.Environ(), Sentinel: true}
}

func TestRunShell(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		g := newGuarded(t, backend)
		parent := exec.Command("sleep", "1000000")
		if err := parent.Start(); err != nil {
			t.Fatal(err)
		}
		go parent.Wait()
		if alive, err := g.AddParent(parent.Process.Pid); !alive || err != nil {
			t.Fatal(alive, err)
		}
		if err := g.Listen(true); err != nil {
			t.Fatal(err)
		}
		info, err := g.Start(shell("trap '' TERM; sleep 1000000 & sleep 1000000; wait"))
		if err != nil || info.PGID != info.PID || info.SID != info.PID {
			t.Fatalf("%+v, %v", info, err)
		}
		parent.Process.Kill()
		status, err := watch.Guard(watch.NewMachine(watch.Config{Owns: true, Grace: 200 * time.Millisecond, StopSignal: proc.TERM, Scans: true}), g.Worker, g)
		if err != nil || status != 128+15 && status != 128+9 {
			t.Errorf("status %d, %v", status, err)
		}
		for _, r := range g.records {
			if r.Event == event.CleanupCompleted && r.Level == slog.LevelError {
				t.Errorf("left: %v", g.Survivors())
			}
		}
		all, err := g.sys.sys.Processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if e.PGID == info.PID && !e.over() {
				t.Errorf("%d of its group lives", e.PID)
			}
		}
	})
}

func TestStatusOfAShell(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		g := newGuarded(t, backend)
		if _, err := g.Start(shell("exit 7")); err != nil {
			t.Fatal(err)
		}
		status, err := watch.Guard(watch.NewMachine(watch.Config{Owns: true, Grace: time.Second, StopSignal: proc.TERM}), g.Worker, g)
		if err != nil || status != 7 {
			t.Errorf("status %d, %v", status, err)
		}
	})
}

// lifelineOf has a pipe be the lifeline. What it returns is the other end.
func lifelineOf(t *testing.T, w *watch.Worker) *os.File {
	t.Helper()
	r, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close(); r.Close() })
	if alive, err := w.AddLifeline(int(r.Fd())); !alive || err != nil {
		t.Fatal(alive, err)
	}
	return other
}

func TestPipeAsLifeline(t *testing.T) {
	g := newGuarded(t, "event")
	other := lifelineOf(t, g.Worker)
	other.WriteString("data is no end")
	if got, err := g.Wait(g.Now()+50*time.Millisecond, true); len(got) > 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	other.Close()
	got, err := g.Wait(0, false)
	if err != nil || !slices.Equal(got, []watch.Event{watch.ParentDied{By: "lifeline"}}) {
		t.Errorf("%v, %v", got, err)
	}
}
