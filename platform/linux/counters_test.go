//go:build linux

package linux

import (
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"leash/internal/limit"
)

const memoryEvents = "low 0\nhigh 7\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"

func TestFlatKeyed(t *testing.T) {
	for _, c := range []struct {
		text, key string
		want      uint64
		ok        bool
	}{
		{memoryEvents, "oom_kill", 2, true},
		{memoryEvents, "oom", 3, true},
		{memoryEvents, "low", 0, true},
		{memoryEvents, "oom_group_kill", 0, true},
		{"oom_kill 5", "oom_kill", 5, true},
		{memoryEvents, "kill", 0, false},
		{memoryEvents, "", 0, false},
		{"oom_kill -1\n", "oom_kill", 0, false},
		{"oom_kill 1 2\n", "oom_kill", 0, false},
		{"oom_kill\n", "oom_kill", 0, false},
		{"oom_kill \n", "oom_kill", 0, false},
		{"oom_kill 18446744073709551616\n", "oom_kill", 0, false},
		{"", "oom_kill", 0, false},
	} {
		if got, ok := flatKeyed([]byte(c.text), c.key); got != c.want || ok != c.ok {
			t.Errorf("%q in %q: %d, %t", c.key, c.text, got, ok)
		}
	}
}

func TestCPUTimes(t *testing.T) {
	user, system, ok := cpuTimes([]byte("usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 0\n"))
	if !ok || user != 20*time.Microsecond || system != 10*time.Microsecond {
		t.Error(user, system, ok)
	}
	for _, text := range []string{"", "user_usec 20\n", "user_usec 9999999999999999999\nsystem_usec 1\n"} {
		if user, system, ok := cpuTimes([]byte(text)); ok {
			t.Errorf("%q: %v, %v", text, user, system)
		}
	}
}

// FuzzFlatKeyed compares with a regular expression.
func FuzzFlatKeyed(f *testing.F) {
	f.Add([]byte(memoryEvents), "oom_kill")
	f.Add([]byte("a 1\nab 2\na 3"), "a")
	f.Add([]byte("a 99999999999999999999\n"), "a")
	f.Fuzz(func(t *testing.T, text []byte, key string) {
		got, ok := flatKeyed(text, key)
		m := regexp.MustCompile(`(?m)\A(?:.*\n)*?` + regexp.QuoteMeta(key) + ` (.*)$`).FindSubmatch(text)
		if m == nil {
			if ok && regexp.MustCompile(`\A[^\n ]*\z`).MatchString(key) {
				t.Errorf("%q in %q: %d", key, text, got)
			}
			return
		}
		if n, err := new(big.Int).SetString(string(m[1]), 10); ok && (!err || n.String() != strconv.FormatUint(got, 10)) {
			t.Errorf("%q in %q: %d", key, text, got)
		}
	})
}

func TestSettings(t *testing.T) {
	all := settings(limit.Limits{MemoryMax: 1 << 30, MemoryHigh: 1 << 29, TasksMax: 100, CPUQuota: 150, Scored: true, Score: 5})
	want := []setting{
		{limit.MemoryHigh, "memory", "memory.high", "536870912"},
		{limit.MemoryMax, "memory", "memory.max", "1073741824"},
		{limit.TasksMax, "pids", "pids.max", "100"},
		{limit.CPUQuota, "cpu", "cpu.max", "150000 100000"},
	}
	if !slices.Equal(all, want) {
		t.Errorf("%q", all)
	}
	if got := controllersOf(all); !slices.Equal(got, []string{"memory", "pids", "cpu"}) {
		t.Errorf("%q", got)
	}
	if got := settings(limit.Limits{TasksMax: 1 << 40}); len(got) != 1 || got[0].text != "4194304" {
		t.Errorf("%q: the kernel refuses more", got)
	}
	if got := settings(limit.Limits{Scored: true, BestEffort: true}); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func TestAsideOf(t *testing.T) {
	for name, want := range map[string]int{"leash-watchdog-12": 12, "leash-watchdog-0": 0, "leash-watchdog-": 0, "leash-watchdog-x": 0,
		"leash-watchdog-1-2": 0, "leash-1-2-3": 0, "leash-watchdog-2147483648": 0, "": 0} {
		if pid, ok := asideOf(name); ok != (want > 0) || ok && pid != want {
			t.Errorf("%q: %d, %t", name, pid, ok)
		}
		if _, _, _, ok := leafOf(name); ok && want > 0 {
			t.Errorf("%q is taken for a worker's leaf", name)
		}
	}
}
