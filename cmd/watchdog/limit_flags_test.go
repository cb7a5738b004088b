//go:build linux

package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"leash/internal/limit"
	"leash/watch"
)

func TestLimitFlags(t *testing.T) {
	for args, want := range map[string]limit.Limits{
		"": {},
		"--memory-max 2G --memory-high=1G --tasks-max 64 --cpu-quota 150%": {MemoryMax: 2 << 30, MemoryHigh: 1 << 30, TasksMax: 64, CPUQuota: 150},
		"--oom-score-adjust -500":                      {Scored: true, Score: -500},
		"--oom-score-adjust=-500 --limits best-effort": {Scored: true, Score: -500, BestEffort: true},
		"--oom-score-adjust 0":                         {Scored: true},
	} {
		s, err := parse(slices.Concat([]string{"run"}, strings.Fields(args), []string{"--", "true"}), io.Discard)
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		if got, err := unpack(s.pack()).limits(); err != nil || got != want {
			t.Errorf("%s: %+v, %v", args, got, err)
		}
	}
}

func TestBadLimits(t *testing.T) {
	for args, want := range map[string]string{
		"run --memory-max 10X -- true":                      `--memory-max: "10X" is not a size above 0`,
		"run --memory-max=-1 -- true":                       `--memory-max: "-1" is not a size above 0`,
		"run --memory-max=0% -- true":                       `--memory-max: "0%" is not between 1% and 100%`,
		"run --memory-max= -- true":                         "--memory-max: " + noValue,
		"run --memory-high 2G --memory-max 1G -- true":      "--memory-high: 2G is above --memory-max, 1G",
		"run --tasks-max 0 -- true":                         `--tasks-max: "0" is not a whole number above 0`,
		"run --cpu-quota 0% -- true":                        `--cpu-quota: "0%" is not a share above 0`,
		"run --cpu-quota 50 -- true":                        `--cpu-quota: "50" has no %`,
		"run --oom-score-adjust 1001 -- true":               `--oom-score-adjust: "1001" is not between -1000 and 1000`,
		"run --oom-score-adjust -1001 -- true":              `--oom-score-adjust: "-1001" is not between -1000 and 1000`,
		"run --limits maybe -- true":                        `--limits: "maybe" is neither require nor best-effort`,
		"guard --memory-max 1G --worker-pid 1":              "unknown flag --memory-max",
		"--worker-pid 1 --oom-score-adjust 5":               "unknown flag --oom-score-adjust",
		"guard --limits best-effort --worker-pid 1":         "unknown flag --limits",
		"guard --tasks-max 5 --cpu-quota 5% --worker-pid 1": "unknown flag --tasks-max",
	} {
		if s, err := parse(strings.Fields(args), io.Discard); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", args, s, err, want)
		}
	}
}

// A variable is meant for the worker of run, and is named by an error; guard passes it over.
func TestLimitVariables(t *testing.T) {
	t.Setenv("LEASH_MEMORY_MAX", "1X")
	if _, err := parse([]string{"run", "--", "true"}, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "LEASH_MEMORY_MAX: ") {
		t.Error(err)
	}
	if _, err := parse([]string{"guard", "--worker-pid", "1"}, io.Discard); err != nil && strings.Contains(err.Error(), "MEMORY") {
		t.Error(err)
	}
	t.Setenv("LEASH_MEMORY_MAX", "1G")
	s, err := parse([]string{"run", "--", "true"}, io.Discard)
	if err != nil || s.memoryMax != "1G" {
		t.Fatalf("%+v, %v", s, err)
	}
	w := &watchdog{settings: s, Worker: &watch.Worker{}}
	if env := w.workerEnv(); slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "LEASH_MEMORY_MAX=") }) {
		t.Error("a watchdog in the worker's tree would take the limit for its own worker too")
	}
}
