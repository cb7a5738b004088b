//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

func privateMemory(pid int) (int64, error) {
	return smaps(pid, "Private_Clean:", "Private_Dirty:")
}

func anonymousMemory(pid int) (int64, error) {
	return smaps(pid, "Anonymous:")
}

// measureBeatMemory: what no other process pays for, with heartbeats on, and
// whether it grows with the beats.
func (b *bench) measureBeatMemory() ([]row, error) {
	sender, err := b.compileC("heartbeat")
	if err != nil {
		return nil, err
	}
	rows, err1 := b.compareBeatMemory(sender)
	more, err2 := b.watchGrowth(sender)
	return append(rows, more...), errors.Join(err1, err2)
}

func (b *bench) compareBeatMemory(sender string) ([]row, error) {
	run, guard, _ := b.listeners(sender)
	runOff, guardOff := b.withoutHeartbeats(sender)
	ours := []*contender{run, guard}
	floor := b.minimalGo()
	pairs, err := b.gather(instances, append(ours, runOff, guardOff))
	if err != nil {
		return nil, err
	}
	for range instances {
		h, err1 := b.startListener([]string{b.minimal}, "/dev/null")
		if err = errors.Join(err, err1); err1 == nil {
			pairs[floor] = append(pairs[floor], &pair{listener: h})
		}
	}
	if err == nil { // long enough for start-up to be over in all of them
		err = doAll(append(slices.Clone(pairs[run]), pairs[guard]...), order{count: 3, gap: beatGap})
	}
	if err != nil {
		return nil, errors.Join(err, closePairs(everyone(pairs)))
	}
	private, err1 := sampleListeners(pairs, privateMemory)
	anonymous, err2 := sampleListeners(pairs, anonymousMemory)
	if err := errors.Join(err1, err2, closePairs(everyone(pairs))); err != nil {
		return nil, err
	}
	rows := memoryRows("heartbeats on, private memory", ours, []*contender{floor, runOff, guardOff}, private)
	more := memoryRows("heartbeats on, anonymous memory", ours, []*contender{floor, runOff, guardOff}, anonymous)
	for i, c := range ours {
		rows[i].goal = "≤ 1.35 × minimal Go"
		more[i].goal = rows[i].goal
		if c.absent == "" {
			rows[i].verdict = verdict(ratio(median(private[c]), median(private[floor])) <= 1.35)
			more[i].verdict = verdict(ratio(median(anonymous[c]), median(anonymous[floor])) <= 1.35)
		}
	}
	return append(rows, more...), nil
}

// watchGrowth: the memory after the first thousand beats and after all.
func (b *bench) watchGrowth(sender string) ([]row, error) {
	run, guard, _ := b.listeners(sender)
	total := b.pick(50000, 30000)
	pairs, err := b.gather(2, []*contender{run, guard})
	if err != nil {
		return nil, err
	}
	var sizes []map[*contender][]int64
	for _, count := range []int{1000, total/2 - 1000, total - total/2} {
		if err = doAll(everyone(pairs), order{count: count, gap: 800 * time.Microsecond}); err != nil {
			break
		}
		size, err1 := sampleListeners(pairs, privateMemory)
		if err = err1; err != nil {
			break
		}
		sizes = append(sizes, size)
	}
	if err := errors.Join(err, closePairs(everyone(pairs))); err != nil {
		return nil, err
	}
	var rows []row
	for _, c := range []*contender{run, guard} {
		r := row{measure: fmt.Sprintf("%d beats, private memory, %s", total, c.name), ours: c.absent, ratio: "-",
			goal: "< 1 byte a beat", verdict: "-"}
		if c.absent == "" {
			grown := subtract(sizes[2], sizes[0])[c]
			r.ours = fmt.Sprintf("%+d kB (most %+d kB)", median(grown)>>10, slices.Max(grown)>>10)
			r.peers = []string{fmt.Sprintf("after 1000: %s", showKB(median(sizes[0][c]))),
				fmt.Sprintf("after %d: %s", total/2, showKB(median(sizes[1][c]))),
				fmt.Sprintf("after %d: %s", total, showKB(median(sizes[2][c])))}
			r.verdict = verdict(slices.Max(grown) < int64(total))
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// flooding is what came through of a flood, and what it cost the listener.
type flooding struct {
	rate, percent []float64 // messages taken in a second; share of a core
	grown         []int64   // bytes
}

// measureFlood: a hundred thousand messages, as fast as they are taken, from
// the worker itself or from a process that is none of its tree.
func (b *bench) measureFlood() ([]row, error) {
	sender, err := b.compileC("heartbeat")
	if err != nil {
		return nil, err
	}
	run, guard, least := b.listeners(sender)
	contenders := []*contender{run, guard, least}
	var rows []row
	for _, stranger := range []bool{false, true} {
		found := make(map[*contender]*flooding)
		for _, c := range contenders {
			found[c] = &flooding{}
		}
		err := interleave(b.pick(3, 1), contenders, func(c *contender) error {
			return b.flood(c, sender, stranger, found[c])
		})
		if err != nil {
			return nil, err
		}
		rows = append(rows, floodRows(contenders, stranger, found)...)
	}
	return rows, nil
}

func (b *bench) flood(c *contender, sender string, stranger bool, found *flooding) error {
	p, err := b.pairUp(c)
	if err != nil {
		return err
	}
	source := p
	if stranger {
		if source, err = b.startWorker([]string{sender, "send", p.socket}); err != nil {
			return errors.Join(err, p.close())
		}
	}
	err = p.suffer(source, b.pick(20, 5), found)
	if stranger {
		err = errors.Join(err, source.close())
	}
	return errors.Join(err, p.close())
}

// suffer lets the source send to the listener of the pair, for so many seconds
// at most.
func (p *pair) suffer(source *pair, seconds int, found *flooding) error {
	_, err0 := p.do(order{count: 1000, gap: time.Millisecond})
	size1, err1 := privateMemory(p.listener.pid)
	time1, err2 := cpuNanoseconds(p.listener.pid)
	done, err3 := source.do(order{count: 100000, limit: time.Duration(seconds) * time.Second, hasty: true})
	time2, err4 := cpuNanoseconds(p.listener.pid)
	_, err5 := p.do(order{count: 1}) // all that came before has been handled then
	size2, err6 := privateMemory(p.listener.pid)
	if err := errors.Join(err0, err1, err2, err3, err4, err5, err6); err != nil {
		return err
	}
	found.rate = append(found.rate, float64(done.sent)/done.spent.Seconds())
	found.percent = append(found.percent, 100*float64(time2-time1)/float64(done.spent))
	found.grown = append(found.grown, size2-size1)
	return nil
}

func floodRows(contenders []*contender, stranger bool, found map[*contender]*flooding) []row {
	source := "the worker"
	if stranger {
		source = "a stranger"
	}
	show := func(c *contender) string {
		f := found[c]
		return orAbsent(c, fmt.Sprintf("%.1f %% (%.0f/s, %+d kB)", median(f.percent), median(f.rate), median(f.grown)>>10))
	}
	least := contenders[len(contenders)-1]
	var rows []row
	for _, c := range contenders[:len(contenders)-1] {
		rows = append(rows, row{measure: "a flood from " + source + ", CPU, " + c.name, ours: show(c),
			peers: []string{least.name + " " + show(least)},
			ratio: showRatio(ratio(median(found[c].percent), median(found[least].percent)), least.name), verdict: "-"})
	}
	return rows
}
