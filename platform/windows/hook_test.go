//go:build windows

package windows

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"leash/internal/proc"
	"leash/internal/system"
)

// A hook is told when it ends, and nothing that it has started outlives it, be it killed
// or let go of.
func TestHook(t *testing.T) {
	s := newTestSystem(t, "event")
	other, err := s.StartHook(hookCommand("exit3"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, kill := range []bool{true, false} {
		runs := filepath.Join(t.TempDir(), "runs")
		c := hookCommand("hooked")
		c.Env = append(c.Env, pipeVar+"="+runs)
		sh, err := s.StartHook(c)
		if err != nil {
			t.Fatal(err)
		}
		h := sh.(*handle)
		defer h.Close()
		self := opened(t, s.Kernel, os.Getpid())
		// A shell that is killed within CreateProcess hangs under Wine 8.
		await(t, "the program of the hook", func() bool { _, err := os.Stat(runs); return err == nil })
		var child *handle
		await(t, "the child of the hook", func() bool {
			pids := slices.DeleteFunc(h.job.pids(), func(pid int) bool { return pid == h.pid })
			for _, pid := range pids {
				if c, err := s.openProgram(pid); err == nil {
					child = c
				}
			}
			return child != nil
		})
		defer child.Close()
		if !s.inHook(h.h) || !s.inHook(child.h) || s.inHook(self.h) {
			t.Error("it is wrong about what is in a hook")
		}
		if kill {
			if err := s.Watch(h, "hook"); err != nil {
				t.Fatal(err)
			}
			if err := h.SignalGroup(proc.KILL); err != nil {
				t.Error(err)
			}
			wakes, err := s.Wait(0, false)
			if err != nil || len(wakes) != 1 || wakes[0].Kind != system.Ended || wakes[0].Handle != sh || wakes[0].Owner != "hook" {
				t.Errorf("told %+v, %v", wakes, err)
			}
			if _, ended := h.Exit(); !ended {
				t.Error("its end was told, and it lives")
			}
		}
		h.Close()
		await(t, "the end of the hook's child", child.ended)
		if len(s.hooks) != 1 {
			t.Errorf("%d hooks are left, want the other one", len(s.hooks))
		}
	}
	await(t, "the end of the other hook", other.(*handle).ended)
	if exit, _ := other.Exit(); exit.Code != 3 {
		t.Errorf("the other hook ended with %+v", exit)
	}
	if _, err := s.StartHook(system.Command{Path: `C:\no\such\thing.exe`}); !os.IsNotExist(err) {
		t.Errorf("a hook that is not there: %v", err)
	}
}

// hookCommand has a shell start the test binary in a role.
func hookCommand(role string) system.Command {
	shell := os.Getenv("COMSPEC")
	return system.Command{Path: shell, Args: []string{"cmd.exe", "/d", "/c", os.Args[0]}, Env: append(os.Environ(), roleVar+"="+role)}
}
