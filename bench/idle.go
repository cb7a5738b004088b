//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const (
	calm       = 20 * time.Second // from start to the first count
	tickWindow = 20 * time.Second
)

// restlessness is what happened to the watchers of each contender while
// nothing happened.
type restlessness struct {
	switches map[*contender][]int64
	ticks    map[*contender][]int64
}

// measureIdle: how often an idle watcher wakes up, and whether it costs CPU.
// Of a shell loop the switches of the shell are counted, not those of the
// sleep that it starts each second; its ticks include its children.
func (b *bench) measureIdle() ([]row, error) {
	ours := []*contender{b.guard(), b.run()}
	peers := []*contender{b.shellLoop("dash"), b.minimalGo()}
	window := time.Duration(b.pick(60, 20)) * time.Second
	l, err := b.lineUp(append(ours, peers...))
	if err != nil {
		return nil, err
	}
	found, err := l.observe(window)
	if err := errors.Join(err, l.close()); err != nil {
		return nil, err
	}
	scale := float64(time.Minute) / float64(window)
	var rows, more []row
	for i, c := range ours {
		r := row{measure: "idle, context switches per minute, " + c.name, goal: "≤ 6", ratio: "-", verdict: "-"}
		t := row{measure: "idle, CPU ticks in 20 s, " + c.name, goal: "0", ratio: "-", verdict: "-"}
		if i == 0 {
			r.peers = spreads(peers, found.switches, scale)
			t.peers = spreads(peers, found.ticks, 1)
		}
		r.ours = spread(c, found.switches, scale)
		t.ours = spread(c, found.ticks, 1)
		if c.absent == "" {
			r.ratio = showRatio(ratio(median(found.switches[c]), median(found.switches[peers[0]])), peers[0].name)
			r.verdict = verdict(float64(median(found.switches[c]))*scale <= 6)
			t.verdict = verdict(slices.Max(found.ticks[c]) == 0)
		}
		rows, more = append(rows, r), append(more, t)
	}
	return append(rows, more...), nil
}

// observe counts before and after the window. Ticks have a window of their
// own, the first seconds of it.
func (l *lineup) observe(window time.Duration) (restlessness, error) {
	time.Sleep(calm)
	switches, err1 := l.sample(contextSwitches)
	ticks, err2 := l.sample(cpuTicks)
	time.Sleep(tickWindow)
	laterTicks, err3 := l.sample(cpuTicks)
	time.Sleep(window - tickWindow)
	laterSwitches, err4 := l.sample(contextSwitches)
	found := restlessness{subtract(laterSwitches, switches), subtract(laterTicks, ticks)}
	return found, errors.Join(err1, err2, err3, err4)
}

func subtract(after, before map[*contender][]int64) map[*contender][]int64 {
	result := make(map[*contender][]int64)
	for c, values := range after {
		for i, value := range values {
			result[c] = append(result[c], value-before[c][i])
		}
	}
	return result
}

func spread(c *contender, values map[*contender][]int64, scale float64) string {
	if c.absent != "" {
		return c.absent
	}
	scaled := func(value int64) float64 { return float64(value) * scale }
	return fmt.Sprintf("%.0f (most %.0f)", scaled(median(values[c])), scaled(slices.Max(values[c])))
}

func spreads(contenders []*contender, values map[*contender][]int64, scale float64) []string {
	var cells []string
	for _, c := range contenders {
		cells = append(cells, c.name+" "+spread(c, values, scale))
	}
	return cells
}

// contextSwitches adds up those of all threads.
func contextSwitches(pid int) (int64, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("process %d is gone", pid)
	}
	var sum int64
	for _, status := range threads {
		text, err := os.ReadFile(status)
		if err != nil {
			return 0, err
		}
		count, err := sumFields(string(text), 1, "voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")
		if err != nil {
			return 0, err
		}
		sum += count
	}
	return sum, nil
}

// cpuTicks adds up user and system time, also of children that were waited for.
func cpuTicks(pid int) (int64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := statFields(string(stat))
	if len(fields) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var sum int64
	for _, field := range fields[11:15] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += ticks
	}
	return sum, nil
}
