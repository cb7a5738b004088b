//go:build darwin

package darwin

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"leash/internal/event"
	"leash/internal/proc"
	"leash/watch"
)

// These run on a Mac only: the thin part, against the system itself.

func testKernel(t *testing.T) *Kernel {
	t.Helper()
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

type guarded struct {
	*Host
	records []watch.Record
}

func (g *guarded) Log(r watch.Record)    { g.records = append(g.records, r) }
func (g *guarded) PassOn(string)         {}
func (g *guarded) Hook(string) error     { return nil }
func (g *guarded) Restart() (int, error) { return 0, nil }

func newGuarded(t *testing.T, backend string) *guarded {
	t.Helper()
	h, err := NewHost(testKernel(t), backend, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return &guarded{Host: h}
}

func TestSelf(t *testing.T) {
	k := testKernel(t)
	h, err := k.open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	info, err := h.Look()
	if err != nil || info.PPID != os.Getppid() || info.UID != uint32(os.Geteuid()) || info.SID == 0 || info.Start > k.Tick() {
		t.Errorf("%+v, %v", info, err)
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

func TestRun(t *testing.T) {
	for _, backend := range []string{"event", "poll"} {
		t.Run(backend, func(t *testing.T) {
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
			script := "trap '' TERM; sleep 1000000 & sleep 1000000; wait"
			info, err := g.Start("/bin/sh", []string{"sh", "-c", script}, os.Environ(), nil)
			if err != nil || info.PGID != info.PID || info.SID != info.PID {
				t.Fatalf("%+v, %v", info, err)
			}
			parent.Process.Kill()
			status, err := watch.Guard(watch.NewMachine(watch.Config{Owns: true, Grace: 200 * time.Millisecond, StopSignal: proc.TERM, Surveys: true}), g)
			if err != nil || status != 128+15 && status != 128+9 {
				t.Errorf("status %d, %v", status, err)
			}
			for _, r := range g.records {
				if r.Event == event.CleanupCompleted && r.Error {
					t.Errorf("%v", g.Survivors())
				}
			}
			all, err := g.Kernel.sys.Processes()
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
}

func TestWorkersStatus(t *testing.T) {
	g := newGuarded(t, "event")
	if _, err := g.Start("/bin/sh", []string{"sh", "-c", "exit 7"}, os.Environ(), nil); err != nil {
		t.Fatal(err)
	}
	status, err := watch.Guard(watch.NewMachine(watch.Config{Owns: true, Grace: time.Second, StopSignal: proc.TERM}), g)
	if err != nil || status != 7 {
		t.Errorf("status %d, %v", status, err)
	}
}

func TestPipeAsLifeline(t *testing.T) {
	g := newGuarded(t, "event")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if alive, err := g.AddLifeline(int(r.Fd())); !alive || err != nil {
		t.Fatal(alive, err)
	}
	w.Write([]byte("data is no end"))
	if got, err := g.Wait(g.Now()+50*time.Millisecond, true); len(got) > 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	w.Close()
	got, err := g.Wait(0, false)
	if err != nil || !slices.Equal(got, []watch.Event{watch.ParentDied{By: "lifeline"}}) {
		t.Errorf("%v, %v", got, err)
	}
}
