package main

import (
	"errors"
	"log/slog"
	"strings"

	"leash/internal/event"
	"leash/internal/limit"
	"leash/platform"
	"leash/watch"
)

type limitFlags struct {
	MemoryMax      string `group:"limits" env:"LEASH_MEMORY_MAX" placeholder:"SIZE" help:"Above it, kill: 512M, 2G, 25%"`
	MemoryHigh     string `group:"limits" env:"LEASH_MEMORY_HIGH" placeholder:"SIZE" help:"Above it, slow down"`
	TasksMax       string `group:"limits" env:"LEASH_TASKS_MAX" placeholder:"N" help:"Processes and threads"`
	CpuQuota       string `group:"limits" env:"LEASH_CPU_QUOTA" placeholder:"N%" help:"200%: two processors"`
	OomScoreAdjust string `group:"limits" env:"LEASH_OOM_SCORE_ADJUST" placeholder:"N" help:"-1000 to 1000"`
	Limits         string `group:"limits" env:"LEASH_LIMITS" enum:"require, best-effort" default:"require" help:"${enum}"`
}

// limitVars are for this watchdog's worker, with all of its tree: a watchdog within the tree
// must not take them for its own worker too.
var limitVars = []string{"LEASH_MEMORY_MAX", "LEASH_MEMORY_HIGH", "LEASH_TASKS_MAX", "LEASH_CPU_QUOTA",
	"LEASH_OOM_SCORE_ADJUST", "LEASH_LIMITS"}

func (s *settings) limitTexts(f *limitFlags) {
	s.memoryMax, s.memoryHigh, s.tasksMax, s.cpuQuota = f.MemoryMax, f.MemoryHigh, f.TasksMax, f.CpuQuota
	s.oomScoreAdjust, s.bestEffort = f.OomScoreAdjust, f.Limits == "best-effort"
}

// limits reads the limits.
func (s *settings) limits() (limit.Limits, error) {
	if !s.run {
		return limit.Limits{}, nil
	}
	l, err := limit.Texts{MemoryMax: s.memoryMax, MemoryHigh: s.memoryHigh, TasksMax: s.tasksMax, CPUQuota: s.cpuQuota,
		OOMScoreAdjust: s.oomScoreAdjust}.Parse(platform.TotalMemory())
	l.BestEffort = s.bestEffort
	return l, err
}

// limitError reports whether a worker was not started because of its limits.
func limitError(err error) bool {
	var refused *limit.Refused
	var denied *limit.NotAllowed
	return errors.As(err, &refused) || errors.As(err, &denied)
}

// tellLimits adds to the record of the start which limits the system does not enforce, and
// what enforces the others.
func (w *watchdog) tellLimits(r *watch.Record) {
	l, err := w.limits()
	if err != nil || len(l.Names()) == 0 || w.worker.PID == 0 {
		return
	}
	a := w.Applied()
	r.Attrs = append(r.Attrs, slog.String(event.Limits, strings.Join(a.Missing, ",")))
	if a.By != "" {
		r.Attrs = append(r.Attrs, slog.String(event.LimitedBy, a.By))
	}
	if a.Moved {
		r.Text += "; the watchdog has moved into a cgroup of its own, beside the worker's"
	}
}

// joinNegative writes --oom-score-adjust=-500 for --oom-score-adjust -500, which kong takes
// for two flags.
func joinNegative(args []string) (joined []string) {
	const name = "--oom-score-adjust"
	for i := 0; i < len(args); i++ {
		if i+1 < len(args) && args[i] == name && len(args[i+1]) > 1 && args[i+1][0] == '-' && strings.Trim(args[i+1][1:], "0123456789") == "" {
			joined = append(joined, name+"="+args[i+1])
			i++
			continue
		}
		joined = append(joined, args[i])
	}
	return joined
}
