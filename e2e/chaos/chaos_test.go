//go:build linux

package main

import (
	"bytes"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"leash/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// timeVar says how long TestChaos plays; make test sets it.
const timeVar = "LEASH_CHAOS_TIME"

// programs puts watchdog and reaper into one folder, and names the driver.
func programs(t *testing.T) options {
	t.Helper()
	if err := possible(); err != nil {
		testkit.Skip(t, "no chaos here: "+err.Error())
	}
	dir := t.TempDir()
	for name, from := range map[string]string{"watchdog": testkit.Watchdog(t), "reaper": testkit.Reaper(t)} {
		if err := os.Symlink(from, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return options{dir: dir, self: testkit.Build(t, "./e2e/chaos"), seed: 1, jobs: 4}
}

// It plays the same lives each time, though the system lets them happen at other
// moments.
func TestChaos(t *testing.T) {
	o := programs(t)
	o.time = 15 * time.Second
	if s := os.Getenv(timeVar); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("%s: %v", timeVar, err)
		}
		o.time = d
	}
	var out bytes.Buffer
	bad, err := o.drive(&out)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	if bad > 0 {
		t.Errorf("%d lives have something to complain about", bad)
	}
}

// Where SIGHUP is ignored, as below nohup(1), a parent that is sent one dies of it all the same.
func TestParentsDieOfHangup(t *testing.T) {
	o := programs(t)
	o.lives, o.jobs = 1, 1
	hangsUp := func(f fault) bool { return f.Target == "parent" && f.Signal == sigHUP }
	for !slices.ContainsFunc(newPlan(o.seed, o.skip).Faults, hangsUp) {
		o.seed++
	}
	signal.Ignore(syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	var out bytes.Buffer
	bad, err := o.drive(&out)
	if err != nil {
		t.Fatal(err)
	}
	if bad > 0 {
		t.Error(out.String())
	}
}

// The judge itself: what is planted is found, and under the right name.
func TestPlantedFaultsAreFound(t *testing.T) {
	for _, kind := range []string{"left over", "bystander", "stopped", "file", "cgroup", "log", "status"} {
		t.Run(kind, func(t *testing.T) {
			o := programs(t)
			o.lives, o.jobs, o.plant = 1, 1, kind
			o.skip = append(o.skip, "parent", "watchdog", "both", "group", "ledger") // so that what is planted decides
			if kind == "cgroup" {
				if cgroup2() == "" {
					testkit.Skip(t, "no cgroup v2 here")
				}
				for newPlan(o.seed, o.skip).Cgroup == "" {
					o.seed++
				}
			}
			var out bytes.Buffer
			bad, err := o.drive(&out)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"stopped": "bystander"}[kind]
			if want == "" {
				want = kind
			}
			if bad != 1 || !strings.Contains(out.String(), "\n  "+want+": ") {
				t.Errorf("planted %q: %d lives complain:\n%s", kind, bad, out.String())
			}
		})
	}
}

// A watchdog that only starts its worker leaves everything.
func TestNoWatchdogIsNoticed(t *testing.T) {
	o := programs(t)
	name := filepath.Join(o.dir, "watchdog")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	const script = "#!/bin/sh\nwhile [ $# -gt 0 ] && [ \"$1\" != -- ]; do shift; done\n[ $# -gt 0 ] || exit 0\nshift\nexec \"$@\"\n"
	if err := os.WriteFile(name, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	o.lives = 4
	o.skip = append(o.skip, "watchdog", "both", "group", "worker", "child")
	var out bytes.Buffer
	bad, err := o.drive(&out)
	if err != nil {
		t.Fatal(err)
	}
	if bad == 0 || !strings.Contains(out.String(), "left over") && !strings.Contains(out.String(), "hang") {
		t.Errorf("%d of 4 lives complain:\n%s", bad, out.String())
	}
}
