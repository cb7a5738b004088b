//go:build linux

package e2e

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leash/internal/ledger"
	"leash/internal/testkit"
)

// startsOrDies waits for the one or the other.
func startsOrDies(t *testing.T, p *testkit.Proc) (started bool) {
	t.Helper()
	awaitThat(t, "start nor end of a watchdog", func() bool {
		select {
		case <-p.Done():
			return true
		default:
			started = strings.Contains(p.Stderr.All(), "watchdog.started")
			return started
		}
	})
	return started
}

// A watchdog that is killed at any system call leaves no record, part of one by
// another name, or a whole one.
func TestKilledAtAnySystemCall(t *testing.T) {
	testkit.Need(t, "strace")
	dir, parent, w := stateDir(t), sleeper(t), scriptWorker(t, stay)
	for _, call := range []string{"openat", "write", "close", "renameat", "mkdirat"} {
		for n := 1; ; n++ {
			g := testkit.Start(t, traced(guarding(t, dir, w, parent),
				"-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+call+":signal=KILL:when="+itoa(n)))
			if startsOrDies(t, g) { // it needs no more of them
				t.Logf("killed at each of %d calls of %s", n-1, call)
				break
			}
			if _, err := os.Stat(dir); err == nil {
				ledgerOf(t, dir)
			}
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, unfinished, _ := ledger.Read(f)
	if len(entries) < 2 || len(unfinished) < 2 {
		t.Errorf("%d whole records and %q: the interesting moments were not met", len(entries), unfinished)
	}
	testkit.StillAlive(t, w.Ident)
}

// The same by chance, in all that a watchdog's life holds, while others read.
func TestKilledAtRandomMoments(t *testing.T) {
	dir, gone := stateDir(t), sleeper(t)
	gone.Kill()
	gone.Wait()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	reached := map[string]int{}
	for range 120 {
		w := testkit.Start(t, exec.Command("sleep", "1000000"))
		g := testkit.Start(t, guarding(t, dir, w, gone)) // which ends the worker at once
		for at := time.Now().Add(rand.N(40 * time.Millisecond)); time.Now().Before(at); runtime.Gosched() {
			ledgerOf(t, dir)
		}
		if err := g.Ident.Signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
		g.Wait()
		switch text := g.Stderr.AwaitEnd(); {
		case strings.Contains(text, "watchdog.stopped"):
			reached["end"]++
		case strings.Contains(text, "watchdog.started"):
			reached["start"]++
		default:
			reached["nothing"]++
		}
		for _, r := range ledgerOf(t, dir) {
			if r.Watchdog.PID == g.PID && !sameProcess(r.Worker, w.Ident) {
				t.Errorf("%+v is not of worker %v", r, w.Ident)
			}
		}
	}
	t.Logf("what they had logged: %v; left: %d records", reached, len(ledgerOf(t, dir)))
}

// oneWarning fails unless the watchdog said once what is wrong with its ledger.
func oneWarning(t *testing.T, g *testkit.Proc, names string) {
	t.Helper()
	n := 0
	for _, e := range testkit.Events(strings.NewReader(g.Stderr.AwaitEnd())) {
		if e.Name() != "watchdog.warning" {
			continue
		}
		n++
		if e.Str("level") != "WARN" || !strings.Contains(e.Str("error"), names) || !strings.Contains(e.Str("msg"), "LEASH_STATE_DIR") {
			t.Errorf("%v does not name %s", e, names)
		}
	}
	if n != 1 {
		t.Errorf("%d warnings:\n%s", n, g.Stderr.All())
	}
}

// Without a ledger the worker is guarded all the same.
func TestWithoutALedger(t *testing.T) {
	good := stateDir(t)
	if err := os.Mkdir(good, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(dir string) error{
		"open to all": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) },
		"link":        func(dir string) error { return os.Symlink(good, dir) },
		"file":        func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"below a file": func(dir string) error {
			return errors.Join(os.Remove(filepath.Dir(dir)), os.WriteFile(filepath.Dir(dir), nil, 0o600))
		},
		"another's": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, 65534)) },
	} {
		for _, mode := range []string{"guard", "run"} {
			t.Run(name+" "+mode, func(t *testing.T) {
				if name == "another's" {
					testkit.NeedRoot(t)
				}
				dir := stateDir(t)
				if err := spoil(dir); err != nil {
					t.Fatal(err)
				}
				guardedAnyway(t, mode, dir, func(cmd *exec.Cmd) *exec.Cmd { return cmd }, nil)
			})
		}
	}
	if left, err := os.ReadDir(good); err != nil || len(left) > 0 {
		t.Errorf("written through the link: %v, %v", left, err)
	}
}

// guardedAnyway has a watchdog end a stubborn worker with its parent. when
// spoils the ledger of one that runs.
func guardedAnyway(t *testing.T, mode, dir string, wrap func(*exec.Cmd) *exec.Cmd, when func(g *testkit.Proc)) {
	t.Helper()
	parent := sleeper(t)
	var g *testkit.Proc
	var worker testkit.Ident
	if mode == "guard" {
		w := scriptWorker(t, deaf)
		worker = w.Ident
		g = testkit.Start(t, wrap(guarding(t, dir, w, parent, "--grace", "300ms")))
	} else {
		g = testkit.Start(t, wrap(inDir(watchdog(t, "run", "--parent-pid", pid(parent), "--grace", "300ms", "--",
			"sh", "-c", "echo worker $$;"+deaf), dir)))
		worker = identOf(t, g.Stdout, "worker")
		g.Stdout.Await("ready")
	}
	g.Stderr.AwaitEvent("watchdog.started")
	if when != nil {
		when(g)
	}
	parent.Kill()
	testkit.AwaitGone(t, worker)
	if status := g.Wait(); status != 0 && mode == "guard" || status != 137 && mode == "run" {
		t.Errorf("status %d", status)
	}
	oneWarning(t, g, filepath.Dir(dir))
}

// mounted has a command run where dir is a small file system of its own.
func mounted(t *testing.T, dir, then string) func(*exec.Cmd) *exec.Cmd {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.Need(t, "unshare", "nsenter", "mount")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return func(cmd *exec.Cmd) *exec.Cmd {
		script := `mount -t tmpfs -o size=16k,mode=0700 none "$0" || exit 9; ` + then + `; exec "$@"`
		c := exec.Command("unshare", append([]string{"-m", "sh", "-c", script, dir}, append([]string{cmd.Path}, cmd.Args[1:]...)...)...)
		c.Env = cmd.Env
		return c
	}
}

func TestFileSystemsThatRefuse(t *testing.T) {
	fill := `cat /dev/zero > "$0/fill" 2> /dev/null`
	readOnly := `mount -o remount,ro "$0" || exit 9`
	within := func(dir, script string) func(*testkit.Proc) {
		return func(g *testkit.Proc) {
			status, _, text := testkit.Run(t, exec.Command("nsenter", "-t", pid(g), "-m", "sh", "-c", script, dir))
			if script == readOnly && status != 0 {
				t.Fatalf("status %d: %s", status, text)
			}
		}
	}
	for _, mode := range []string{"guard", "run"} {
		dir := stateDir(t)
		t.Run("full "+mode, func(t *testing.T) { guardedAnyway(t, mode, dir, mounted(t, dir, fill), nil) })
		t.Run("full later "+mode, func(t *testing.T) { guardedAnyway(t, mode, dir, mounted(t, dir, ":"), within(dir, fill)) })
		t.Run("read-only "+mode, func(t *testing.T) { guardedAnyway(t, mode, dir, mounted(t, dir, readOnly), nil) })
		t.Run("read-only later "+mode, func(t *testing.T) {
			guardedAnyway(t, mode, dir, mounted(t, dir, ":"), within(dir, readOnly))
		})
		t.Run("below a read-only one "+mode, func(t *testing.T) {
			guardedAnyway(t, mode, filepath.Join(dir, "below"), mounted(t, dir, readOnly), nil)
		})
		t.Run("removed later "+mode, func(t *testing.T) {
			own := stateDir(t)
			guardedAnyway(t, mode, own, func(cmd *exec.Cmd) *exec.Cmd { return cmd }, func(*testkit.Proc) {
				if err := os.RemoveAll(own); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
