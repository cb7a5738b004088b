//go:build linux

package linux

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"leash/internal/system"
	"leash/internal/testkit"
	"leash/platform/platformtest"
	"leash/watch"
)

// watchdogVar turns the test binary into a watchdog.
const watchdogVar = "LEASH_TEST_WATCHDOG"

// A watchdog runs no tests. init functions run on the startup thread, whose end kills the
// worker.
func init() {
	if backend := os.Getenv(watchdogVar); backend != "" {
		fmt.Fprintln(os.Stderr, beWatchdog(backend))
		os.Exit(1)
	}
}

func beWatchdog(backend string) error {
	k, err := NewKernel()
	if err != nil {
		return err
	}
	s, err := newSystem(k, backend)
	if err != nil {
		return err
	}
	h := watch.NewWorker(s, time.Hour, -1, 0)
	info, err := h.Start(system.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000000"}})
	if err != nil {
		return err
	}
	fmt.Println("worker", info.PID)
	for {
		if _, err := h.Wait(0, false); err != nil {
			return err
		}
	}
}

func TestDieWithMe(t *testing.T) {
	for _, backend := range []string{"event", "poll"} {
		t.Run(backend, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), watchdogVar+"="+backend)
			w := testkit.Start(t, cmd)
			worker, err := strconv.Atoi(strings.TrimPrefix(w.Stdout.Await("worker "), "worker "))
			if err != nil {
				t.Fatal(err)
			}
			testkit.Adopt(t, testkit.Identify(t, worker))
			k := newTestKernel(t)
			platformtest.DieWithMe(t, platformtest.Doomed{Kernel: k, Watchdog: w.PID, Worker: worker,
				Bystander: sleeper(t).PID, Kill: w.Kill, Await: await})
			// Its cgroup is left; without this the reaper would remove it.
			leaves, err := filepath.Glob(fmt.Sprintf("%s/leash-*-%d-*", k.cgroupDir(), w.PID))
			if err != nil {
				t.Fatal(err)
			}
			for _, leaf := range leaves {
				await(t, "an empty cgroup", func() bool { err := os.Remove(leaf); return err == nil || os.IsNotExist(err) })
			}
		})
	}
}
