// Package limit has the limits of a worker's process tree: how they are written, and what
// is said of those that the system does not enforce. It depends on no system.
package limit

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Names of the limits, those of their flags without dashes.
const (
	MemoryMax      = "memory-max"
	MemoryHigh     = "memory-high"
	TasksMax       = "tasks-max"
	CPUQuota       = "cpu-quota"
	OOMScoreAdjust = "oom-score-adjust"
)

// Limits are those of one worker's process tree. Zero is no limit.
type Limits struct {
	// MemoryMax and MemoryHigh are in bytes.
	MemoryMax, MemoryHigh uint64
	// TasksMax is how many processes and threads the tree may have.
	TasksMax uint64
	// CPUQuota is in percent of one processor.
	CPUQuota uint64
	// Scored: Score is the worker's oom_score_adj (proc_pid_oom_score_adj(5)).
	Scored bool
	Score  int
	// BestEffort: a limit that the system cannot enforce is no error.
	BestEffort bool
}

// Names lists the limits that are set, as flags without dashes.
func (l Limits) Names() (names []string) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{MemoryMax, l.MemoryMax > 0},
		{MemoryHigh, l.MemoryHigh > 0},
		{TasksMax, l.TasksMax > 0},
		{CPUQuota, l.CPUQuota > 0},
		{OOMScoreAdjust, l.Scored},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

// Applied is what came of the limits of a worker that was started.
type Applied struct {
	// Missing lists the limits that the system does not enforce.
	Missing []string
	// By says what enforces the others, for people; empty if nothing does.
	By string
	// Moved: the watchdog has moved into a cgroup of its own for them.
	Moved bool
}

// Lacks reports whether the system does not enforce a limit.
func (a Applied) Lacks(name string) bool { return slices.Contains(a.Missing, name) }

// Refused says that the system cannot enforce limits that it must. Nothing was started.
type Refused struct {
	Names []string // the limits
	Why   string   // what is missing
	How   string   // what to do
}

func (r *Refused) Error() string {
	how := r.How
	if how != "" {
		how += ", or "
	}
	return fmt.Sprintf("--%s: %s: %sgive --limits best-effort", strings.Join(r.Names, ", --"), r.Why, how)
}

// NotAllowed says that this user may not set a value, whatever --limits says.
type NotAllowed struct {
	Name string
	Why  string
}

func (n *NotAllowed) Error() string { return "--" + n.Name + ": " + n.Why }

// Texts are limits as users write them; empty: none.
type Texts struct{ MemoryMax, MemoryHigh, TasksMax, CPUQuota, OOMScoreAdjust, Limits string }

// Parse reads them. total is the machine's memory in bytes, 0 if it is not known. The error
// begins with the flag.
func (t Texts) Parse(total uint64) (l Limits, err error) {
	if l.MemoryMax, err = memory(t.MemoryMax, total); err != nil {
		return Limits{}, fmt.Errorf("--memory-max: %w", err)
	}
	if l.MemoryHigh, err = memory(t.MemoryHigh, total); err != nil {
		return Limits{}, fmt.Errorf("--memory-high: %w", err)
	}
	if l.MemoryMax > 0 && l.MemoryHigh > l.MemoryMax {
		return Limits{}, fmt.Errorf("--memory-high: %s is above --memory-max, %s: lower the one or raise the other", t.MemoryHigh, t.MemoryMax)
	}
	if t.TasksMax != "" {
		if l.TasksMax, err = whole(t.TasksMax); err != nil {
			return Limits{}, fmt.Errorf("--tasks-max: %w", err)
		}
	}
	if l.CPUQuota, err = quota(t.CPUQuota); err != nil {
		return Limits{}, fmt.Errorf("--cpu-quota: %w", err)
	}
	if t.OOMScoreAdjust != "" {
		if l.Score, err = score(t.OOMScoreAdjust); err != nil {
			return Limits{}, fmt.Errorf("--oom-score-adjust: %w", err)
		}
		l.Scored = true
	}
	switch t.Limits {
	case "", "require":
	case "best-effort":
		l.BestEffort = true
	default:
		return Limits{}, fmt.Errorf("--limits: %q is neither require nor best-effort", t.Limits)
	}
	return l, nil
}

// memory reads a size or a part of the machine's memory (systemd.resource-control(5),
// MemoryMax=).
func memory(text string, total uint64) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	if digits, ok := strings.CutSuffix(text, "%"); ok {
		n, err := whole(digits)
		switch {
		case err != nil || n > 100:
			return 0, fmt.Errorf("%q is not between 1%% and 100%%", text)
		case total == 0:
			return 0, errors.New("the memory of this machine is not known: give a size, like 2G")
		}
		return max(1, total/100*n+total%100*n/100), nil
	}
	digits, shift := text, 0
	for i, unit := range []string{"K", "M", "G", "T"} {
		if rest, ok := strings.CutSuffix(text, unit); ok {
			digits, shift = rest, 10*(i+1)
		}
	}
	n, err := whole(digits)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size above 0: write it like 512M, 2G, 1000000 (bytes) or 25%%", text)
	}
	if n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is out of range", text)
	}
	return n << shift, nil
}

// mostQuota is what cpu.max takes, with room to spare (kernel/sched/core.c, max_bw_runtime_us).
const mostQuota = 100_000_000

func quota(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	digits, ok := strings.CutSuffix(text, "%")
	n, err := whole(digits)
	switch {
	case !ok && err == nil:
		return 0, fmt.Errorf("%q has no %%: %s%% is a part of one processor, 200%% are two", text, text)
	case !ok || err != nil:
		return 0, fmt.Errorf("%q is not a share above 0: write it like 50%%, or 200%% for two processors", text)
	case n > mostQuota:
		return 0, fmt.Errorf("%q is out of range", text)
	}
	return n, nil
}

func score(text string) (int, error) {
	digits, minus := strings.CutPrefix(text, "-")
	n := uint64(0)
	if digits != "0" || minus {
		var err error
		if n, err = whole(digits); err != nil || n > 1000 {
			return 0, fmt.Errorf("%q is not between -1000 and 1000", text)
		}
	}
	if minus {
		return -int(n), nil
	}
	return int(n), nil
}

// whole reads a number above 0 in plain digits, without a leading zero.
func whole(s string) (uint64, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" || s[0] == '0' {
		return 0, fmt.Errorf("%q is not a whole number above 0", s)
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is out of range", s)
	}
	return n, nil
}
