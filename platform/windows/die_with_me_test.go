//go:build windows

package windows

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/system"
	"leash/internal/testkit"
	"leash/platform/platformtest"
	"leash/watch"
)

// As a watchdog the test binary never becomes a test.
func init() {
	if os.Getenv(roleVar) == "watchdog" {
		fmt.Println(beWatchdog())
		os.Exit(1)
	}
}

// beWatchdog starts a worker that says what its child is, and says what the
// worker is.
func beWatchdog() error {
	k, err := NewKernel()
	if err != nil {
		return err
	}
	k.exe = `C:\elsewhere\watchdog.exe` // the worker is none
	s, err := newSystem(k, "event")
	if err != nil {
		return err
	}
	h := watch.NewWorker(s, time.Hour, -1, 0)
	os.Setenv(roleVar, "fork")
	info, err := h.Start(system.Command{Path: os.Args[0], Args: os.Args[:1], Env: os.Environ()})
	if err != nil {
		return err
	}
	fmt.Println(info.PID)
	for {
		if _, err := h.Wait(0, false); err != nil {
			return err
		}
	}
}

func TestDieWithMe(t *testing.T) {
	cmd := command("watchdog")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w := testkit.Start(t, cmd)
	fmt.Fprintln(in, "plain") // for the worker, which reads the same
	w.Stdout.Await("ready")
	var pids []int
	await(t, "the PIDs of worker and child", func() bool {
		pids = pids[:0]
		for _, word := range strings.Fields(w.Stdout.All()) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
		return len(pids) == 2
	})
	k := newTestKernel(t)
	k.exe = `C:\elsewhere\watchdog.exe`
	if info, err := opened(t, k, pids[0]).Info(); err != nil || info.PPID != w.PID { // which was said first?
		pids[0], pids[1] = pids[1], pids[0]
	}
	platformtest.DieWithMe(t, platformtest.Doomed{Kernel: k, Watchdog: w.PID, Worker: pids[0], Below: pids[1:],
		Bystander: start(t, "sleep", 0).PID(), Kill: w.Kill, Await: await})
}
