//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	beatGap = 2 * time.Second
	// guard scans its tree 30 s after the start, and then not for a minute.
	beatsBefore = 18
	beatsInTime = 10
)

// beating is what a listener did while a beat came every two seconds.
type beating struct {
	ticks, nanoseconds, wakeUps map[*contender][]int64
	threads                     map[*contender][]map[int]int64
}

// measureBeats: what a beat every two seconds costs the listener. There is no
// barrier among them: to answer it is more work than to take a beat.
func (b *bench) measureBeats() ([]row, error) {
	sender, err := b.compileC("heartbeat")
	if err != nil {
		return nil, err
	}
	run, guard, least := b.listeners(sender)
	runOff, guardOff := b.withoutHeartbeats(sender)
	pairs, err := b.gather(3, []*contender{run, guard, least, runOff, guardOff})
	if err != nil {
		return nil, err
	}
	var speaking []*pair
	for _, c := range []*contender{run, guard, least} {
		speaking = append(speaking, pairs[c]...)
	}
	before, after, err := observeBeats(pairs, speaking)
	if err := errors.Join(err, closePairs(everyone(pairs))); err != nil {
		return nil, err
	}
	var rows []row
	for i, c := range []*contender{run, guard} {
		off := []*contender{runOff, guardOff}[i]
		rows = append(rows, beatRows(c, off, least, before, after)...)
	}
	return rows, nil
}

func observeBeats(pairs map[*contender][]*pair, speaking []*pair) (before, after beating, err error) {
	err1 := doAll(speaking, order{count: beatsBefore, gap: beatGap, hasty: true})
	time.Sleep(beatGap / 4) // long after the last beat, long before the next
	before, err2 := lookAt(pairs)
	err3 := doAll(speaking, order{count: beatsInTime, gap: beatGap, hasty: true})
	time.Sleep(beatGap / 4)
	after, err4 := lookAt(pairs)
	return before, after, errors.Join(err1, err2, err3, err4)
}

func lookAt(pairs map[*contender][]*pair) (beating, error) {
	found := beating{threads: make(map[*contender][]map[int]int64)}
	var err1, err2, err3 error
	found.ticks, err1 = sampleListeners(pairs, cpuTicks)
	found.nanoseconds, err2 = sampleListeners(pairs, cpuNanoseconds)
	found.wakeUps, err3 = sampleListeners(pairs, wakeUps)
	for c, some := range pairs {
		for _, p := range some {
			each, err := perThread(p.listener.pid, "status", readWakeUps)
			err3 = errors.Join(err3, err)
			found.threads[c] = append(found.threads[c], each)
		}
	}
	return found, errors.Join(err1, err2, err3)
}

func beatRows(c, off, least *contender, before, after beating) []row {
	if c.absent != "" {
		return []row{{measure: "a beat every 2 s, " + c.name, ours: c.absent, ratio: "-", verdict: "-"}}
	}
	peers := []*contender{off, least}
	ticks := subtract(after.ticks, before.ticks)
	spent := subtract(after.nanoseconds, before.nanoseconds)
	woken := subtract(after.wakeUps, before.wakeUps)
	more := slices.Max(woken[c]) - median(woken[off])
	show := func(c *contender) string { return orAbsent(c, showTime(time.Duration(median(spent[c])))) }
	return []row{
		{measure: "a beat every 2 s, CPU ticks in 20 s, " + c.name, ours: spread(c, ticks, 1), peers: spreads(peers, ticks, 1),
			ratio: "-", goal: "≤ 2", verdict: verdict(slices.Max(ticks[c]) <= 2)},
		{measure: "the same, CPU time, " + c.name, ours: show(c), peers: []string{off.name + " " + show(off), least.name + " " + show(least)},
			ratio: showRatio(ratio(median(spent[c]), median(spent[least])), least.name), verdict: "-"},
		{measure: fmt.Sprintf("the same, wake-ups for %d beats, %s", beatsInTime, c.name), ours: spread(c, woken, 1),
			peers: append(spreads(peers, woken, 1), "threads "+showThreads(before.threads[c][0], after.threads[c][0])),
			ratio: showRatio(ratio(median(woken[c]), median(woken[least])), least.name),
			goal:  "no more than beats", verdict: verdict(more <= beatsInTime)},
	}
}

// measureBeatRate: what a thousand beats in a second cost. One listener at a
// time, each round a new one.
func (b *bench) measureBeatRate() ([]row, error) {
	sender, err := b.compileC("heartbeat")
	if err != nil {
		return nil, err
	}
	run, guard, least := b.listeners(sender)
	percent, woken := make(map[*contender][]float64), make(map[*contender][]float64)
	beats := 1000 * b.pick(10, 3)
	err = interleave(b.pick(5, 2), []*contender{run, guard, least}, func(c *contender) error {
		p, err := b.pairUp(c)
		if err != nil {
			return err
		}
		busy, wakes, err := p.load(order{count: beats, gap: time.Millisecond})
		percent[c], woken[c] = append(percent[c], busy), append(woken[c], wakes)
		return errors.Join(err, p.close())
	})
	if err != nil {
		return nil, err
	}
	show := func(c *contender) string {
		return orAbsent(c, fmt.Sprintf("%.2f %% (most %.2f %%)", median(percent[c]), quantile(percent[c], 1)))
	}
	var rows []row
	for _, c := range []*contender{run, guard} {
		rows = append(rows, row{
			measure: "1,000 beats a second, CPU, " + c.name, ours: show(c), peers: []string{least.name + " " + show(least),
				fmt.Sprintf("wake-ups per beat %.2f, in C %.2f", median(woken[c]), median(woken[least]))},
			ratio: showRatio(median(pairwise(percent[c], percent[least])), least.name),
			goal:  "< 5 %", verdict: verdict(c.absent == "" && quantile(percent[c], 1) < 5),
		})
	}
	return rows, nil
}

// load gives the share of a core, in percent, and the wake-ups for each
// message that the listener needs for an order.
func (p *pair) load(o order) (percent, wakes float64, err error) {
	_, err0 := p.do(order{count: 500, gap: time.Millisecond}) // whatever is done once
	time1, err1 := cpuNanoseconds(p.listener.pid)
	wakes1, err2 := wakeUps(p.listener.pid)
	done, err3 := p.do(o)
	time2, err4 := cpuNanoseconds(p.listener.pid)
	wakes2, err5 := wakeUps(p.listener.pid)
	if err := errors.Join(err0, err1, err2, err3, err4, err5); err != nil {
		return 0, 0, err
	}
	return 100 * float64(time2-time1) / float64(done.spent), float64(wakes2-wakes1) / float64(done.sent+1), nil
}
