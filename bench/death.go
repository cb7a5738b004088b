//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const crowdSize = 2000

// tolls collects what was measured, by contender.
type tolls map[string][]toll

func (t tolls) workers(c *contender) []time.Duration {
	var times []time.Duration
	for _, one := range t[c.name] {
		times = append(times, one.lastWorker)
	}
	return times
}

func (t tolls) watchers(c *contender) []time.Duration {
	var times []time.Duration
	for _, one := range t[c.name] {
		times = append(times, one.lastWatcher)
	}
	return times
}

// takeTolls plays the scene in turns. Before the parent is killed all processes have
// settled, since a real watchdog has waited for hours by then.
func (b *bench) takeTolls(contenders []*contender, rounds, workers int, settle time.Duration) (tolls, error) {
	result := make(tolls)
	err := interleave(rounds, contenders, func(c *contender) error {
		s, err := b.stage(c, workers)
		if err != nil {
			return err
		}
		time.Sleep(settle + rand.N(c.period+1))
		one, err := s.killParent()
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", c.name, err), s.close())
		}
		result[c.name] = append(result[c.name], one)
		return s.close()
	})
	return result, err
}

// measureDeath: the parent of one worker is killed.
func (b *bench) measureDeath() ([]row, error) {
	return b.oneWorker("parent killed → worker dead")
}

// measureDeathInCrowd: the same while 2,000 other processes sleep.
func (b *bench) measureDeathInCrowd() ([]row, error) {
	crowd, err := b.stage(b.crowd(), crowdSize)
	if err != nil {
		return nil, err
	}
	rows, err := b.oneWorker("the same, 2,000 other processes")
	return rows, errors.Join(err, crowd.close())
}

func (b *bench) oneWorker(label string) ([]row, error) {
	ours := []*contender{b.guard(), b.run()}
	peers := []*contender{b.setprivKill(), b.setprivTerm(), b.tini(), b.bwrap(), b.shellLoop("dash")}
	measured, err := b.takeTolls(append(ours, peers...), b.pick(60, 10), 1, 20*time.Millisecond)
	if err != nil {
		return nil, err
	}
	best := bestPeer(measured, peers)
	var rows []row
	for _, c := range ours {
		rows = append(rows, deathRow(label, c, best, measured))
	}
	rows[0].peers = peerTimes(peers, measured)
	return rows, nil
}

func deathRow(label string, c, best *contender, measured tolls) row {
	r := row{measure: label + ", " + c.name, ours: c.absent, ratio: "-",
		goal: "≤ 1.5 ms and ≤ 2 × best peer", verdict: "-"}
	if c.absent != "" {
		return r
	}
	times := measured.workers(c)
	r.ours = showTimes(times)
	met := median(times) <= 1500*time.Microsecond
	if best != nil {
		against := ratio(median(times), median(measured.workers(best)))
		r.ratio = showRatio(against, best.name)
		met = met && against <= 2
	}
	r.verdict = verdict(met)
	return r
}

func bestPeer(measured tolls, peers []*contender) *contender {
	var best *contender
	for _, c := range peers {
		if len(measured[c.name]) == 0 {
			continue
		}
		if best == nil || median(measured.workers(c)) < median(measured.workers(best)) {
			best = c
		}
	}
	return best
}

func peerTimes(peers []*contender, measured tolls) []string {
	var cells []string
	for _, c := range peers {
		if c.absent != "" {
			cells = append(cells, c.name+" "+c.absent)
			continue
		}
		cells = append(cells, c.name+" "+showTimes(measured.workers(c)))
	}
	return cells
}

// measureMany: one parent of 1,000 workers is killed.
func (b *bench) measureMany() ([]row, error) {
	workers := b.pick(1000, 200)
	ours := []*contender{b.guard(), b.guardNameless(), b.run()}
	kernel := b.setprivKill()
	peers := []*contender{kernel, b.tini(), b.bwrap()}
	measured, err := b.takeTolls(append(ours, peers...), b.pick(3, 2), workers, 500*time.Millisecond)
	if err != nil {
		return nil, err
	}
	against := median(measured.workers(kernel))
	var rows []row
	for _, c := range ours {
		label := fmt.Sprintf("%d workers, %s: ", workers, c.name)
		rows = append(rows,
			manyRow(label+"last worker dead", c, measured.workers(c), against, 3),
			manyRow(label+"last watchdog gone", c, measured.watchers(c), against, 0))
	}
	rows[0].peers = peerTimes(peers, measured)
	return rows, nil
}

// manyRow compares with the kernel's own signal. Without a factor only the
// absolute time has a goal.
func manyRow(label string, c *contender, times []time.Duration, kernel time.Duration, factor float64) row {
	r := row{measure: label, ours: c.absent, ratio: "-", goal: "≤ 10 s", verdict: "-"}
	if factor > 0 {
		r.goal = fmt.Sprintf("≤ %.0f × setpriv and ≤ 10 s", factor)
	}
	if c.absent != "" {
		return r
	}
	middle := median(times)
	against := ratio(middle, kernel)
	r.ours = showTimes(times)
	r.ratio = showRatio(against, "setpriv KILL")
	r.verdict = verdict(middle <= 10*time.Second && (factor == 0 || against <= factor))
	return r
}
